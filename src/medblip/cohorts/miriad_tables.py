"""MIRIAD's XNAT exports: MR sessions, clinical records and subjects, told apart by their columns.

What the exports are called and which columns they have depends on who made them; no source shows
the vendor's own. Columns are therefore looked up by lists of names that can be set.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from medblip.cohorts.bids_files import table_inside
from medblip.cohorts.collecting import Collector
from medblip.cohorts.foreign import MIRIAD, foreign_tables, peek, refuse_absent, source_of
from medblip.cohorts.miriad_names import ScanKey, label_key, visit_key
from medblip.cohorts.vendor_tables import VendorRow, read_vendor_table
from medblip.errors import InputError
from medblip.findings import Finding
from medblip.storage import sha256_of_file

Key = TypeVar("Key", bound=Hashable)

ALIASES: Mapping[str, tuple[str, ...]] = {
    "label": ("Label", "MR ID", "Session"),
    "subject": ("Subject", "Subject ID"),
    "age": ("Age",),
    "group": ("Group",),
    "sex": ("M/F", "Gender", "Sex"),
    "mmse": ("MMSE", "MMSE Score"),
    "cdr": ("CDR", "CDR Global"),
    "education": ("Education",),
    "ses": ("Ses",),
}

# Role of a table: columns it must have, columns it may have.
_ROLES: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "sessions": (("label", "age"), ("subject", "group", "sex")),
    "clinical": (("label", "mmse"), ("subject", "cdr")),
    "subjects": (("subject", "sex"), ("education", "ses")),
}


@dataclass
class MiriadTables:
    """Rows of the three exports.

    Attributes:
        sessions: by scan.
        clinical: by subject and visit; several where one record holds the MMSE, another the CDR.
        subjects: by three-digit subject.
        columns: how each table writes the columns that were used, for a note.
    """

    sessions: dict[ScanKey, VendorRow] = field(default_factory=dict)
    clinical: dict[tuple[str, int], list[VendorRow]] = field(default_factory=dict)
    subjects: dict[str, VendorRow] = field(default_factory=dict)
    columns: dict[str, str] = field(default_factory=dict)

    def add(self, role: str, rows: Sequence[VendorRow], findings: list[Finding]) -> None:
        """Take the rows of one export."""
        if role == "sessions":
            self.sessions = _one_each(rows, "label", label_key, findings)
        elif role == "subjects":
            self.subjects = _one_each(rows, "subject", _subject_of, findings)
        else:
            for row, key in _keys(rows, "label", visit_key, findings):
                self.clinical.setdefault(key, []).append(row)


def read_tables(
    files: Sequence[Path],
    encoding: str,
    aliases: Mapping[str, tuple[str, ...]],
    collector: Collector,
) -> MiriadTables:
    """Find and read the exports.

    Raises:
        InputError: there is no table of MR sessions, there are two of one role, or one cannot be
            read.
    """
    root, findings = collector.root, collector.findings
    roles = _by_role(files, encoding, aliases, collector)
    if "sessions" not in roles:
        refuse_absent(root, "table of MR sessions with their ages", files, [MIRIAD], encoding)
    findings.extend(foreign_tables(root, files, [MIRIAD], encoding))
    tables = MiriadTables()
    for role, path in roles.items():
        required, optional = _ROLES[role]
        table = read_vendor_table(
            table_inside(path, root) or path,
            root,
            required=required,
            optional=optional,
            encoding=encoding,
            findings=findings,
            aliases=aliases,
        )
        collector.read_from(path)
        tables.columns[table.name] = ", ".join(table.written.values())
        tables.add(role, list(table.keyed([required[0]], findings).values()), findings)
    return tables


def _by_role(
    files: Sequence[Path],
    encoding: str,
    aliases: Mapping[str, tuple[str, ...]],
    collector: Collector,
) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in files:
        if source_of(path, encoding) != MIRIAD:
            continue
        header = {column.casefold() for column in (peek(path, encoding) or [[]])[0]}
        where = path.relative_to(collector.root).as_posix()
        fitting = [role for role in _ROLES if _fits(role, header, aliases)]
        if not fitting:
            problem = "not read: it has the columns of no table of MIRIAD"
            collector.note("unread-file", "note", where, problem)
        for role in fitting:
            if role in found:
                _refuse_second(where, found[role], path, collector)
            else:
                found[role] = path
    return found


def _fits(role: str, header: set[str], aliases: Mapping[str, tuple[str, ...]]) -> bool:
    required, _ = _ROLES[role]
    if role == "subjects" and _has("label", header, aliases):
        return False
    return all(_has(column, header, aliases) for column in required)


def _has(column: str, header: set[str], aliases: Mapping[str, tuple[str, ...]]) -> bool:
    return any(name.casefold() in header for name in (column, *aliases.get(column, ())))


def _refuse_second(where: str, first: Path, second: Path, collector: Collector) -> None:
    """Two exports of one kind are one if they are equal; else only people know which is right."""
    name = first.relative_to(collector.root).as_posix()
    if sha256_of_file(first) != sha256_of_file(second):
        problem = f"{name} has the same columns, but other rows"
        raise InputError(where, problem, "keep the right one", code="two-tables")
    collector.note("older-table", "note", where, f"not read: {name} is the same table")


def _one_each(
    rows: Sequence[VendorRow],
    column: str,
    key_of: Callable[[str], Key | None],
    findings: list[Finding],
) -> dict[Key, VendorRow]:
    """Rows by key; where two spellings of one label meet, none is used."""
    found: dict[Key, VendorRow] = {}
    twice = set()
    for row, key in _keys(rows, column, key_of, findings):
        if key in found:
            twice.add(key)
            where = f"{found[key].where}, {row.where.rsplit(' ', 1)[-1]}"
            problem = f"{found[key][column]} and {row[column]} are the same; none is used"
            findings.append(Finding("duplicate-row", "error", where, problem, "keep one"))
        found[key] = row
    return {key: row for key, row in found.items() if key not in twice}


def _keys(
    rows: Sequence[VendorRow],
    column: str,
    key_of: Callable[[str], Key | None],
    findings: list[Finding],
) -> list[tuple[VendorRow, Key]]:
    found = []
    for row in rows:
        key = key_of(row[column])
        if key is None:
            cell = row.cell(column)
            problem = f"{cell.column} is {cell.text[:40]!r}, expected e.g. miriad_123..."
            findings.append(Finding("bad-id", "error", cell.where, problem, "correct it"))
        else:
            found.append((row, key))
    return found


def _subject_of(text: str) -> str | None:
    prefix, _, number = text.partition("_")
    return number if prefix == "miriad" and len(number) == 3 and number.isdecimal() else None
