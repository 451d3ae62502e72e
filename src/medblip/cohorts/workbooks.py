"""The first sheet of an Excel workbook as text, with limits on what it may unpack to."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator, Sequence
from datetime import date, datetime
from pathlib import Path

import pandas as pd

from medblip.errors import InputError
from medblip.study.tables import read_header, table_of

MAX_INFLATED_BYTES = 256 << 20  # the cohorts' workbooks are below 1 MB


def read_workbook(
    path: Path, where: str, keep: Callable[[list[str]], Sequence[str]]
) -> pd.DataFrame:
    """The first sheet, as `medblip.study.tables.read_table` would return it as a text table.

    Numbers are written as short as they are (``27``, ``0.5``), dates as ISO; formulas give the
    value that was last computed.

    Args:
        where: how messages call the file.
        keep: chooses, from the header, the columns to keep.

    Raises:
        InputError: not a workbook, too large unpacked, or not a rectangular table.
    """
    _check_size(path, where)
    try:
        rows = list(_rows(path))
    except Exception as error:  # the library raises whatever its parsers raise
        problem = f"not readable as an Excel workbook ({type(error).__name__})"
        raise InputError(where, problem, "save it again, or as CSV", code="not-a-table") from error
    numbered = iter(rows)
    header = read_header(numbered, (), ",", where)
    # A sheet has no ragged rows: short ones are padded, and empty cells beyond are no cells.
    cells = ((line, _fit(row, len(header))) for line, row in numbered)
    return table_of(cells, header, list(keep(header)), where)


def workbook_header(path: Path) -> list[str]:
    """The first row that holds text.

    Raises:
        InputError: not readable as a workbook.
    """
    _check_size(path, path.name)
    try:
        return next(_rows(path), (1, []))[1]
    except Exception as error:
        raise InputError(path.name, f"not a workbook: {error}", code="not-a-table") from error


def _check_size(path: Path, where: str) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            inflated = sum(member.file_size for member in archive.infolist())
    except (OSError, zipfile.BadZipFile) as error:
        problem = f"not readable as an Excel workbook: {error}"
        raise InputError(where, problem, "download it again", code="not-a-table") from None
    if inflated > MAX_INFLATED_BYTES:
        problem = f"it unpacks to {inflated} bytes, expected at most {MAX_INFLATED_BYTES}"
        fix = "check that this is the right file"
        raise InputError(where, problem, fix, code="table-too-large")


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    import openpyxl  # slow to import, needed for the cohorts that come as workbooks only

    book = openpyxl.load_workbook(path, read_only=True, data_only=True)
    try:
        for line, cells in enumerate(book.worksheets[0].iter_rows(values_only=True), start=1):
            texts = [_text(cell) for cell in cells]
            while texts and not texts[-1]:
                texts.pop()
            if texts:
                yield line, texts
    finally:
        book.close()


def _text(cell: object) -> str:
    if cell is None:
        return ""
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    if isinstance(cell, datetime):
        return cell.date().isoformat()
    if isinstance(cell, date):
        return cell.isoformat()
    return str(cell).strip()


def _fit(row: list[str], width: int) -> list[str]:
    return row + [""] * (width - len(row))
