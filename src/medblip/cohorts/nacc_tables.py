"""NACC's UDS and MRI tables: which release, which columns, and rows that say whose and when."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

from medblip.cohorts.collecting import Collector
from medblip.cohorts.foreign import NACC, foreign_tables, refuse_absent
from medblip.cohorts.vendor_tables import VendorRow, VendorTable, find_table, read_vendor_table
from medblip.errors import InputError
from medblip.findings import Finding

# Of the UDS table's 1,900 columns and 0.7 GB only these are kept in memory.
_UDS_REQUIRED = (
    *("NACCID", "NACCVNUM", "VISITMO", "VISITDAY", "VISITYR", "SEX", "NACCUDSD"),
    *("CDRGLOB", "NACCMMSE"),
)
_UDS_OPTIONAL = (
    *("PACKET", "FORMVER", "BIRTHMO", "BIRTHYR", "EDUC", "NACCAGE", "CDRSUM"),
    *("LOGIMEM", "MEMUNITS", "CRAFTVRS", "CRAFTURS", "CRAFTDVR", "CRAFTDRE"),
    *("NACCALZD", "NACCETPR"),
)
_MRI_REQUIRED = ("NACCID", "MRIMO", "MRIDY", "MRIYR", "NACCMRFI")
_MRI_OPTIONAL = ("NACCADC", "NACCMRIA", "NACCVNUM", "NACCMRDY", "MRIFIELD")

_RELEASE = re.compile(
    r"(?P<owner>investigator|commercial)(?P<part>(?:_[a-z]+)*)_nacc(?P<freeze>[0-9]+)",
    re.IGNORECASE,
)
_CUSTOM = re.compile(  # older requests: <name><MMDDYYYY>.csv with <name><MMDDYYYY>mri.csv
    r".*?(?P<m>0[1-9]|1[0-2])(?P<d>[0-3][0-9])(?P<y>20[0-9]{2})(?P<mri>mri)?", re.IGNORECASE
)
_UDS_PARTS = ("", "_ftldlbd")
_YEARS = range(1980, 2101)
_NACC_ID = re.compile(r"NACC[0-9]{6}")


@dataclass(frozen=True)
class Visit:
    """A UDS visit with its day."""

    day: date
    row: VendorRow


@dataclass(frozen=True)
class _Release:
    """A table file by its name: ``kind`` is uds or mri; the best has the largest ``order``."""

    path: Path
    kind: str
    order: tuple[int, ...]


def read_tables(
    files: Sequence[Path], encoding: str, collector: Collector
) -> tuple[VendorTable, VendorTable]:
    """The UDS table, rows of people without a scan left out, and the MRI table.

    Raises:
        InputError: one of them is absent or cannot be read.
    """
    root = collector.root
    releases = [release for path in files if (release := _release_of(path)) is not None]
    chosen = {kind: _newest(kind, releases, collector) for kind in ("uds", "mri")}
    for kind, wanted in (("uds", "UDS"), ("mri", "MRI")):
        if chosen[kind] is None:
            what = f"{wanted} table of NACC, e.g. investigator_{'' if kind == 'uds' else 'mri_'}"
            refuse_absent(root, f"{what}nacc71.csv", files, [NACC], encoding)
    collector.findings.extend(foreign_tables(root, files, [NACC], encoding))
    columns = {"uds": (_UDS_REQUIRED, _UDS_OPTIONAL), "mri": (_MRI_REQUIRED, _MRI_OPTIONAL)}
    tables = {}
    for kind in ("mri", "uds"):
        path = chosen[kind] or root
        required, optional = columns[kind]
        tables[kind] = read_vendor_table(
            path,
            root,
            required=required,
            optional=optional,
            encoding=encoding,
            findings=collector.findings,
        )
        collector.read_from(path)
    return _rows_of(tables["uds"], set(tables["mri"].frame["NACCID"])), tables["mri"]


def visits_by_person(table: VendorTable, findings: list[Finding]) -> dict[str, list[Visit]]:
    """UDS visits in order of their days; a row without a valid day is left out with a warning."""
    visits: dict[str, list[Visit]] = {}
    for (person, _), row in table.keyed(["NACCID", "NACCVNUM"], findings).items():
        try:
            day = day_of(row, "VISITYR", "VISITMO", "VISITDAY")
        except InputError as error:
            findings.append(Finding(error.code, "warning", error.where, error.problem, error.fix))
            continue
        visits.setdefault(person, []).append(Visit(day, row))
    for same in visits.values():
        same.sort(key=lambda visit: visit.day)
    return visits


def day_of(row: VendorRow, year: str, month: str, day: str) -> date:
    """A day written in three columns.

    Raises:
        InputError: ``bad-date`` where they are no day, e.g. 8888.
    """
    texts = [row[column].removesuffix(".0") for column in (year, month, day)]
    try:
        found = date(*(int(text) for text in texts))
    except (ValueError, OverflowError):
        found = date.min
    if found.year not in _YEARS:  # 8888 would be a day of the year 8888
        problem = f"{year}, {month}, {day} are {', '.join(texts)}, which is no day"
        where = f"{row.where}, field {year}"
        raise InputError(where, problem, "correct the date", code="bad-date")
    return found


def check_id(row: VendorRow) -> str:
    """The row's NACCID.

    Raises:
        InputError: ``bad-id``.
    """
    text = row["NACCID"]
    if not _NACC_ID.fullmatch(text):
        problem = f"NACCID is {text[:40]!r}, expected NACC and six digits"
        where = row.cell("NACCID").where
        raise InputError(where, problem, "correct the identifier", code="bad-id")
    return text


def _release_of(path: Path) -> _Release | None:
    match = _RELEASE.fullmatch(path.stem)
    if match is not None:
        part = match["part"].lower()
        kind = "uds" if part in _UDS_PARTS else "mri" if part == "_mri" else ""
        owner = match["owner"].lower() == "investigator"  # the other has fewer rows
        return _Release(path, kind, (1, int(match["freeze"]), owner, -len(part)))
    match = _CUSTOM.fullmatch(path.stem)
    if match is not None:
        order = (0, int(match["y"]), int(match["m"]), int(match["d"]))
        return _Release(path, "mri" if match["mri"] else "uds", order)
    return None


def _newest(kind: str, releases: Sequence[_Release], collector: Collector) -> Path | None:
    """The table of the newest freeze; the others are named in notes."""
    root, findings = collector.root, collector.findings
    ours = sorted((r for r in releases if r.kind == kind), key=lambda r: r.order, reverse=True)
    if not ours:
        return None
    twins = [release.path for release in ours if release.order == ours[0].order]
    best = find_table(root, [ours[0].path.stem], findings=findings, files=twins)
    for release in ours:
        if release.path not in twins:
            where = release.path.relative_to(root).as_posix()
            problem = f"not read: {ours[0].path.name} is newer or has more rows"
            findings.append(Finding("other-release", "note", where, problem))
    for release in releases if kind == "uds" else ():
        if not release.kind:
            where = release.path.relative_to(root).as_posix()
            problem = "not read: neither the UDS nor the MRI table"
            findings.append(Finding("unread-table", "note", where, problem))
    return best


def _rows_of(table: VendorTable, people: Collection[str]) -> VendorTable:
    frame = table.frame
    return replace(table, frame=frame[frame["NACCID"].isin(list(people))])
