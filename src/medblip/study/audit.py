"""Look for what would make a study's results wrong, before anything is trained on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from medblip.errors import InputError
from medblip.findings import LEVELS, Finding
from medblip.notice import RESEARCH_USE
from medblip.storage import write_json
from medblip.study.balance import check_balance, compare, label_table, missing_table, split_table
from medblip.study.comparisons import Comparison
from medblip.study.duplicates import check_near_duplicates, group_images
from medblip.study.leakage import (
    Predictability,
    check_predictability,
    check_record_fields,
    predictability,
)
from medblip.study.outliers import Outlier, check_outliers, outliers
from medblip.study.paper_counts import PaperCount, paper_counts
from medblip.study.soundness import hard_findings, table_hashes
from medblip.study.study import Study
from medblip.study.subsets import SUBSETS_FILE, Subsets, check_subsets, small_subsets
from medblip.study.thumbnails import Thumbnail
from medblip.study.visits import (
    check_courses,
    check_later_visits,
    check_shared_ids,
    check_unlabelled,
    check_visits_as_subjects,
)

AUDIT_SCHEMA = "medblip-audit/1"

Thumbnails = Mapping[str, Thumbnail]


@dataclass(frozen=True)
class Audit:
    """What was found, and the numbers behind it.

    Attributes:
        findings: errors first; messages give counts and lines of tables, never identifiers.
        predictability: the label from the record, the site, the file name... alone.
        comparisons: ages, sexes, labels and missing values between labels and splits.
        splits, labels, missing: tables for the report.
        outliers: odd scans.
        paper: counts beside the paper's Table 1.
    """

    findings: list[Finding]
    predictability: list[Predictability]
    comparisons: list[Comparison]
    splits: pd.DataFrame
    labels: pd.DataFrame
    missing: pd.DataFrame
    outliers: list[Outlier] = field(default_factory=list)
    paper: list[PaperCount] = field(default_factory=list)


def audit(study: Study, thumbnails: Thumbnails | None = None) -> Audit:
    """Run every check.

    Args:
        study: a loaded study.
        thumbnails: of the cubes by their names (`medblip.study.thumbnails.thumbnail`), to look for
            scans that were saved twice with other bytes and for odd ones; images without one are
            counted in a note.
    """
    thumbnails = thumbnails or {}
    rows = study.labelled_images()
    first = rows.drop_duplicates("participant_id")
    measured, compared = predictability(first), compare(first, study.splits)
    splits, labels = split_table(first, study.splits), label_table(first)
    odd = outliers(_with_cohort(study), thumbnails)
    findings = [
        *hard_findings(study),
        *check_near_duplicates(group_images(study.images, study.splits, thumbnails)),
        *_check_compared(study, thumbnails),
        *check_visits_as_subjects(study.sessions, study.splits),
        *check_shared_ids(study.sessions, study.splits),
        *check_courses(study.sessions),
        *check_later_visits(study.sessions),
        *check_predictability(measured),
        *check_record_fields(rows),
        *check_balance(splits, compared),
        *check_outliers(odd),
        *check_unlabelled(study.sessions),
        *_check_subsets(study),
    ]
    findings.sort(key=lambda finding: LEVELS.index(finding.level))
    return Audit(
        findings,
        measured,
        compared,
        splits,
        labels,
        missing_table(rows),
        odd,
        paper_counts(study.sessions, study.images),
    )


def as_dict(study: Study, result: Audit) -> dict[str, Any]:
    """The audit as JSON values; ``tables`` says by hash which files it is about."""
    return {
        "schema": AUDIT_SCHEMA,
        "research_use": RESEARCH_USE,
        "simulated": study.info.simulated,
        "study": study.info.fingerprint,
        "tables": table_hashes(study.folder),
        "findings": [finding.as_dict() for finding in result.findings],
        "predictability": [asdict(entry) for entry in result.predictability],
        "comparisons": [asdict(entry) for entry in result.comparisons],
        "splits": _records(result.splits),
        "labels": _records(result.labels),
        "missing": _records(result.missing),
        "outliers": [
            {"code": o.code, "line": o.line, "measure": o.measure} for o in result.outliers
        ],
        "paper": [asdict(entry) for entry in result.paper],
    }


def write_audit_json(study: Study, result: Audit, path: Path) -> None:
    """Write ``audit.json``, which holds no identifier; training reads its errors."""
    write_json(path, as_dict(study, result))


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    plain = table.astype(object).where(table.notna(), None)
    return [{str(name): value for name, value in row.items()} for row in plain.to_dict("records")]


def _with_cohort(study: Study) -> pd.DataFrame:
    cohort_of = dict(zip(study.sessions["participant_id"], study.sessions["cohort"], strict=True))
    return study.images.assign(cohort=study.images["participant_id"].map(cohort_of))


def _check_subsets(study: Study) -> list[Finding]:
    path = study.folder / SUBSETS_FILE
    if not path.is_file():
        return []
    try:
        subsets = Subsets.read(path)
        check_subsets(subsets, study.splits)
    except InputError as error:
        return [Finding.from_error(error)]
    return small_subsets(subsets)


def _check_compared(study: Study, thumbnails: Thumbnails) -> list[Finding]:
    without = int((~study.images["cube"].isin(list(thumbnails))).sum())
    if not without:
        return []
    problem = f"{without} image(s) were not looked at for near-duplicates and outliers"
    fix = "run medblip audit where the cubes of medblip prepare are"
    return [Finding("images-not-compared", "note", "images.tsv", problem, fix)]
