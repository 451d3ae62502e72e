"""The tables of a BIDS data set as rows: who took part, which visits, when each scan was made."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pandas as pd

from medblip.cohorts.bids_columns import (
    BASELINE_FIELDS,
    SUBJECT_FIELDS,
    VISIT_FIELDS,
    all_names,
    columns_of,
    education_field,
)
from medblip.cohorts.bids_files import NO_SESSION, read_json, table_inside
from medblip.cohorts.bids_rows import Row
from medblip.errors import InputError
from medblip.findings import Finding
from medblip.study.dates import check_one_order
from medblip.study.tables import read_table, unknown_columns

PARTICIPANTS = "participants.tsv"
PARTICIPANTS_JSON = "participants.json"
DESCRIPTION = "dataset_description.json"

_FIELDS = SUBJECT_FIELDS | VISIT_FIELDS


@dataclass(frozen=True)
class Participants:
    """``participants.tsv``.

    Attributes:
        rows: by ``sub-...``.
        education_units: what participants.json says that ``education_level`` counts.
        findings: rows not taken, columns not read.
    """

    rows: dict[str, Row]
    education_units: str
    findings: list[Finding]


@dataclass(frozen=True)
class Visits:
    """A subject's ``sub-*_sessions.tsv``.

    Attributes:
        rows: by ``ses-...``.
        path: the file, for its checksum.
        extra_columns: columns that are not read.
    """

    rows: dict[str, Row]
    path: Path
    extra_columns: frozenset[str]


def cohort_name(root: Path) -> tuple[str, list[Finding]]:
    """The data set's ``Name`` as a cohort's name (``My data`` becomes ``My-data``).

    Raises:
        InputError: the description is not JSON, or neither it nor the folder has a usable name.
    """
    name = str(read_json(root / DESCRIPTION, root).get("Name", "")).strip()
    findings = []
    if not name:
        name = root.resolve().name
        problem = f"{DESCRIPTION} gives no Name, so the folder's name is the cohort's"
        findings.append(Finding("no-data-set-name", "warning", DESCRIPTION, problem, "add Name"))
    cohort = re.sub(r"[^A-Za-z0-9._+-]+", "-", name).strip("-._+")
    if not cohort:
        problem = "the data set's name has no letter or digit"
        raise InputError(DESCRIPTION, problem, "set Name, e.g. to ADNI", code="no-data-set-name")
    return cohort, findings


def read_participants(root: Path, encoding: str) -> Participants:
    """Read ``participants.tsv``.

    Raises:
        InputError: it is missing or cannot be read as a table with one row per subject.
    """
    path = table_inside(root / PARTICIPANTS, root)
    if path is None:
        fix = "point to the folder that holds it and the sub-* folders"
        raise InputError(PARTICIPANTS, "there is no such file", fix, code="no-participants")
    table = read_table(path, encoding=encoding, key=("participant_id",))
    columns = columns_of(table.columns, _FIELDS, PARTICIPANTS)
    baseline = columns_of(table.columns, BASELINE_FIELDS, PARTICIPANTS)
    findings = unknown_columns(table, all_names(_FIELDS, BASELINE_FIELDS), PARTICIPANTS)
    rows = {}
    for line, cells in _lines(table):
        row = Row(f"{PARTICIPANTS} line {line}", cells, columns, baseline)
        try:
            _check_id(row, "participant_id", "sub-")
        except InputError as error:
            findings.append(Finding.from_error(error))
        else:
            rows[cells["participant_id"]] = row
    units = _education_units(read_json(root / PARTICIPANTS_JSON, root))
    if "education_level" in columns and any(education_field(p, units) is None for p in rows):
        problem = "education_level is not read: it may count years or be a code from 1 to 5"
        fix = f'call it education_years, or give its "Units" as "year" in {PARTICIPANTS_JSON}'
        findings.append(Finding("education-unit", "warning", PARTICIPANTS, problem, fix))
    return Participants(rows, units, findings)


def read_visits(root: Path, subject: str, encoding: str) -> Visits | None:
    """Read ``<subject>/<subject>_sessions.tsv``, or None if the subject has none.

    Raises:
        InputError: it cannot be read as a table with one row per session, or mixes date orders.
    """
    name = f"{subject}/{subject}_sessions.tsv"
    path = table_inside(root / name, root)
    if path is None:
        return None
    table = read_table(path, encoding=encoding, key=("session_id",), name=name)
    columns = columns_of(table.columns, _FIELDS, name)
    rows = {}
    for line, cells in _lines(table):
        row = Row(f"{name} line {line}", cells, columns)
        _check_id(row, "session_id", "ses-")
        rows[cells["session_id"]] = row
    for column in (columns[f] for f in ("scan_date", "clinical_date") if f in columns):
        check_one_order(((row.where, row.cells[column]) for row in rows.values()), column)
    extra = {c for c in table.columns if c.casefold() not in _KNOWN}
    return Visits(rows, path, frozenset(extra))


def scan_dates(root: Path, subject: str, session: str, encoding: str) -> dict[str, str]:
    """Image file name -> ``acq_time`` as written, from a session's ``*_scans.tsv``.

    The table's ``filename`` only looks up images that were found by listing folders: its last
    part is compared, blanks removed (``anat / x.nii.gz`` is met), and nothing is opened by it.

    Raises:
        InputError: the table cannot be read.
    """
    folder, stem = subject, subject
    if session != NO_SESSION:
        folder, stem = f"{subject}/{session}", f"{subject}_{session}"
    name = f"{folder}/{stem}_scans.tsv"
    path = table_inside(root / name, root)
    if path is None:
        return {}
    table = read_table(path, encoding=encoding, required=("filename",), name=name)
    if "acq_time" not in table.columns:
        return {}
    names = [re.sub(r"\s", "", text).rsplit("/", 1)[-1] for text in table["filename"]]
    return dict(zip(names, table["acq_time"], strict=True))


def _check_id(row: Row, column: str, prefix: str) -> None:
    value = row.cells[column]
    label = value.removeprefix(prefix)
    if not value.startswith(prefix) or not (label.isascii() and label.isalnum()):
        raise InputError(
            row.where,
            f"{column} is {value!r}, expected {prefix}<letters and digits>",
            "write it as the folder is called",
            code="bad-id",
        )


def _education_units(participants_json: dict[str, Any]) -> str:
    level = participants_json.get("education_level")
    return str(level.get("Units", "")) if isinstance(level, dict) else ""


def _lines(table: pd.DataFrame) -> list[tuple[int, Mapping[str, str]]]:
    return cast("list[tuple[int, Mapping[str, str]]]", list(table.to_dict("index").items()))


_KNOWN = frozenset(name.casefold() for name in all_names(_FIELDS))
