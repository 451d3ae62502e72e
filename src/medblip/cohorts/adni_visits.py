"""ADNI's participants with their visits: rows of all tables brought together by RID and visit."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date

from medblip.cohorts.adni_codes import SCREENING, phase_diagnosis
from medblip.cohorts.adni_options import AdniOptions
from medblip.cohorts.adni_tables import (
    DAYS,
    DEMOGRAPHICS,
    DXSUM,
    MERGE,
)
from medblip.cohorts.bids_rows import Cell
from medblip.cohorts.coding import decode, decode_date
from medblip.cohorts.loni_tables import BASELINE, rows_by_person, rows_by_visit
from medblip.cohorts.vendor_tables import VendorRow, VendorTable
from medblip.errors import InputError
from medblip.findings import Finding
from medblip.study.missing import ADNI

_PTID = re.compile(r"[0-9]{3}_S_([0-9]{4,5})")


@dataclass
class Visit:
    """One visit of one participant.

    Attributes:
        code: visit code.
        rows: by table, in the order in which their values are preferred.
        screening: rows of ``sc`` and ``scmri``, for the baseline only: they fill what it lacks.
        label: NC, MCI or AD; empty where no table says one or two contradict each other.
        label_cell: the cell that says it.
        contradicted: two tables say different labels.
        fault: why the label cannot be known, where a code of it is wrong.
        day: of the visit.
    """

    code: str
    rows: dict[str, VendorRow] = field(default_factory=dict)
    screening: list[tuple[str, VendorRow]] = field(default_factory=list)
    label: str = ""
    label_cell: Cell | None = None
    contradicted: bool = False
    fault: InputError | None = None
    day: date | None = None

    @property
    def where(self) -> str:
        return next(row.where for _, row in self.all_rows())

    @property
    def is_judged(self) -> bool:
        """Whether somebody wrote down a diagnosis, be it one that cannot be used."""
        return bool(self.label) or self.contradicted or self.fault is not None

    def all_rows(self) -> Iterator[tuple[str, VendorRow]]:
        """Its own rows, then those of the screening."""
        yield from self.rows.items()
        yield from self.screening


@dataclass
class Person:
    """One participant.

    Attributes:
        rid: number of the subject.
        ptid: ``SSS_S_RRRR``; empty if no table says it.
        visits: by code; the screening is part of ``bl``.
        demographics: rows of PTDEMOG.
    """

    rid: int
    ptid: str = ""
    visits: dict[str, Visit] = field(default_factory=dict)
    demographics: list[VendorRow] = field(default_factory=list)

    def dated(self) -> list[tuple[date, Visit]]:
        """Visits that have a day, the earliest first."""
        dated = [(visit.day, visit) for visit in self.visits.values() if visit.day is not None]
        return sorted(dated, key=lambda pair: pair[0])

    def rows(self, table: str) -> Iterator[VendorRow]:
        """This person's rows of one table."""
        for visit in self.visits.values():
            yield from (row for key, row in visit.all_rows() if key == table)


def rid_of_ptid(ptid: str, options: AdniOptions) -> int | None:
    """The RID that a PTID ends in, or None if it is none."""
    match = _PTID.fullmatch(ptid)
    if match is None or (len(match[1]) == 5 and not options.five_digit_ids):
        return None
    return int(match[1])


def collect_people(
    tables: Mapping[str, VendorTable], options: AdniOptions, findings: list[Finding]
) -> dict[int, Person]:
    """All participants of the tables by RID, the screening merged into the baseline."""
    people: dict[int, Person] = {}
    for key, table in tables.items():
        if key == DEMOGRAPHICS:
            for rid, rows in rows_by_person(table, findings).items():
                person = people.setdefault(rid, Person(rid))
                person.demographics = [r for r in rows if _is_of(person, r, options, findings)]
            continue
        for (rid, code), row in rows_by_visit(table, findings).items():
            person = people.get(rid) or Person(rid)
            if _is_of(person, row, options, findings):
                people[rid] = person
                person.visits.setdefault(code, Visit(code)).rows[key] = row
    for person in people.values():
        _merge_screening(person)
        for visit in person.visits.values():
            visit.day = _day_of(visit, findings)
            _judge(visit, options, findings)
    return people


def _is_of(person: Person, row: VendorRow, options: AdniOptions, findings: list[Finding]) -> bool:
    """Whether a row's PTID is that of the person; without one, its RID alone tells."""
    ptid = row.cells.get("PTID", "")
    if not ptid or ptid == person.ptid:
        return True
    rid = rid_of_ptid(ptid, options)
    if rid is None:
        problem, code = f"PTID is {ptid!r}, expected 3 digits, _S_ and the RID", "bad-id"
    elif rid != person.rid or person.ptid:
        problem, code = f"PTID {ptid} and RID {row['RID']} are not one person", "id-mismatch"
        if person.ptid:
            problem = f"{problem}: its PTID is {person.ptid} elsewhere"
    else:
        person.ptid = ptid
        return True
    where = row.cell("PTID").where
    findings.append(Finding(code, "error", where, f"{problem}; not taken", "correct the row"))
    return False


def _merge_screening(person: Person) -> None:
    screening = [person.visits.pop(code) for code in SCREENING if code in person.visits]
    if screening:
        baseline = person.visits.setdefault(BASELINE, Visit(BASELINE))
        baseline.screening = [pair for visit in screening for pair in visit.rows.items()]


def _day_of(visit: Visit, findings: list[Finding]) -> date | None:
    for _, row in visit.all_rows():
        for column in DAYS:
            try:
                day = decode_date(row.cell(column), ADNI)
            except InputError as error:
                findings.append(
                    Finding(error.code, "warning", error.where, error.problem, error.fix)
                )
                continue
            if day is not None:
                return day
    return None


def _judge(visit: Visit, options: AdniOptions, findings: list[Finding]) -> None:
    """Find the label: in the visit's own rows, else in those of the screening."""
    try:
        for rows in (list(visit.rows.items()), visit.screening):
            labels = [pair for row in rows if (pair := _label_of(*row, options)) is not None]
            if labels:
                _settle(visit, labels, findings)
                return
    except InputError as error:
        visit.fault = error


def _label_of(table: str, row: VendorRow, options: AdniOptions) -> tuple[str, Cell] | None:
    if table == DXSUM:
        return phase_diagnosis(row)
    if table != MERGE:
        return None
    cell = row.cell("DX")
    label = decode("diagnosis", cell, ADNI, options.diagnoses)
    return (label, cell) if label else None


def _settle(visit: Visit, labels: list[tuple[str, Cell]], findings: list[Finding]) -> None:
    first = labels[0]
    for label, cell in labels[1:]:
        if label != first[0]:
            problem = (
                f"{cell.column}={cell.text} means {label}, but {first[1].where} says "
                f"{first[1].column}={first[1].text}, {first[0]}; the visit has no label"
            )
            fix = "correct one of the two, or remove the older table"
            code = "conflicting-diagnosis"
            findings.append(Finding(code, "warning", cell.where, problem, fix))
            visit.contradicted = True
            return
    visit.label, visit.label_cell = first
