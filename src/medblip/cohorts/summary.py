"""What a prepared study holds and what is wrong with it, on one screen."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pandas as pd

from medblip.cohorts.repeated import COUNT
from medblip.errors import InputError
from medblip.findings import LEVELS, Finding, Level
from medblip.study.info import NO_DIAGNOSIS
from medblip.study.labels import LABELS, OTHER
from medblip.study.leakage import Predictability, text_only_ceiling
from medblip.study.schema import SESSION_KEY
from medblip.study.study import AUDIT_FILE, AUDIT_JSON_FILE, FINDINGS_FILE, Study
from medblip.study.tables import read_table

DIAGNOSES = (*LABELS, OTHER, NO_DIAGNOSIS)


@dataclass(frozen=True)
class CohortSummary:
    """One cohort's scans.

    Attributes:
        found, used: scans; the others were left out, each with an error.
        subjects, sessions: with a scan that is used.
        scans_by_diagnosis: used scans by the diagnosis of their session, see `DIAGNOSES`.
    """

    cohort: str
    found: int
    used: int
    subjects: int
    sessions: int
    scans_by_diagnosis: dict[str, int]


@dataclass(frozen=True)
class CodeCount:
    """How often a finding of ``findings.tsv`` was made, and what one of them says."""

    code: str
    level: Level
    count: int
    example: str


@dataclass(frozen=True)
class StudySummary:
    """What `prepare` prints.

    Attributes:
        cohorts: in the order of the sources.
        codes: of ``findings.tsv``, errors first, then by count.
        audit: errors and warnings of the audit.
        ceiling: what the record alone tells of the label; None if too few subjects were there.
        findings, page: where all of it can be read.
    """

    cohorts: tuple[CohortSummary, ...]
    codes: tuple[CodeCount, ...]
    audit: tuple[Finding, ...]
    ceiling: Predictability | None
    findings: Path
    page: Path


def summarise(study: Study) -> StudySummary:
    """From the files of a study's folder.

    Raises:
        InputError: ``findings.tsv`` or ``audit.json`` is absent or was damaged.
    """
    audit = _read_audit(study.folder / AUDIT_JSON_FILE)
    measured = [Predictability(**entry) for entry in audit["predictability"]]
    found = [Finding(**finding) for finding in audit["findings"]]
    return StudySummary(
        cohorts=tuple(_cohort(study, s.cohort, s.scans) for s in study.info.sources),
        codes=tuple(_codes(read_table(study.folder / FINDINGS_FILE))),
        audit=tuple(f for f in found if f.level != "note"),
        ceiling=text_only_ceiling(measured),
        findings=study.folder / FINDINGS_FILE,
        page=study.folder / AUDIT_FILE,
    )


def _cohort(study: Study, cohort: str, found: int) -> CohortSummary:
    sessions = study.sessions[study.sessions["cohort"] == cohort]
    scans = study.images.merge(sessions[[*SESSION_KEY, "diagnosis"]], on=list(SESSION_KEY))
    by_diagnosis = Counter(scans["diagnosis"].replace("", NO_DIAGNOSIS))
    return CohortSummary(
        cohort,
        found,
        len(scans),
        sessions["participant_id"].nunique(),
        len(sessions),
        {name: by_diagnosis[name] for name in DIAGNOSES},
    )


def _codes(findings: pd.DataFrame) -> list[CodeCount]:
    counted = []
    for (level, code), rows in findings.groupby(["level", "code"], sort=True):
        # A study of an earlier version has no counts.
        times = int(rows[COUNT].astype(int).sum()) if COUNT in rows else len(rows)
        counted.append(CodeCount(str(code), cast(Level, level), times, rows["problem"].iloc[0]))
    return sorted(counted, key=lambda c: (LEVELS.index(c.level), -c.count))


def _read_audit(path: Path) -> dict[str, Any]:
    try:
        value: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        fix = "run medblip audit again"
        raise InputError(path.name, f"cannot be read ({error})", fix, code="bad-audit") from None
    return value
