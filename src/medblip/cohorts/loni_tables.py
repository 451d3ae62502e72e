"""What ADNI's and AIBL's tables share: rows are told apart by RID and visit code."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from medblip.cohorts.collecting import Collector
from medblip.cohorts.vendor_tables import VendorRow, VendorTable, unique_rows
from medblip.findings import Finding

NO_VISIT = frozenset({"f", "nv"})  # screen failure; visit that did not take place
BASELINE = "bl"

_RID = re.compile(r"0*([0-9]+)(?:\.0)?")
_MONTH = re.compile(r"m0*([0-9]+)")
_PHASE_PREFIX = re.compile(r"[0-9]_(.+)")  # 4_bl, 4_sc: ADNI4's own codes
_CODE = re.compile(r"(?!v[0-9])[a-z]+[0-9]*")  # v01 ... count the visits of one phase only


class Key(NamedTuple):
    """Whose and which visit's: number of the subject, visit code."""

    rid: int
    visit: str


def note_absent(collector: Collector, table: str, file: str) -> None:
    """Say that a table which is not needed is not there."""
    problem = f"there is no {table} table, so what only it says is not known"
    fix = "download it, unless its fields are not needed"
    collector.note("absent-table", "warning", file, problem, fix)


def visit_code(text: str) -> str | None:
    """A visit code in one form (``m0`` is ``bl``, ``m6`` is ``m06``); None if it is no code."""
    code = text.strip().lower()
    prefixed = _PHASE_PREFIX.fullmatch(code)
    code = prefixed[1] if prefixed else code
    month = _MONTH.fullmatch(code)
    if month is not None:
        return f"m{int(month[1]):02d}" if int(month[1]) else BASELINE
    return code if _CODE.fullmatch(code) else None


def rid_number(text: str) -> int | None:
    """The number of a subject (``0012`` and ``12.0`` are 12), or None if it is none."""
    match = _RID.fullmatch(text)
    return int(match[1]) if match else None


def rows_by_visit(table: VendorTable, findings: list[Finding]) -> dict[Key, VendorRow]:
    """Rows that say whose and which visit's they are; each other one is a finding."""
    return unique_rows(_keyed(table, findings), findings)


def dated_rows_by_visit(
    table: VendorTable, day: str, findings: list[Finding]
) -> dict[Key, list[VendorRow]]:
    """As `rows_by_visit`, for a table with a row for each ``day`` of a visit, e.g. of scans."""
    by_day = (((key, row[day]), row) for key, row in _keyed(table, findings))
    rows: dict[Key, list[VendorRow]] = {}
    for (key, _), row in unique_rows(by_day, findings).items():
        rows.setdefault(key, []).append(row)
    return rows


def rows_by_person(table: VendorTable, findings: list[Finding]) -> Mapping[int, list[VendorRow]]:
    """Rows of a table that speaks of persons, whatever the visit."""
    rows: dict[int, list[VendorRow]] = {}
    for row in table.rows():
        rid = _rid_of(row, findings)
        if rid is not None:
            rows.setdefault(rid, []).append(row)
    return rows


def _keyed(table: VendorTable, findings: list[Finding]) -> Iterator[tuple[Key, VendorRow]]:
    for row in table.rows():
        rid, visit = _rid_of(row, findings), _visit_of(row, findings)
        if rid is not None and visit is not None:
            yield Key(rid, visit), row


def _rid_of(row: VendorRow, findings: list[Finding]) -> int | None:
    rid = rid_number(row["RID"])
    if rid is None:
        problem = f"RID is {row['RID']!r}, expected a whole number; the row is not taken"
        fix = "correct it, or export the table again"
        findings.append(Finding("bad-id", "error", row.cell("RID").where, problem, fix))
    return rid


def _visit_of(row: VendorRow, findings: list[Finding]) -> str | None:
    column = "VISCODE2" if row.cells.get("VISCODE2") else "VISCODE"
    code = visit_code(row[column])
    if code is None:
        problem = f"the visit is {row[column]!r}, which is no code that all phases share"
        fix = "write sc, bl or m and the months since baseline"
        where = row.cell(column).where
        findings.append(Finding("unknown-visit", "warning", where, f"{problem}; not taken", fix))
        return None
    if code in NO_VISIT:
        problem = f"{code} is no visit (screen failure, or it did not take place); not taken"
        findings.append(Finding("no-visit-held", "note", row.where, problem))
        return None
    return code
