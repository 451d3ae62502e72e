"""Read a table as text, exactly as it was written, or say which line is wrong and why.

Nothing is guessed: no type is inferred, no missing value is invented, no line is skipped but one
without any text. The frame's index is the line number in the file, so later messages can name it.
"""

from __future__ import annotations

import csv
import difflib
import io
import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pandas as pd

from medblip.errors import InputError, UsageError
from medblip.findings import Finding
from medblip.storage import write_text

MAX_TABLE_BYTES = 1 << 30  # the largest public clinical table (NACC UDS) is about 0.7 GB
LINE = "line"  # name of the index

_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
_NOT_TEXT = {
    b"PK\x03\x04": "an Excel workbook or zip archive",
    b"\x1f\x8b": "a gzip archive",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook",
    b"%PDF": "a PDF document",
}
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
) -> pd.DataFrame:
    """Read a delimited table with every cell as text.

    Args:
        path: ``.tsv`` (tabs) or ``.csv`` (comma, semicolon or tab, whichever the header uses).
        encoding: what the bytes are; a byte-order mark is accepted.
        required: columns that must be there.
        key: columns (also required) that together name a row; rows must differ in them, and
            their cells may be neither empty nor numbers that a spreadsheet has shortened.
        delimiter: one character, when the suffix does not tell.
        max_bytes: larger files are refused before they are read.
        name: how messages call the file; its file name by default.

    Returns:
        A frame of ``str`` columns, cells stripped of surrounding blanks, empty cells as ``""``.
        The index is the line of each row in the file (the header is line 1).

    Raises:
        InputError: the file cannot be read as one rectangular table; ``code`` names the fault.
        UsageError: ``encoding`` is not known to Python.
    """
    where = name or path.name
    text = _decode(_read_bytes(path, where, max_bytes), encoding, where)
    separator = delimiter or _delimiter_of(path, text)
    rows = _rows(text, separator, where)
    header = _header(rows, [*required, *key], separator, where)
    lines, cells = _body(rows, header, separator, where)
    frame = pd.DataFrame(cells, columns=header, dtype=str, index=pd.Index(lines, name=LINE))
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
    if not extra:
        return []
    problem = f"{len(extra)} column(s) are not read: {', '.join(extra)}"
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


def _read_bytes(path: Path, where: str, max_bytes: int) -> bytes:
    try:
        size = path.stat().st_size
        if size > max_bytes:
            raise InputError(
                where,
                f"the table has {size} bytes, expected at most {max_bytes}",
                "check that this is the right file",
                code="table-too-large",
            )
        data = path.read_bytes()
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise InputError(where, f"cannot be read: {reason}", code="unreadable-file") from error
    if not data.strip():
        raise InputError(where, "the file is empty", "export it again", code="empty-table")
    return data


def _decode(data: bytes, encoding: str, where: str) -> str:
    for magic, kind in _NOT_TEXT.items():
        if data.startswith(magic):
            fix = "save it as UTF-8 CSV or TSV"
            raise InputError(where, f"this is {kind}, not a text table", fix, code="not-a-table")
    wide = encoding.lower().replace("_", "-").startswith(("utf-16", "utf-32"))
    if not wide:
        _refuse_utf16_and_nul(data, where)
    try:
        text = data.decode(encoding)
    except LookupError:
        fix = "use a name such as utf-8, latin-1, cp1252 or utf-16"
        problem = f"the encoding {encoding!r} is not known"
        raise UsageError("--encoding", problem, fix, code="unknown-encoding") from None
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{where} line {line}",
            f"byte {error.start} is 0x{data[error.start]:02X}, which is not {encoding} text",
            "save the table as UTF-8 or name its encoding, e.g. --encoding latin-1",
            code="wrong-encoding",
        ) from None
    return text.removeprefix("\ufeff")


def _refuse_utf16_and_nul(data: bytes, where: str) -> None:
    """NUL bytes mean UTF-16 when they are every second byte, else damage."""
    offset = data.find(b"\x00")
    marked = data.startswith(_UTF16_MARKS)
    if offset < 0 and not marked:
        return
    sample = data[:2000]
    if marked or 3 * sample.count(b"\x00") > len(sample):
        raise InputError(
            f"{where} line 1",
            f"byte {0 if marked else offset} shows UTF-16 text, expected UTF-8",
            "save the table as UTF-8 or pass --encoding utf-16",
            code="wrong-encoding",
        )
    line = data.count(b"\n", 0, offset) + 1
    raise InputError(
        f"{where} line {line}",
        f"byte {offset} is NUL, expected text only",
        "the file is damaged; export it again",
        code="nul-byte",
    )


def _delimiter_of(path: Path, text: str) -> str:
    if path.suffix.lower() == ".tsv":
        return "\t"
    header = text.lstrip("\r\n").split("\n", 1)[0]
    return max((",", ";", "\t"), key=header.count)


def _rows(text: str, separator: str, where: str) -> Iterator[tuple[int, list[str]]]:
    """Yield (line a row starts on, its cells) and refuse quotes that never close."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
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
            yield start, [cell.strip() for cell in row]
        start = reader.line_num + 1


def _header(
    rows: Iterator[tuple[int, list[str]]], required: Sequence[str], separator: str, where: str
) -> list[str]:
    line, header = next(rows, (1, []))
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
            suggestion = nearest(column, header) or f"the header has: {', '.join(header[:20])}"
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


def _body(
    rows: Iterator[tuple[int, list[str]]], header: list[str], separator: str, where: str
) -> tuple[list[int], list[list[str]]]:
    lines: list[int] = []
    cells: list[list[str]] = []
    for line, row in rows:
        if len(row) != len(header):
            raise _ragged(row, len(header), separator, f"{where} line {line}")
        lines.append(line)
        cells.append(row)
    if not cells:
        fix = "export the table again"
        raise InputError(where, "there is a header but no row", fix, code="header-only")
    return lines, cells


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
