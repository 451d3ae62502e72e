"""Cells of one's own table as fields of a session, by its map."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import date

from medblip.cohorts.bids_rows import Cell
from medblip.cohorts.coding import SessionValues
from medblip.cohorts.table_map import VALUE_FIELDS, TableMap
from medblip.cohorts.vendor_tables import VendorRow, VendorTable
from medblip.errors import InputError
from medblip.findings import Finding
from medblip.study.dates import check_one_order, parse_date
from medblip.study.labels import DIAGNOSES
from medblip.study.missing import ANY, BIDS, MissingCodes
from medblip.study.schema import SESSION_FIELDS

NO_SESSION = "single"

_CLOSED: Mapping[str, Mapping[str, str]] = {
    "diagnosis": DIAGNOSES,
    "sex": {"F": "F", "M": "M", "female": "F", "male": "M"},
}
_MOST_LISTED = 20


def check_columns(table: VendorTable, mapping: TableMap) -> None:
    """Refuse texts that stand for nothing, all of a column at once.

    Raises:
        InputError: ``unknown-value`` with what exists and what is known; ``mixed-dates``.
    """
    for name, own in _CLOSED.items():
        column = mapping.columns.get(name)
        if column is None:
            continue
        known = mapping.meaning(name) or own
        counts = Counter(text for text in table.frame[column] if text not in BIDS[ANY])
        unknown = {text: count for text, count in counts.items() if text not in known}
        if unknown:
            listed = ", ".join(f"{t!r} ({n})" for t, n in [*unknown.items()][:_MOST_LISTED])
            problem = f"{column} holds texts that stand for no {name}: {listed}"
            first = next(iter(unknown))
            fix = (
                f"known are {', '.join(known)}; say what the others mean, e.g. "
                f"--values {column}:{first}={next(iter(own.values()))}, or {first}= for missing"
            )
            raise InputError(table.name, problem, fix, code="unknown-value")
    for name in ("scan_date", "clinical_date"):
        if name in mapping.columns:
            column = mapping.columns[name]
            cells = [row.cell(column) for row in table.rows()]
            check_one_order(((cell.where, cell.text) for cell in cells if cell.text), column)


def key_of(row: VendorRow, mapping: TableMap) -> tuple[str, str]:
    """``participant_id`` and ``session_id`` of a row.

    Raises:
        InputError: one of them is empty or has characters that no id may have.
    """
    person = row.cell(mapping.columns["participant_id"])
    if not person.text:
        raise InputError(person.where, f"{person.column} is empty", "fill it in", code="empty-id")
    subject = f"{mapping.cohort}-{person.text}"
    SESSION_FIELDS["participant_id"].parse(subject, person.where)
    if "session_id" not in mapping.columns:
        return subject, NO_SESSION
    session = row.cell(mapping.columns["session_id"])
    return subject, SESSION_FIELDS["session_id"].parse(session.text, session.where)


def session_row(
    rows: Sequence[VendorRow], mapping: TableMap, findings: list[Finding]
) -> dict[str, str]:
    """The session that its scans' rows describe.

    Raises:
        InputError: ``session-conflict`` where they differ in anything but the scan; a bad id.
    """
    first = rows[0]
    fields = [name for name in VALUE_FIELDS if name in mapping.columns]
    _check_agreement(rows, [mapping.columns[name] for name in fields])
    subject, session = key_of(first, mapping)
    values = SessionValues(_missing_codes(mapping), findings)
    for name in fields:
        _take(values, name, first.cell(mapping.columns[name]), mapping)
    made = values.row(
        participant_id=subject, session_id=session, label_defined_by=mapping.label_defined_by
    )
    made["visit_code"] = made["visit_code"] or ("" if session == NO_SESSION else session)
    if made["diagnosis"]:
        cell = values.sources["diagnosis"]
        made["diagnosis_source"] = "=".join(t.replace("=", " ") for t in (cell.column, cell.text))
    _add_match_days(made, first.where)
    return made


def _check_agreement(rows: Sequence[VendorRow], columns: Sequence[str]) -> None:
    first = rows[0]
    for row in rows[1:]:
        for column in columns:
            if row[column] != first[column]:
                problem = f"{column} is {row[column]!r} here and {first[column]!r} in {first.where}"
                fix = "make the rows of one session agree, or give them other session ids"
                raise InputError(row.where, problem, fix, code="session-conflict")


def _take(values: SessionValues, name: str, cell: Cell, mapping: TableMap) -> None:
    meaning = mapping.meaning(name) or _CLOSED.get(name, {})
    if meaning.get(cell.text):
        values.take(name, cell, meaning)
        return
    if SESSION_FIELDS[name].kind == "date" and cell.text not in values.missing[ANY]:
        try:
            text = parse_date(cell.text, cell.where, mapping.date_order).isoformat()
        except InputError as error:
            problem = f"{error.problem}; the field is left empty"
            values.findings.append(Finding(error.code, "warning", error.where, problem, error.fix))
            return
        cell = Cell(text, cell.column, cell.where)
    values.take(name, cell)


def _missing_codes(mapping: TableMap) -> MissingCodes:
    codes = {
        name: frozenset(text for text, value in mapping.meaning(name).items() if not value)
        for name in mapping.columns
    }
    return {**codes, ANY: BIDS[ANY]}


def _add_match_days(row: dict[str, str], where: str) -> None:
    if row["scan_date"] and row["clinical_date"]:
        days = date.fromisoformat(row["scan_date"]) - date.fromisoformat(row["clinical_date"])
        row["match_days"] = SESSION_FIELDS["match_days"].parse(str(days.days), where)
