"""Vendors' tables as bytes: CSV and Excel workbooks, the same bytes every time."""

from __future__ import annotations

import csv
import io
import re
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import openpyxl

from medblip.simulate.image_files import PlainFile

_LONG_AGO = datetime(2000, 1, 1)


@dataclass
class TableFile:
    """A table while it grows.

    Attributes:
        path: relative to the cohort's folder; ``.csv`` or ``.xlsx``.
        columns: of the header.
        rows: by column; what a row does not say is empty.
    """

    path: str
    columns: Sequence[str]
    rows: list[dict[str, str]] = field(default_factory=list)

    def add(self, **cells: str) -> str:
        """Add a row; columns whose names are no identifiers come through `put`."""
        return self.put(cells)

    def put(self, cells: Mapping[str, str]) -> str:
        """Add a row and return its place, as findings write it."""
        unknown = cells.keys() - set(self.columns)
        if unknown:
            raise KeyError(f"{self.path} has no column {', '.join(sorted(unknown))}")
        self.rows.append({column: cells.get(column, "") for column in self.columns})
        return f"{self.path} line {len(self.rows) + 1}"

    def file(self, *, surplus: Mapping[int, str] | None = None) -> PlainFile:
        """The finished file.

        Args:
            surplus: text behind the last comma of rows by their index, as vendors deliver some.
        """
        rows = [[row[column] for column in self.columns] for row in self.rows]
        for index, text in (surplus or {}).items():
            rows[index].append(text)
        make = _workbook if self.path.endswith(".xlsx") else _csv
        return PlainFile(self.path, make([list(self.columns), *rows]))


def _csv(rows: Sequence[Sequence[str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


def _workbook(rows: Sequence[Sequence[str]]) -> bytes:
    """A workbook with numbers as numbers and empty cells empty, and without the time of the day."""
    book = openpyxl.Workbook()
    book.properties.created = _LONG_AGO
    sheet = book.worksheets[0]
    for row in rows:
        sheet.append([_cell(text) for text in row])
    written, fixed = io.BytesIO(), io.BytesIO()
    book.save(written)
    with zipfile.ZipFile(written) as source, zipfile.ZipFile(fixed, "w") as target:
        for name in source.namelist():
            data = source.read(name)
            if name == "docProps/core.xml":
                stamp = rb"(<dcterms:modified[^>]*>)[^<]*"
                data = re.sub(stamp, rb"\g<1>2000-01-01T00:00:00Z", data)
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            target.writestr(info, data)
    return fixed.getvalue()


def _cell(text: str) -> object:
    if not re.fullmatch(r"-?[0-9]+(?:\.[0-9]+)?", text):
        return text or None
    return float(text) if "." in text else int(text)
