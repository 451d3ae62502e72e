"""Whose table is this? Names a cohort by its table, so that a wrong command can be told."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, NoReturn

from medblip.cohorts.workbooks import workbook_header
from medblip.errors import InputError
from medblip.findings import Finding

_PEEK_BYTES = 1 << 16


class Source(NamedTuple):
    """How a cohort is called, and which ``prepare`` command reads it."""

    name: str
    command: str


ADNI = Source("ADNI", "adni")
NACC = Source("NACC", "nacc")
OASIS1 = Source("OASIS-1", "oasis")
OASIS2 = Source("OASIS-2", "oasis")
AIBL = Source("AIBL", "aibl")
MIRIAD = Source("MIRIAD", "miriad")
BIDS = Source("a BIDS data set", "bids")

# File names decide first: AIBL's tables have the columns of ADNI's.
_FILE_NAMES: tuple[tuple[re.Pattern[str], Source], ...] = (
    (re.compile(r"aibl_.+", re.IGNORECASE), AIBL),
    (re.compile(r"(?:investigator|commercial)_.*nacc[0-9]+.*", re.IGNORECASE), NACC),
    (re.compile(r"oasis_cross-sectional.*", re.IGNORECASE), OASIS1),
    (re.compile(r"oasis_longitudinal.*", re.IGNORECASE), OASIS2),
    (re.compile(r"miriad.*", re.IGNORECASE), MIRIAD),
)
_HEADERS: tuple[tuple[frozenset[str], Source], ...] = (
    (frozenset({"naccid"}), NACC),
    (frozenset({"subject id", "mri id"}), OASIS2),
    (frozenset({"id", "m/f", "hand", "etiv"}), OASIS1),
    (frozenset({"rid", "viscode", "dx_bl"}), ADNI),
    (frozenset({"rid", "viscode2"}), ADNI),
    (frozenset({"participant_id"}), BIDS),
)
_MIRIAD_LABEL = re.compile(r"miriad_[0-9]{3}", re.IGNORECASE)


def source_of(path: Path, encoding: str = "utf-8-sig") -> Source | None:
    """The cohort a table comes from, by its name, header or first row; None if no sign is known."""
    stem = path.stem
    for pattern, source in _FILE_NAMES:
        if pattern.fullmatch(stem):
            return source
    header, *rows = peek(path, encoding) or [[]]
    folded = {column.casefold() for column in header}
    for columns, source in _HEADERS:
        if columns <= folded:
            return source
    if any(_MIRIAD_LABEL.match(cell) for row in rows for cell in row):
        return MIRIAD
    return None


def peek(path: Path, encoding: str = "utf-8-sig") -> list[list[str]]:
    """The first two rows of a table, as well as they can be read; never an error."""
    try:
        if path.suffix.lower() == ".xlsx":
            return [workbook_header(path)]
        with path.open("rb") as handle:
            lines = handle.read(_PEEK_BYTES).decode(encoding, errors="replace").splitlines()[:2]
        delimiter = max(",;\t", key=lines[0].count) if lines else ","
        return [[c.strip() for c in row] for row in csv.reader(lines, delimiter=delimiter)]
    except (OSError, LookupError, ValueError, InputError, csv.Error):
        return []


def foreign_tables(
    root: Path, files: Iterable[Path], own: Iterable[Source], encoding: str = "utf-8-sig"
) -> list[Finding]:
    """A warning for each table that belongs to another cohort than ``own``."""
    mine = set(own)
    findings = []
    for path in files:
        source = source_of(path, encoding)
        if source is not None and source not in mine:
            where = path.relative_to(root).as_posix()
            findings.append(Finding("other-cohort", "warning", where, *_told(source)))
    return findings


def refuse_absent(
    root: Path,
    wanted: str,
    files: Sequence[Path],
    own: Iterable[Source],
    encoding: str = "utf-8-sig",
) -> NoReturn:
    """Raise the InputError of a download whose main table is not there.

    Raises:
        InputError: ``other-cohort`` if it holds another cohort's tables, else ``absent-table``.
    """
    foreign = foreign_tables(root, files, own, encoding)
    if foreign:
        first = foreign[0]
        where = f"{root.name}/{first.where}"
        raise InputError(where, first.problem, first.fix, code=first.code)
    problem = f"found no {wanted}"
    fix = (
        "put the table, unpacked and under the name it was downloaded with, into this folder or "
        "one below it"
    )
    raise InputError(str(root), problem, fix, code="absent-table")


def _told(source: Source) -> tuple[str, str]:
    return (f"this looks like a table of {source.name}", f"use `medblip prepare {source.command}`")
