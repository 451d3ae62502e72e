"""Find a vendor's table among a download's files and read the columns that are needed, as text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import NamedTuple, TypeVar, cast

import pandas as pd

from medblip.cohorts.bids_files import table_inside
from medblip.cohorts.bids_rows import Cell
from medblip.cohorts.folders import walk
from medblip.cohorts.workbooks import read_workbook
from medblip.errors import InputError
from medblip.findings import Finding
from medblip.storage import sha256_of_file
from medblip.study.tables import extra_columns, nearest, read_table

TABLE_SUFFIXES = (".csv", ".tsv", ".xlsx")

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DATED = re.compile(r"(?P<name>.+?)(?:_(?P<d>[0-9]{1,2})-?(?P<m>[A-Za-z]{3})-?(?P<y>[0-9]{4}))?")

Name = str | re.Pattern[str]
Key = TypeVar("Key", bound=tuple[object, ...])


@dataclass(frozen=True)
class VendorRow:
    """One row of a vendor's table.

    Attributes:
        where: file and line, for messages.
        cells: column, as the reader calls it, to text; a column the file lacks is ``""``.
        written: column, as the reader calls it, to how the file writes it.
    """

    where: str
    cells: Mapping[str, str]
    written: Mapping[str, str]

    def __getitem__(self, column: str) -> str:
        return self.cells[column]

    def cell(self, column: str) -> Cell:
        """The cell with its place, for messages."""
        name = self.written.get(column, column)
        return Cell(self.cells[column], name, f"{self.where}, field {name}")


@dataclass(frozen=True)
class VendorTable:
    """A vendor's table: the columns that were asked for, all cells as text.

    Attributes:
        name: path relative to the download.
        frame: indexed by line in the file.
        written: column, as the reader calls it, to how the file writes it; only those it has.
    """

    name: str
    frame: pd.DataFrame
    written: Mapping[str, str]

    def has(self, column: str) -> bool:
        """Whether the file has the column (its cells may still be empty)."""
        return column in self.written

    def rows(self) -> Iterator[VendorRow]:
        columns = [str(name) for name in self.frame.columns]
        for line, *cells in self.frame.itertuples(name=None):
            row = dict(zip(columns, cast("list[str]", cells), strict=True))
            yield VendorRow(f"{self.name} line {line}", row, self.written)

    def keyed(
        self, key: Sequence[str], findings: list[Finding]
    ) -> dict[tuple[str, ...], VendorRow]:
        """Rows by the cells of ``key``, as `unique_rows` takes them."""
        return unique_rows(
            ((tuple(row[column] for column in key), row) for row in self.rows()), findings
        )


def unique_rows(
    rows: Iterable[tuple[Key, VendorRow]], findings: list[Finding]
) -> dict[Key, VendorRow]:
    """One row for each key.

    Rows that are equal in every column that was read are one row, with a note. Where rows of
    one key differ, none is taken, since no rule says which is right: an error finding.
    """
    grouped: dict[Key, list[VendorRow]] = {}
    for key, row in rows:
        grouped.setdefault(key, []).append(row)
    return {
        key: same[0]
        for key, same in grouped.items()
        if len(same) == 1 or _are_one(same, key, findings)
    }


def list_tables(root: Path, suffixes: Sequence[str] = TABLE_SUFFIXES) -> list[Path]:
    """Every table file of a download, sorted; what cannot be listed is for `walk` to report."""
    return [
        root / folder.path_of(name)
        for folder in walk(root, [])
        for name in folder.names
        if Path(name).suffix.lower() in suffixes
    ]


def find_table(
    root: Path,
    names: Sequence[Name],
    *,
    findings: list[Finding],
    extensions: Sequence[str] = TABLE_SUFFIXES,
    files: Sequence[Path] | None = None,
) -> Path | None:
    """The download's table of that name, or None.

    A file name is NAME, or NAME with the day of download (``_01Jan2025``, ``_01-Jun-2018``), in
    any case. Among several the newest day is taken, then the earlier of ``names``; an undated one
    counts as oldest. The others are named in a note.

    Args:
        names: what the table may be called, best first: a text, or a pattern for all of NAME.
        findings: where notes go.
        extensions: of the file, with the dot.
        files: the download's files if they were listed before, so that it is walked only once.

    Raises:
        InputError: ``two-tables`` of one name and day whose bytes differ; ``outside-root``.
    """
    listed = list_tables(root, extensions) if files is None else files
    found = [f for path in listed if (f := _match(path, names, extensions)) is not None]
    if not found:
        return None
    found.sort(key=lambda f: (-f.day.toordinal(), f.rank, len(f.path.parts), str(f.path)))
    best = found[0]
    for other in found[1:]:
        where, chosen = _name(other.path, root), _name(best.path, root)
        same = sha256_of_file(other.path) == sha256_of_file(best.path)
        if (other.day, other.rank) == (best.day, best.rank) and not same:
            problem = f"{chosen} is of the same name and day, but another table"
            raise InputError(where, problem, "keep the right one", code="two-tables")
        problem = f"not read: {chosen} is {'the same table' if same else 'taken instead'}"
        findings.append(Finding("older-table", "note", where, problem))
    return table_inside(best.path, root)


def read_vendor_table(
    path: Path,
    root: Path,
    *,
    required: Sequence[str],
    optional: Sequence[str] = (),
    encoding: str,
    findings: list[Finding],
    aliases: Mapping[str, Sequence[str]] | None = None,
    skip_ragged: bool = False,
) -> VendorTable:
    """Read some columns of a table, found by name in any case and order.

    Only these columns are kept in memory. A note lists the others.

    Args:
        required: columns that must be there.
        optional: columns that are ``""`` in every row where the file lacks them.
        encoding: of a text table.
        findings: where notes go.
        aliases: other names of a column, e.g. ``{"sex": ("M/F", "Gender")}``.
        skip_ragged: leave out a row with another number of cells, with an error finding, instead
            of refusing the table: for tables that the vendor itself delivers so.

    Raises:
        InputError: the file cannot be read as a table, or lacks a required column.
    """
    name = _name(path, root)
    written: dict[str, str] = {}

    def choose(header: list[str]) -> list[str]:
        written.update(_columns(header, [*required, *optional], aliases or {}, name))
        _require(required, header, written, name)
        chosen = set(written.values())
        extra = [column for column in header if column not in chosen]
        findings.extend(extra_columns(extra, name))
        return list(written.values())

    ragged: list[InputError] | None = [] if skip_ragged else None
    if path.suffix.lower() == ".xlsx":
        frame = read_workbook(path, name, choose)
    else:
        frame = read_table(path, encoding=encoding, name=name, keep=choose, ragged=ragged)
    findings.extend(Finding.from_error(error) for error in ragged or ())
    frame = frame.set_axis(list(written), axis="columns")
    for column in optional:
        if column not in written:
            frame[column] = ""
    return VendorTable(name, frame, written)


class _Found(NamedTuple):
    path: Path
    day: date
    rank: int


def _match(path: Path, names: Sequence[Name], extensions: Sequence[str]) -> _Found | None:
    if path.suffix.lower() not in extensions:
        return None
    stem, day = _split_day(path.stem)
    for rank, name in enumerate(names):
        if isinstance(name, re.Pattern):
            matches = name.fullmatch(stem) is not None
        else:
            matches = name.casefold() == stem.casefold()
        if matches:
            return _Found(path, day, rank)
    return None


def _split_day(stem: str) -> tuple[str, date]:
    """``ADNIMERGE_01Jan2025`` as its name and day; the earliest possible day where it has none."""
    match = _DATED.fullmatch(stem)
    if match is not None and match["m"] and match["m"].lower() in _MONTHS:
        month = _MONTHS.index(match["m"].lower()) + 1
        try:
            return match["name"], date(int(match["y"]), month, int(match["d"]))
        except ValueError:  # e.g. 31Feb2020: then it is part of the name
            return stem, date.min
    return stem, date.min


def _columns(
    header: Sequence[str],
    wanted: Sequence[str],
    aliases: Mapping[str, Sequence[str]],
    where: str,
) -> dict[str, str]:
    """Column as asked for -> as the header writes it."""
    folded = {column.casefold(): column for column in header}
    columns = {}
    for column in wanted:
        names = (column, *aliases.get(column, ()))
        present = [folded[name.casefold()] for name in names if name.casefold() in folded]
        if len(set(present)) > 1:
            problem = f"the columns {' and '.join(present)} hold the same thing, {column}"
            raise InputError(f"{where} line 1", problem, "remove one", code="twin-column")
        if present:
            columns[column] = present[0]
    return columns


def _require(
    required: Sequence[str], header: Sequence[str], written: Mapping[str, str], where: str
) -> None:
    for column in required:
        if column not in written:
            fix = nearest(column, header) or "check that this is the right table"
            problem = f"column {column!r} is missing"
            raise InputError(f"{where} line 1", problem, fix, code="missing-column")


def _are_one(rows: list[VendorRow], key: tuple[object, ...], findings: list[Finding]) -> bool:
    where = ", ".join([rows[0].where, *(row.where.rsplit(" ", 1)[-1] for row in rows[1:])])
    named = " ".join(str(part) for part in key)
    if all(row.cells == rows[0].cells for row in rows):
        problem = f"{len(rows)} equal rows for {named}; one is used"
        findings.append(Finding("repeated-row", "note", where, problem))
        return True
    problem = f"{len(rows)} rows for {named} differ, expected one; none is used"
    fix = "keep the right row"
    findings.append(Finding("duplicate-row", "error", where, problem, fix))
    return False


def _name(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()
