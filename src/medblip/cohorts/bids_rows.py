"""One session's row of ``sessions.tsv`` from what BIDS tables say of the subject and the visit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date

from medblip.cohorts.bids_columns import (
    BASELINE_SESSIONS,
    SUBJECT_FIELDS,
    VISIT_FIELDS,
    education_field,
    label_defined_by,
)
from medblip.study.labels import label_of
from medblip.study.missing import BIDS, is_missing, split_missing
from medblip.study.record import parse_field
from medblip.study.schema import SESSION_COLUMNS, SESSION_FIELDS


@dataclass(frozen=True)
class Row:
    """One row of a table.

    Attributes:
        where: file and line, for messages.
        cells: column -> text.
        columns: field -> column, as `columns_of` found them.
        baseline: the same for columns that speak of the first session only.
    """

    where: str
    cells: Mapping[str, str]
    columns: Mapping[str, str]
    baseline: Mapping[str, str] = field(default_factory=dict)

    def read(self, fields: Iterable[str]) -> dict[str, Cell]:
        """The cells of ``fields`` that the table has."""
        return {name: self._cell(column) for name, column in self.columns.items() if name in fields}

    def read_baseline(self) -> dict[str, Cell]:
        """The cells that speak of the first session."""
        return {name: self._cell(column) for name, column in self.baseline.items()}

    def _cell(self, column: str) -> Cell:
        return Cell(self.cells[column], column, f"{self.where}, field {column}")


@dataclass(frozen=True)
class Cell:
    text: str
    column: str
    where: str


@dataclass(frozen=True)
class Visit:
    """Which session a row is made for.

    Attributes:
        cohort: name of the cohort.
        participant: ``sub-...``.
        session: ``ses-...`` or ``single``.
        alone: whether the subject has no other session, so that participants.tsv speaks of it.
        education_units: what participants.json says of ``education_level``.
        scan_date: ISO date from the scans table, for a visit whose own tables have none.
    """

    cohort: str
    participant: str
    session: str
    alone: bool
    education_units: str = ""
    scan_date: str = ""

    @property
    def participant_id(self) -> str:
        return f"{self.cohort}-{self.participant.removeprefix('sub-')}"


def session_row(visit: Visit, person: Row | None, session: Row | None) -> dict[str, str]:
    """The canonical row, with every column of `SESSION_COLUMNS`.

    Args:
        visit: which session.
        person: the subject's row of participants.tsv.
        session: the session's row of the subject's sessions table.

    Raises:
        InputError: a value is neither within its range nor a listed missing code.
    """
    cells = _gather(visit, person, session)
    values, missing = split_missing({name: cell.text for name, cell in cells.items()}, BIDS)
    row = dict.fromkeys((column.name for column in SESSION_COLUMNS), "")
    row.update({name: _parse(name, text, cells[name].where) for name, text in values.items()})
    row["scan_date"] = row["scan_date"] or visit.scan_date
    row.update(
        cohort=visit.cohort,
        participant_id=visit.participant_id,
        session_id=visit.session,
        visit_code=visit.session.removeprefix("ses-"),
        label_defined_by=label_defined_by(visit.participant),
        missing_codes=",".join(f"{name}={code}" for name, code in missing.items()),
        match_days=_days_between(row["scan_date"], row["clinical_date"]),
    )
    if row["diagnosis"]:
        cell = cells["diagnosis"]
        row["diagnosis_source"] = f"{cell.column}={cell.text}"
    where = session.where if session else visit.session
    SESSION_FIELDS["match_days"].parse(row["match_days"], where)
    return row


def add_days_from_baseline(rows: list[dict[str, str]]) -> None:
    """Fill ``days_from_baseline`` of one subject's rows, by scan date or else by visit date."""
    by_scan = all(row["scan_date"] for row in rows)
    column = "scan_date" if by_scan else "clinical_date"
    dates = [row[column] for row in rows if row[column]]
    for row in rows:
        if row[column]:
            row["days_from_baseline"] = _days_between(row[column], min(dates))


def _gather(visit: Visit, person: Row | None, session: Row | None) -> dict[str, Cell]:
    """Cells by field: the visit's own come first, participants.tsv fills what they lack."""
    cells: dict[str, Cell] = {}
    if session is not None:
        cells.update(session.read({*SUBJECT_FIELDS, *VISIT_FIELDS}))
    if person is not None:
        _fill(cells, person.read(SUBJECT_FIELDS))
        if visit.alone:
            _fill(cells, person.read(VISIT_FIELDS))
        if visit.session in BASELINE_SESSIONS:
            _fill(cells, person.read_baseline())
    level = cells.pop("education_level", None)
    if level is not None and (name := education_field(visit.participant, visit.education_units)):
        _fill(cells, {name: level})
    return cells


def _fill(cells: dict[str, Cell], more: Mapping[str, Cell]) -> None:
    """Add cells for fields that have no value yet; a missing code gives way to a value only."""
    for name, cell in more.items():
        known = cells.get(name)
        if known is None or (
            is_missing(name, known.text, BIDS) and not is_missing(name, cell.text, BIDS)
        ):
            cells[name] = cell


def _parse(name: str, text: str, where: str) -> str:
    if name == "diagnosis":
        return label_of(text, where)
    if name == "sex":
        return parse_field(name, text, where)
    if name == "age" and text == "89+":  # deprecated in BIDS, still met
        text = "89"
    return SESSION_FIELDS[name].parse(text, where)


def _days_between(later: str, earlier: str) -> str:
    if not later or not earlier:
        return ""
    return str((date.fromisoformat(later) - date.fromisoformat(earlier)).days)
