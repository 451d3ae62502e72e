"""Who is in which part of a study: counts, ages, sexes, and what is missing for which label."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from medblip.findings import Finding
from medblip.study.labels import LABELS
from medblip.study.record import FIELDS
from medblip.study.splits import SPLITS, Splits

AGE_GAP_YEARS = 5.0
SHARE_GAP = 0.2
MIN_SUBJECTS = 10  # smaller groups differ by luck


def split_table(first: pd.DataFrame, splits: Splits) -> pd.DataFrame:
    """Per split: subjects, subjects of each label, mean age, share of women.

    Args:
        first: one labelled session per subject.
        splits: sides of the subjects.
    """
    side = first["participant_id"].map(splits.split_of())
    return pd.DataFrame([{"split": s, **_summary(first[side == s])} for s in SPLITS])


def label_table(first: pd.DataFrame) -> pd.DataFrame:
    """Per label: subjects, mean age, share of women."""
    rows = [{"label": label, **_summary(first[first["diagnosis"] == label])} for label in LABELS]
    return pd.DataFrame(rows).drop(columns=list(LABELS))


def missing_table(labelled_sessions: pd.DataFrame) -> pd.DataFrame:
    """Per record field: share of sessions without a value, overall and for each label."""
    empty = labelled_sessions[list(FIELDS)] == ""
    table = {"all": empty.mean()}
    for label in LABELS:
        rows = labelled_sessions["diagnosis"] == label
        if rows.any():
            table[label] = empty[rows].mean()
    return pd.DataFrame(table).rename_axis("field").reset_index()


def check_balance(splits: pd.DataFrame, labels: pd.DataFrame) -> list[Finding]:
    """Splits and labels whose ages or sexes differ, and splits without subjects."""
    findings = []
    for split, subjects in zip(splits["split"], splits["subjects"], strict=True):
        if subjects == 0 and split in ("train", "test"):
            problem = f"{split} has no labelled subject"
            findings.append(Finding("empty-split", "warning", "splits.json", problem))
    findings += _gaps(splits, "split", "splits.json", "draw the splits with another seed")
    fix = "compare results within age groups and sexes"
    findings += _gaps(labels, "label", "sessions.tsv", fix)
    return findings


def check_missing(missing: pd.DataFrame) -> list[Finding]:
    """Fields whose absence tells the label."""
    labels = [name for name in missing.columns if name in LABELS]
    findings = []
    for field, shares in zip(missing["field"], missing[labels].to_numpy().tolist(), strict=True):
        if shares and max(shares) - min(shares) > SHARE_GAP:
            told = _told(labels, shares, ".0%")
            problem = f"{field} is missing more often for one label than another: {told}"
            fix = f"leave {field} out of the record, or report results without it"
            findings.append(Finding("missing-by-label", "warning", "sessions.tsv", problem, fix))
    return findings


def _summary(rows: pd.DataFrame) -> dict[str, object]:
    age = pd.to_numeric(rows["age"], errors="coerce").dropna()
    sex = rows.loc[rows["sex"] != "", "sex"]
    counts: dict[str, int] = {name: int((rows["diagnosis"] == name).sum()) for name in LABELS}
    return {
        "subjects": len(rows),
        **counts,
        "mean_age": float(age.mean()) if len(age) else None,
        "women": float((sex == "F").mean()) if len(sex) else None,
    }


def _gaps(table: pd.DataFrame, group: str, where: str, fix: str) -> list[Finding]:
    large = table[table["subjects"] >= MIN_SUBJECTS]
    findings = []
    for column, limit, form in (("mean_age", AGE_GAP_YEARS, ".1f"), ("women", SHARE_GAP, ".0%")):
        known = large.dropna(subset=[column])
        names, values = known[group].tolist(), known[column].astype(float).tolist()
        if len(values) > 1 and max(values) - min(values) > limit:
            told = _told(names, values, form)
            problem = f"{column.replace('_', ' ')} differs between {group}s: {told}"
            code = f"{column.replace('_', '-')}-by-{group}"
            findings.append(Finding(code, "warning", where, problem, fix))
    return findings


def _told(names: Sequence[str], values: Sequence[float], form: str) -> str:
    return ", ".join(f"{n} {value:{form}}" for n, value in zip(names, values, strict=True))
