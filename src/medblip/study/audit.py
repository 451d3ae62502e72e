"""Look for what would make a study's results wrong, before anything is trained on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import jinja2
import pandas as pd

from medblip.errors import InputError
from medblip.findings import Finding
from medblip.notice import RESEARCH_USE, SIMULATED_DATA
from medblip.storage import write_text
from medblip.study.balance import (
    check_balance,
    check_missing,
    label_table,
    missing_table,
    split_table,
)
from medblip.study.duplicates import Thumbnail, check_equal_files, check_near_duplicates
from medblip.study.leakage import (
    Predictability,
    check_predictability,
    check_record_fields,
    predictability,
)
from medblip.study.splits import check_splits
from medblip.study.study import Study

Thumbnails = Mapping[str, Thumbnail]
_LEVELS = ("error", "warning", "note")


@dataclass(frozen=True)
class Audit:
    """What was found, and the numbers behind it.

    Attributes:
        findings: errors first; messages give counts, never identifiers.
        predictability: the label from the record, the site and the voxel size alone.
        splits, labels, missing: tables for the report.
    """

    findings: list[Finding]
    predictability: list[Predictability]
    splits: pd.DataFrame
    labels: pd.DataFrame
    missing: pd.DataFrame


def audit(study: Study, thumbnails: Thumbnails | None = None) -> Audit:
    """Run every check.

    Args:
        study: a loaded study.
        thumbnails: of the cubes by their names (`medblip.study.duplicates.thumbnail`), to look for
            scans that were saved twice with other bytes; left out, this is not looked for.
    """
    rows = study.labelled_images()
    first = rows.drop_duplicates("participant_id")
    measured = predictability(first)
    splits, labels = split_table(first, study.splits), label_table(first)
    missing = missing_table(rows)
    findings = [
        *_check_sides(study),
        *check_equal_files(study.images, study.splits),
        *check_near_duplicates(study.images, study.splits, thumbnails or {}),
        *check_predictability(measured),
        *check_record_fields(rows),
        *check_missing(missing),
        *check_balance(splits, labels),
    ]
    findings.sort(key=lambda finding: _LEVELS.index(finding.level))
    return Audit(findings, measured, splits, labels, missing)


def audit_study(study: Study, thumbnails: Thumbnails | None = None) -> list[Finding]:
    """The findings of `audit`: errors first, counts only, no identifier."""
    return audit(study, thumbnails).findings


def write_audit(study: Study, result: Audit, path: Path) -> None:
    """Write ``audit.html``: one file that needs nothing else and holds no identifier."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("medblip.study"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("audit.html.jinja").render(
        info=study.info,
        splits_rule=study.splits,
        audit=result,
        research_use=RESEARCH_USE,
        simulated=SIMULATED_DATA if study.info.simulated else "",
    )
    write_text(path, page)


def _check_sides(study: Study) -> list[Finding]:
    # Loading checks it too; an audit says so, and holds for a study made in memory.
    try:
        check_splits(study.splits, study.sessions)
    except InputError as error:
        return [Finding.from_error(error)]
    problem = "each subject is on exactly one side of the split"
    return [Finding("sides", "note", "splits.json", problem)]
