"""Faulty tables, one for each way in which a table of visits goes wrong, and what reading says.

Run as a script to write them all into a folder: ``python tests/study/fault_tables.py FOLDER``.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

HEADER = "participant_id,session_id,age,mmse\n"
GOOD_ROW = "sub-0012,ses-01,71.5,27\n"


@dataclass(frozen=True)
class FaultTable:
    """One faulty file.

    Attributes:
        code: stable code of the error.
        data: the file's bytes.
        says: pieces the message must hold: place, what was found, the fix.
        suffix: of the file's name.
    """

    code: str
    data: bytes
    says: tuple[str, ...]
    suffix: str = ".csv"

    def write(self, folder: Path) -> Path:
        path = folder / f"visits{self.suffix}"
        path.write_bytes(self.data)
        return path


def _text(*rows: str) -> bytes:
    return "".join(rows).encode()


FAULT_TABLES: dict[str, FaultTable] = {
    "same subject and visit twice": FaultTable(
        "duplicate-row",
        _text(HEADER, GOOD_ROW, "sub-0013,ses-01,70,30\n", GOOD_ROW),
        ("visits.csv lines 2, 4", "participant_id + session_id", "one row"),
    ),
    "identifier shortened by a spreadsheet": FaultTable(
        "mangled-id",
        _text(HEADER, "1.23E+15,ses-01,71,27\n"),
        ("visits.csv line 2", "participant_id", "'1.23E+15'", "as text"),
    ),
    "empty identifier": FaultTable(
        "empty-id", _text(HEADER, ",ses-01,71,27\n"), ("line 2", "participant_id is empty")
    ),
    "latin-1 text": FaultTable(
        "wrong-encoding",
        (HEADER + "sub-1,ses-01,71,27\nsub-Zo\xeb,ses-01,71,27\n").encode("latin-1"),
        ("visits.csv line 3", "byte 60", "0xEB", "--encoding latin-1"),
    ),
    "UTF-16 text": FaultTable(
        "wrong-encoding",
        (HEADER + GOOD_ROW).encode("utf-16"),
        ("line 1", "byte 0", "UTF-16", "--encoding utf-16"),
    ),
    "UTF-16 text without a mark": FaultTable(
        "wrong-encoding", (HEADER + GOOD_ROW).encode("utf-16-le"), ("byte 1", "--encoding utf-16")
    ),
    "decimal comma in a comma file": FaultTable(
        "ragged-row",
        _text(HEADER, GOOD_ROW, "sub-0013,ses-01,71,27,5\n"),
        ("visits.csv line 3", "found 5 fields, expected 4", "27.5"),
    ),
    "short row": FaultTable(
        "ragged-row",
        _text(HEADER, "sub-0012,ses-01,71\n"),
        ("line 2", "found 3 fields, expected 4"),
    ),
    "missing column": FaultTable(
        "missing-column",
        _text("participant_id,Sesion_ID,age,mmse\n", GOOD_ROW),
        ("visits.csv line 1", "'session_id' is missing", "did you mean 'Sesion_ID'?"),
    ),
    "twin column": FaultTable(
        "twin-column",
        _text("participant_id,session_id,DX,DX\n", GOOD_ROW),
        ("line 1", "'DX'", "remove or rename"),
    ),
    "twin column renamed by a reader": FaultTable(
        "twin-column",
        _text("participant_id,session_id,DX,DX.1\n", GOOD_ROW),
        ("line 1", "'DX.1'"),
    ),
    "twin column by case": FaultTable(
        "twin-column", _text("participant_id,session_id,Educ,EDUC\n", GOOD_ROW), ("'EDUC'",)
    ),
    "column without a name": FaultTable(
        "unnamed-column", _text(",participant_id,session_id,age\n", "1," + GOOD_ROW), ("column 1",)
    ),
    "header only": FaultTable("header-only", _text(HEADER), ("visits.csv", "no row")),
    "empty file": FaultTable("empty-table", b"\n \n", ("visits.csv", "empty")),
    "NUL byte": FaultTable(
        "nul-byte",
        _text(HEADER, GOOD_ROW, "sub-0013,ses-01,7\x001,27\n"),
        ("visits.csv line 3", "byte 76", "damaged"),
    ),
    "quote never closed": FaultTable(
        "unclosed-quote",
        _text(HEADER, GOOD_ROW, 'sub-0013,"ses-01,71,27\n', "sub-0014,ses-01,71,27\n"),
        ("visits.csv line 3", "quote"),
    ),
    "quote closed within a field": FaultTable(
        "unclosed-quote",
        _text(HEADER, 'sub-0013,"ses"-01,71,27\n'),
        ("line 2", "quote"),
    ),
    "commas in a .tsv": FaultTable(
        "wrong-delimiter",
        _text(HEADER, GOOD_ROW),
        ("visits.tsv line 1", "commas, expected tabs"),
        suffix=".tsv",
    ),
    "Excel workbook": FaultTable(
        "not-a-table", b"PK\x03\x04" + bytes(30), ("Excel workbook", "save it as UTF-8 CSV")
    ),
}


def main() -> None:
    folder = Path(sys.argv[1])
    for name, fault in FAULT_TABLES.items():
        target = folder / name.replace(" ", "-")
        target.mkdir(parents=True, exist_ok=True)
        fault.write(target)


if __name__ == "__main__":
    main()
