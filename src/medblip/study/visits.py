"""The order of a subject's visits, and what goes wrong with it: one person as several subjects,
two diagnoses at once, courses that do not happen, labels of another time.
"""

from __future__ import annotations

import re

import pandas as pd

from medblip.findings import Finding, Level
from medblip.study.order import in_order, labelled
from medblip.study.places import in_lines
from medblip.study.splits import Splits

# A visit or run at the end of an identifier: OAS1_0001_MR2, S12-v03, 0043_m12, 7_bl.
_VISIT_ENDING = re.compile(
    r"[._+-](?:mr|ses|session|visit|v|tp|m|month|y|year|wk|w|bl|baseline|fu|run|scan)"
    r"[._+-]?[0-9]{0,3}$",
    re.IGNORECASE,
)
_MOST_VISITS = 12  # more ids with one stem are a way of numbering people
LATER_DAYS = 90
LATER_SHARE = 0.05


def check_visits_as_subjects(sessions: pd.DataFrame, splits: Splits) -> list[Finding]:
    """Subjects whose identifiers differ only by a visit's name: one person counted as several."""
    subjects = pd.DataFrame({"id": sessions["participant_id"], "cohort": sessions["cohort"]})
    subjects = subjects.drop_duplicates("id")
    subjects["stem"] = subjects["id"].str.replace(_VISIT_ENDING, "", regex=True)
    subjects["side"] = subjects["id"].map(splits.split_of())
    own = [stem[len(c) :] for stem, c in zip(subjects["stem"], subjects["cohort"], strict=True)]
    subjects = subjects[pd.Series(own, index=subjects.index).str.contains("[0-9]")]
    size = subjects.groupby("stem")["id"].transform("size")
    shared = subjects[(size > 1) & (size <= _MOST_VISITS)]
    if shared.empty:
        return []
    sides = shared.groupby("stem")["side"].nunique()
    problem = (
        f"{len(sides)} identifier(s) with a visit's name at the end are listed as several "
        f"subjects, {int((sides > 1).sum())} of them on two sides of the split"
    )
    fix = "give all visits of a person one participant_id, or name them with --same-person"
    level: Level = "warning" if (sides > 1).any() else "note"
    where = in_lines("sessions.tsv", shared.index)
    return [Finding("visits-as-subjects", level, where, problem, fix)]


def check_shared_ids(sessions: pd.DataFrame, splits: Splits) -> list[Finding]:
    """One original identifier in two cohorts: most often two people, sometimes one."""
    first = sessions.drop_duplicates("participant_id")
    original = [
        subject[len(cohort) + 1 :]
        for subject, cohort in zip(first["participant_id"], first["cohort"], strict=True)
    ]
    groups = first.assign(original=original, side=first["participant_id"].map(splits.split_of()))
    counts = groups.groupby("original").agg(
        cohorts=("cohort", "nunique"), sides=("side", "nunique")
    )
    shared = counts[counts["cohorts"] > 1]
    if shared.empty:
        return []
    problem = (
        f"{len(shared)} identifier(s) occur in two cohorts, {int((shared['sides'] > 1).sum())} of "
        "them on two sides of the split; they are taken for different people"
    )
    fix = "if they are the same people, list them in a table and prepare with --same-person"
    return [Finding("shared-identifier", "note", "sessions.tsv", problem, fix)]


def check_courses(sessions: pd.DataFrame) -> list[Finding]:
    """Two labels at one time, and recoveries from dementia."""
    rows = labelled(in_order(sessions))
    return [*_two_labels(rows), *_recoveries(rows)]


def check_later_visits(sessions: pd.DataFrame) -> list[Finding]:
    """Labels from a clinical visit long after the scan: a later state, told of an earlier brain."""
    rows = labelled(sessions)
    days = pd.to_numeric(rows["match_days"], errors="coerce").dropna()
    late = days[days < -LATER_DAYS]
    if late.empty:
        return []
    share = len(late) / len(days)
    problem = (
        f"{len(late)} label(s) ({share:.0%} of those with a known distance) come from a visit more "
        f"than {LATER_DAYS} days after the scan, up to {-int(late.min())} days"
    )
    fix = "prepare with a narrower window, or leave these sessions without a diagnosis"
    level: Level = "warning" if share > LATER_SHARE else "note"
    where = in_lines("sessions.tsv", late.index)
    return [Finding("label-from-later-visit", level, where, problem, fix)]


def check_unlabelled(sessions: pd.DataFrame) -> list[Finding]:
    """Sessions without a label, and those of another diagnosis, counted by cohort."""
    findings = []
    for value, code, said in (
        ("", "no-diagnosis", "session(s) have no diagnosis"),
        ("OTHER", "other-diagnosis", "session(s) have another diagnosis than NC, MCI and AD"),
    ):
        counts = sessions.loc[sessions["diagnosis"] == value, "cohort"].value_counts()
        if len(counts):
            told = ", ".join(f"{cohort} {count}" for cohort, count in counts.items())
            problem = f"{int(counts.sum())} {said} and are never an example: {told}"
            findings.append(Finding(code, "note", "sessions.tsv", problem))
    return findings


def _two_labels(rows: pd.DataFrame) -> list[Finding]:
    found = set()
    for name in ("session_id", "scan_date", "days_from_baseline"):
        dated = rows[rows[name] != ""]
        labels = dated.groupby(["participant_id", name])["diagnosis"].transform("nunique")
        found |= set(dated.index[labels > 1])
    if not found:
        return []
    problem = f"{len(found)} session(s) of one subject and one day have different diagnoses"
    fix = "keep the one that holds for the scan's visit"
    where = in_lines("sessions.tsv", found)
    return [Finding("two-diagnoses", "warning", where, problem, fix)]


def _recoveries(rows: pd.DataFrame) -> list[Finding]:
    before = rows.groupby("participant_id")["diagnosis"].shift().fillna("")
    course = before + " to " + rows["diagnosis"]
    jumps = rows.index[course == "AD to NC"]
    findings = []
    if len(jumps):
        problem = f"{len(jumps)} subject visit(s) go from AD straight to NC"
        fix = "check the diagnosis column of these visits and of those before"
        where = in_lines("sessions.tsv", jumps)
        findings.append(Finding("label-jump", "warning", where, problem, fix))
    steps = course[course.isin(["AD to MCI", "MCI to NC"])].value_counts()
    if len(steps):
        told = ", ".join(f"{name} {count}" for name, count in steps.items())
        problem = f"{int(steps.sum())} visit(s) have a milder diagnosis than the one before: {told}"
        findings.append(Finding("label-reversal", "note", "sessions.tsv", problem))
    return findings
