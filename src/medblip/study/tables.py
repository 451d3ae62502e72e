"""Read a table as text, exactly as it was written, or say which line is wrong and why.

Nothing is guessed: no type is inferred, no missing value is invented, no line is skipped but one
without any text. The frame's index is the line number in the file, so later messages can name it.
"""

from __future__ import annotations

import csv
import difflib
import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TextIO

import pandas as pd

from medblip.errors import InputError
from medblip.findings import Finding
from medblip.storage import write_text
from medblip.study.table_text import open_text

MAX_TABLE_BYTES = 1 << 30  # the largest public clinical table (NACC UDS) is about 0.7 GB
LINE = "line"  # name of the index
MAX_LISTED = 20  # column names in one message
MAX_NOTED = 200  # column names in one note

Numbered = tuple[int, list[str]]  # line in the file, cells of the row

_MANGLED_ID = re.compile(r"[0-9](?:[.,][0-9]+)?E\+[0-9]+", re.IGNORECASE)  # 1.23E+15
_TWIN_SUFFIX = re.compile(r"\.[0-9]+$")


def read_table(
    path: Path,
    *,
    encoding: str = "utf-8-sig",
    required: Sequence[str] = (),
    key: Sequence[str] = (),
    delimiter: str | None = None,
    max_bytes: int = MAX_TABLE_BYTES,
    name: str | None = None,
    keep: Callable[[list[str]], Sequence[str]] | None = None,
    ragged: list[InputError] | None = None,
) -> pd.DataFrame:
    """Read a delimited table with every cell as text, line by line.

    Args:
        path: ``.tsv`` (tabs) or ``.csv`` (comma, semicolon or tab, whichever the header uses).
        encoding: what the bytes are; a byte-order mark is accepted.
        required: columns that must be there.
        key: columns (also required) that together name a row; rows must differ in them, and
            their cells may be neither empty nor numbers that a spreadsheet has shortened.
        delimiter: one character, when the suffix does not tell.
        max_bytes: larger files are refused before they are read.
        name: how messages call the file; its file name by default.
        keep: chooses, from the header, the columns to keep in memory; all by default.
        ragged: where to put the errors of rows that do not have one cell a column, which are then
            left out; by default the first one is raised. Surplus cells that are empty are no fault
            then.

    Returns:
        A frame of ``str`` columns, cells stripped of surrounding blanks, empty cells as ``""``.
        The index is the line of each row in the file (the header is line 1).

    Raises:
        InputError: the file cannot be read as one rectangular table; ``code`` names the fault.
        UsageError: ``encoding`` is not known to Python.
    """
    where = name or path.name
    with open_text(path, encoding, where, max_bytes) as text:
        separator = delimiter or _delimiter_of(path, text)
        rows = _rows(text, separator, where)
        header = read_header(rows, [*required, *key], separator, where)
        kept = list(keep(header)) if keep else header
        frame = table_of(rows, header, kept, where, separator=separator, ragged=ragged)
    if key:
        check_key(frame, key, where)
    return frame


def check_key(frame: pd.DataFrame, key: Sequence[str], where: str) -> None:
    """Raise InputError unless ``key`` names each row of ``frame`` exactly once."""
    for column in key:
        _check_ids(frame[column], column, where)
    repeated = frame.duplicated(list(key), keep=False)
    if not repeated.any():
        return
    first = frame.loc[repeated, list(key)]
    twins = first.index[(first == first.iloc[0]).all(axis=1)]
    raise InputError(
        f"{where} lines {_listing(twins)}",
        f"{' + '.join(key)} is the same in {len(twins)} rows "
        f"({int(repeated.sum())} such rows in all), expected one row each",
        "keep one row for each subject and visit",
        code="duplicate-row",
    )


def unknown_columns(frame: pd.DataFrame, known: Iterable[str], where: str) -> list[Finding]:
    """A note that lists the columns that nothing reads; empty if all are known."""
    accepted = {column.casefold() for column in known}
    extra = [column for column in frame.columns if column.casefold() not in accepted]
    return extra_columns(extra, where)


def extra_columns(names: Sequence[str], where: str) -> list[Finding]:
    """A note that nothing reads the columns ``names``; empty if there are none."""
    if not names:
        return []
    listed = ", ".join(names[:MAX_NOTED]) + (", ..." if len(names) > MAX_NOTED else "")
    problem = f"{len(names)} column(s) are not read: {listed}"
    return [Finding("extra-column", "note", where, problem)]


def nearest(name: str, known: Iterable[str]) -> str:
    """``"; did you mean 'x'?"`` for the closest known name, or an empty string."""
    folded = {option.casefold(): option for option in known}
    close = difflib.get_close_matches(name.casefold(), folded, n=1, cutoff=0.5)
    return f"did you mean {folded[close[0]]!r}?" if close else ""


def write_table(path: Path, frame: pd.DataFrame) -> None:
    """Write a frame of text as UTF-8 with tabs, atomically; what `read_table` reads back."""
    clean = frame.map(lambda cell: re.sub(r"\s+", " ", str(cell)).strip())
    write_text(path, clean.to_csv(sep="\t", index=False, lineterminator="\n"))


def _delimiter_of(path: Path, text: TextIO) -> str:
    if path.suffix.lower() == ".tsv":
        return "\t"
    start = text.tell()
    header = next((line for line in iter(text.readline, "") if line.strip("\r\n")), "")
    text.seek(start)
    return max((",", ";", "\t"), key=header.count)


def _rows(text: TextIO, separator: str, where: str) -> Iterator[Numbered]:
    """Yield (line a row starts on, its cells) and refuse quotes that never close."""
    reader = csv.reader(text, delimiter=separator, strict=True)
    start = 1
    while True:
        try:
            row = next(reader, None)
        except csv.Error as error:
            raise InputError(
                f"{where} line {start}",
                f"a quoted field is not closed properly ({error})",
                'close the quote, or write a quote inside a field as ""',
                code="unclosed-quote",
            ) from None
        if row is None:
            return
        if any(cell.strip() for cell in row):
            yield start, row
        start = reader.line_num + 1


def read_header(
    rows: Iterator[Numbered], required: Sequence[str], separator: str, where: str
) -> list[str]:
    """The next row as names of columns.

    Raises:
        InputError: there is none, a name is empty or there twice, or a required one is missing.
    """
    line, cells = next(rows, (1, []))
    header = [cell.strip() for cell in cells]
    if not header:
        raise InputError(where, "the file is empty", "export it again", code="empty-table")
    place = f"{where} line {line}"
    if len(header) == 1 and (other := re.search(r"[,;\t]", header[0])):
        found = {"\t": "tabs", ",": "commas", ";": "semicolons"}
        raise InputError(
            place,
            f"the header is separated by {found[other.group()]}, "
            f"expected {found.get(separator, repr(separator))}",
            "use the suffix .tsv for tabs and .csv for commas or semicolons",
            code="wrong-delimiter",
        )
    for number, column in enumerate(header, start=1):
        if not column:
            problem = f"column {number} has no name"
            raise InputError(place, problem, "name it or remove it", code="unnamed-column")
    _refuse_twins(header, place)
    for column in required:
        if column not in header:
            suggestion = (
                nearest(column, header) or f"the header has: {', '.join(header[:MAX_LISTED])}"
            )
            problem = f"column {column!r} is missing"
            raise InputError(place, problem, suggestion, code="missing-column")
    return header


def _refuse_twins(header: list[str], place: str) -> None:
    """`DX, DX`, `Educ, EDUC` and `DX, DX.1` (what pandas makes of the first) are ambiguous."""
    names = {column.casefold() for column in header}
    seen: set[str] = set()
    for column in header:
        folded = column.casefold()
        original = _TWIN_SUFFIX.sub("", folded)
        if folded in seen or (original != folded and original in names):
            problem = f"the column {column!r} is there twice, expected each name once"
            raise InputError(place, problem, "remove or rename one of them", code="twin-column")
        seen.add(folded)


def table_of(
    rows: Iterable[Numbered],
    header: Sequence[str],
    kept: Sequence[str],
    where: str,
    *,
    separator: str = ",",
    ragged: list[InputError] | None = None,
) -> pd.DataFrame:
    """The rows below ``header`` as `read_table` returns them, with the columns ``kept``.

    Raises:
        InputError: there is no row, or one has another width (unless ``ragged`` takes it).
    """
    positions = [header.index(column) for column in kept]
    cells: list[list[str]] = []
    lines: list[int] = []
    same: dict[str, str] = {}  # tables repeat themselves: one object for equal cells
    for line, row in rows:
        if len(row) != len(header) and not (ragged is not None and _only_commas(row, header)):
            error = _ragged(row, len(header), separator, f"{where} line {line}")
            if ragged is None:
                raise error
            ragged.append(error)
            continue
        stripped = [row[position].strip() for position in positions]
        cells.append([same.setdefault(cell, cell) for cell in stripped])
        lines.append(line)
    if not cells:
        fix = "export the table again"
        raise InputError(where, "there is a header but no row", fix, code="header-only")
    return pd.DataFrame(cells, columns=list(kept), dtype=str, index=pd.Index(lines, name=LINE))


def _only_commas(row: list[str], header: Sequence[str]) -> bool:
    """Whether a row is too wide by empty cells only."""
    return len(row) > len(header) and not any(cell.strip() for cell in row[len(header) :])


def _ragged(row: list[str], width: int, separator: str, place: str) -> InputError:
    fix = "quote fields that contain the separator, or complete the row"
    digits = any(a.isdigit() and b.isdigit() for a, b in itertools.pairwise(row))
    if separator == "," and len(row) > width and digits:
        fix = "a decimal comma such as 27,5 is two fields here: write 27.5 or quote it"
    problem = f"found {len(row)} fields, expected {width} as in the header"
    return InputError(place, problem, fix, code="ragged-row")


def _check_ids(column: pd.Series[str], name: str, where: str) -> None:
    for line, value in column.items():
        if not value:
            problem = f"{name} is empty, expected an identifier"
            raise InputError(f"{where} line {line}", problem, code="empty-id")
        if _MANGLED_ID.fullmatch(value):
            raise InputError(
                f"{where} line {line}",
                f"{name} is {value!r}, a number that a spreadsheet has shortened",
                "export the table again with this column as text",
                code="mangled-id",
            )


def _listing(lines: Iterable[object], limit: int = 5) -> str:
    shown = [str(line) for line in lines]
    return ", ".join(shown[:limit]) + (", ..." if len(shown) > limit else "")
