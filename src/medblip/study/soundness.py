"""What must not be in a study that is trained on: cheap checks, whose errors stop training."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from medblip.errors import InputError, UsageError
from medblip.findings import Finding
from medblip.storage import sha256_of_file
from medblip.study.duplicates import check_equal_files
from medblip.study.places import in_lines
from medblip.study.record import FIELDS
from medblip.study.splits import check_splits
from medblip.study.study import AUDIT_JSON_FILE, IMAGES_FILE, SESSIONS_FILE, SPLITS_FILE, Study
from medblip.study.tables import nearest

# Errors that a person may accept who has looked at them.
ACCEPTABLE = (
    "same-image-both-sides",
    "same-image-two-subjects",
    "near-duplicate-both-sides",
    "diagnosis-in-record",
)

# Words that give the label away wherever they stand; short codes only as words of their own.
_DIAGNOSIS = re.compile(
    r"dement|alzheimer|cogniti|impair|\b(?:ad|mci|emci|lmci|cn|nc|hc|smc)\b|healthy|control|patient",
    re.IGNORECASE,
)


def hard_findings(study: Study) -> list[Finding]:
    """Errors that no result would survive; nothing but the study's tables is read."""
    return [
        *check_sides(study),
        *check_equal_files(study.images, study.splits),
        *check_record_words(study.sessions),
    ]


def require_sound(study: Study, accepted: Sequence[str] = ()) -> None:
    """Stop before a study is trained on that has an error of `hard_findings` or of its audit.

    Args:
        study: about to be trained on.
        accepted: codes of errors to go on with, of `ACCEPTABLE`.

    Raises:
        UsageError: an accepted code is not one that can be.
        InputError: there is another error; its code is that of the finding.
    """
    for code in accepted:
        if code not in ACCEPTABLE:
            fix = nearest(code, ACCEPTABLE) or f"expected one of {', '.join(ACCEPTABLE)}"
            raise UsageError("accept-audit", f"{code!r} cannot be accepted", fix, code="bad-accept")
    found = [*hard_findings(study), *_audited(study)]
    errors = [f for f in found if f.level == "error" and f.code not in accepted]
    if errors:
        first = errors[0]
        way_out = f"; or accept it with --accept-audit {first.code}"
        fix = first.fix + (way_out if first.code in ACCEPTABLE else "")
        raise InputError(first.where, first.problem, fix, code=first.code)


def check_sides(study: Study) -> list[Finding]:
    """Each subject on exactly one side. Loading checks it too; this holds in memory as well."""
    try:
        check_splits(study.splits, study.sessions)
    except InputError as error:
        return [Finding.from_error(error)]
    problem = "each subject is on exactly one side of the split"
    return [Finding("sides", "note", "splits.json", problem)]


def check_record_words(sessions: pd.DataFrame) -> list[Finding]:
    """Values of record fields that hold a word of a diagnosis."""
    findings = []
    for field in FIELDS:
        values = sessions[field].unique()
        telling = [value for value in values if _DIAGNOSIS.search(value)]
        if telling:
            rows = sessions.index[sessions[field].isin(telling)]
            problem = f"{field} holds a word of a diagnosis in {len(rows)} session(s)"
            where = in_lines(SESSIONS_FILE, rows)
            fix = "write the value itself, or n/a"
            findings.append(Finding("diagnosis-in-record", "error", where, problem, fix))
    return findings


def table_hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of the tables that an audit is about, those that exist."""
    files = [folder / name for name in (SESSIONS_FILE, IMAGES_FILE, SPLITS_FILE)]
    return {file.name: sha256_of_file(file) for file in files if file.is_file()}


def _audited(study: Study) -> list[Finding]:
    """Errors of the last audit, as long as the tables are those it looked at."""
    try:
        text = (study.folder / AUDIT_JSON_FILE).read_text(encoding="utf-8")
        audited: dict[str, Any] = json.loads(text)
        findings = [Finding(**finding) for finding in audited["findings"]]
        same = audited["tables"] == table_hashes(study.folder)
    except (OSError, ValueError, KeyError, TypeError):
        return []  # there is none that can be read; the cheap checks were made all the same
    return [f for f in findings if f.level == "error"] if same else []
