"""AIBL's tables ``aibl_<name>_<day>.csv``: rows by RID and visit, and the day of each visit."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from medblip.cohorts.coding import decode_date
from medblip.cohorts.collecting import Collector
from medblip.cohorts.foreign import AIBL as SOURCE
from medblip.cohorts.foreign import foreign_tables, refuse_absent
from medblip.cohorts.loni_tables import (
    dated_rows_by_visit,
    note_absent,
    rows_by_person,
    rows_by_visit,
)
from medblip.cohorts.vendor_tables import VendorRow, VendorTable, find_table, read_vendor_table
from medblip.errors import InputError
from medblip.findings import Finding
from medblip.study.missing import AIBL, is_missing

DIAGNOSES = "pdxconv"
PEOPLE = "ptdemog"
SCANS = {"mri3meta": "3", "mrimeta": "1.5"}  # table of scans -> field strength in tesla

# Columns besides RID and VISCODE. The tables of one test have a row a visit.
_COLUMNS: dict[str, tuple[str, ...]] = {
    DIAGNOSES: ("DXCURREN",),
    PEOPLE: ("PTDOB", "PTGENDER"),
    "neurobat": ("LIMMTOTAL", "LDELTOTAL"),
    "cdr": ("CDGLOBAL",),
    "mmse": ("MMSCORE",),
    **dict.fromkeys((*SCANS, "flutemeta", "pibmeta"), ("EXAMDATE",)),
}
_DATED = (*SCANS, "flutemeta", "pibmeta")  # tables with a row for each day of a visit
_RAGGED = frozenset({"flutemeta"})  # delivered with surplus commas
# Whose day is taken as the visit's, best first.
_DAY_ORDER = ("neurobat", "mri3meta", "mrimeta", "cdr", "flutemeta", "mmse", "pibmeta")
_BIRTH = re.compile(r"(?:[0-9]{0,2}/){0,2}([0-9]{4})")  # /1931: the year alone is given


@dataclass
class Visit:
    """One visit of one participant.

    Attributes:
        code: visit code.
        rows: by table; several in tables of scans.
        day: of the visit.
        scans: day and field strength of the scans that the tables of scans list.
    """

    code: str
    rows: dict[str, list[VendorRow]] = field(default_factory=dict)
    day: date | None = None
    scans: list[tuple[date, str]] = field(default_factory=list)

    @property
    def where(self) -> str:
        return next(iter(self.rows.values()))[0].where


@dataclass
class Person:
    """One participant: visits by code, and rows of ptdemog."""

    rid: int
    visits: dict[str, Visit] = field(default_factory=dict)
    demographics: list[VendorRow] = field(default_factory=list)

    def dated(self) -> list[tuple[date, Visit]]:
        """Visits that have a day, the earliest first."""
        dated = [(visit.day, visit) for visit in self.visits.values() if visit.day is not None]
        return sorted(dated, key=lambda pair: pair[0])


def read_people(collector: Collector, files: Sequence[Path], encoding: str) -> dict[int, Person]:
    """All participants of the tables, by RID.

    Raises:
        InputError: there is no table of diagnoses, or a table cannot be read.
    """
    tables = _read_tables(collector, files, encoding)
    people: dict[int, Person] = {}
    for name, table in tables.items():
        if name == PEOPLE:
            for rid, rows in rows_by_person(table, collector.findings).items():
                people.setdefault(rid, Person(rid)).demographics = rows
            continue
        for (rid, code), rows in _visit_rows(name, table, collector.findings):
            person = people.setdefault(rid, Person(rid))
            person.visits.setdefault(code, Visit(code)).rows[name] = rows
    for person in people.values():
        for visit in person.visits.values():
            _set_days(visit, collector.findings)
    return people


def birth_year(row: VendorRow) -> int | None:
    """Year of ``PTDOB``, which is written as ``/1931``; None if it is missing.

    Raises:
        InputError: it is written in another form.
    """
    cell = row.cell("PTDOB")
    if is_missing("age", cell.text, AIBL):
        return None
    match = _BIRTH.fullmatch(cell.text)
    if match is None:
        problem = f"PTDOB is {cell.text!r}, expected a slash and the year of birth"
        raise InputError(cell.where, problem, "correct it", code="date-format")
    return int(match[1])


def _read_tables(
    collector: Collector, files: Sequence[Path], encoding: str
) -> dict[str, VendorTable]:
    root, findings = collector.root, collector.findings
    tables = {}
    for name, columns in _COLUMNS.items():
        path = find_table(root, [f"aibl_{name}"], findings=findings, files=files)
        if path is None:
            continue
        tables[name] = read_vendor_table(
            path,
            root,
            required=("RID", "VISCODE", *columns),
            optional=tuple(c for c in ("EXAMDATE", "SITEID") if c not in columns),
            encoding=encoding,
            findings=findings,
            skip_ragged=name in _RAGGED,
        )
        collector.read_from(path)
    if DIAGNOSES not in tables:
        refuse_absent(root, f"aibl_{DIAGNOSES}_*.csv", files, [SOURCE], encoding)
    for name in (name for name in _COLUMNS if name not in tables):
        note_absent(collector, name, f"aibl_{name}_*.csv")
    findings.extend(foreign_tables(root, files, [SOURCE], encoding))
    return tables


def _visit_rows(
    name: str, table: VendorTable, findings: list[Finding]
) -> Iterator[tuple[tuple[int, str], list[VendorRow]]]:
    if name in _DATED:
        yield from dated_rows_by_visit(table, "EXAMDATE", findings).items()
    else:
        for key, row in rows_by_visit(table, findings).items():
            yield key, [row]


def _set_days(visit: Visit, findings: list[Finding]) -> None:
    for table in _DAY_ORDER:
        for row in visit.rows.get(table, ()):
            try:
                day = decode_date(row.cell("EXAMDATE"), AIBL)
            except InputError as error:
                problem = f"{error.problem}; the day is not used"
                findings.append(Finding(error.code, "warning", error.where, problem, error.fix))
                continue
            visit.day = visit.day or day
            if day is not None and table in SCANS:
                visit.scans.append((day, SCANS[table]))
