"""A vendor's table is found under every name it is delivered with, and read without guessing."""

from __future__ import annotations

import re
import tracemalloc
from pathlib import Path

import openpyxl
import pytest

from medblip.cohorts.folders import walk
from medblip.cohorts.foreign import ADNI, foreign_tables, refuse_absent, source_of
from medblip.cohorts.vendor_tables import VendorTable, find_table, list_tables, read_vendor_table
from medblip.errors import InputError
from medblip.findings import Finding


def put(path: Path, text: str = "a,b\n1,2\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def read(path: Path, required: tuple[str, ...] = ("a",), **options: object) -> VendorTable:
    settings = {"encoding": "utf-8-sig", "findings": [], **options}
    return read_vendor_table(path, path.parent, required=required, **settings)  # type: ignore[arg-type]


# ---------------------------------------------------------------- finding


@pytest.mark.parametrize(
    "name",
    ["CDR.csv", "cdr.CSV", "CDR_01Jan2025.csv", "CDR_1Jan2025.csv", "CDR_01-Jun-2018.csv"],
)
def test_every_style_of_name_is_found_below_the_root(tmp_path: Path, name: str) -> None:
    path = put(tmp_path / "Study_Data" / name)
    for other in ("CDR_READ.csv", "XCDR.csv", "CDR_01Foo2025.csv", "CDR_2.csv", "CDR.txt"):
        put(tmp_path / other)
    findings: list[Finding] = []
    assert find_table(tmp_path, ["CDR"], findings=findings) == path
    assert findings == []


def test_no_table_is_none(tmp_path: Path) -> None:
    assert find_table(tmp_path, ["CDR"], findings=[]) is None


def test_the_newest_day_is_taken_and_the_others_are_named(tmp_path: Path) -> None:
    put(tmp_path / "CDR.csv", "a\n1\n")
    put(tmp_path / "CDR_02Dec2023.csv", "a\n2\n")
    newest = put(tmp_path / "new" / "CDR_01Jan2025.csv", "a\n3\n")
    findings: list[Finding] = []
    assert find_table(tmp_path, ["CDR"], findings=findings) == newest
    assert [(f.code, f.level, f.where) for f in findings] == [
        ("older-table", "note", "CDR_02Dec2023.csv"),
        ("older-table", "note", "CDR.csv"),
    ]
    assert "new/CDR_01Jan2025.csv is taken instead" in findings[0].problem


def test_two_different_tables_of_one_day_are_an_error(tmp_path: Path) -> None:
    put(tmp_path / "CDR_01Jan2025.csv", "a\n1\n")
    put(tmp_path / "old" / "CDR_01Jan2025.csv", "a\n2\n")
    with pytest.raises(InputError) as caught:
        find_table(tmp_path, ["CDR"], findings=[])
    assert caught.value.code == "two-tables"
    put(tmp_path / "old" / "CDR_01Jan2025.csv", "a\n1\n")
    findings: list[Finding] = []
    assert find_table(tmp_path, ["CDR"], findings=findings) == tmp_path / "CDR_01Jan2025.csv"
    assert "is the same table" in findings[0].problem


def test_names_are_tried_in_order_and_may_be_patterns(tmp_path: Path) -> None:
    put(tmp_path / "DXSUM.csv")
    put(tmp_path / "X_All_Images_02Oct2024.csv")
    old = put(tmp_path / "DXSUM_PDXCONV.csv", "a,b\n3,4\n")
    assert find_table(tmp_path, ["DXSUM_PDXCONV", "DXSUM"], findings=[]) == old
    found = find_table(tmp_path, [re.compile(".+_All_Images")], findings=[])
    assert found == tmp_path / "X_All_Images_02Oct2024.csv"


def test_a_table_that_is_a_link_out_of_the_download_is_refused(tmp_path: Path) -> None:
    secret = put(tmp_path / "elsewhere.csv")
    root = tmp_path / "download"
    root.mkdir()
    (root / "CDR.csv").symlink_to(secret)
    with pytest.raises(InputError) as caught:
        find_table(root, ["CDR"], findings=[])
    assert caught.value.code == "outside-root"


def test_links_to_folders_are_reported_and_not_followed(tmp_path: Path) -> None:
    put(tmp_path / "elsewhere" / "CDR.csv")
    root = tmp_path / "download"
    put(root / ".hidden" / "CDR.csv")
    put(root / "._CDR.csv")
    (root / "link").symlink_to(tmp_path / "elsewhere")
    assert list_tables(root) == []
    findings: list[Finding] = []
    assert [folder.relative for folder in walk(root, findings)] == [""]
    assert [(f.code, f.level, f.where) for f in findings] == [
        ("link-not-followed", "error", "link")
    ]


# ---------------------------------------------------------------- reading


def test_columns_are_found_in_any_case_and_order(tmp_path: Path) -> None:
    path = put(tmp_path / "t.csv", "x,EDUC,M/F,id\n9, 12 ,F,007\n")
    findings: list[Finding] = []
    aliases = {"sex": ("M/F", "Gender")}
    columns = ("ID", "Educ", "sex")
    table = read(path, columns, optional=("SES",), aliases=aliases, findings=findings)
    (row,) = table.rows()
    assert dict(row.cells) == {"ID": "007", "Educ": "12", "sex": "F", "SES": ""}
    assert (table.has("sex"), table.has("SES")) == (True, False)
    assert row.where == "t.csv line 2"
    assert row.cell("sex").where == "t.csv line 2, field M/F"
    (note,) = findings
    assert (note.code, note.level, note.where) == ("extra-column", "note", "t.csv")
    assert note.problem.endswith(": x")


def test_two_columns_of_one_thing_are_refused(tmp_path: Path) -> None:
    path = put(tmp_path / "t.csv", "M/F,Gender\nF,M\n")
    with pytest.raises(InputError) as caught:
        read(path, ("sex",), aliases={"sex": ("M/F", "Gender")})
    assert caught.value.code == "twin-column"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("b,c\n1,2\n", "missing-column"),
        ("a,b\n", "header-only"),
        ("a,b\n1,2\n1,2,3\n", "ragged-row"),
        ("a,b\n1,2\n1", "ragged-row"),
        ('a,b\n1,"2\n', "unclosed-quote"),
        ("a,A\n1,2\n", "twin-column"),
        ("", "empty-table"),
    ],
)
def test_a_broken_table_is_refused(tmp_path: Path, text: str, code: str) -> None:
    with pytest.raises(InputError) as caught:
        read(put(tmp_path / "t.csv", text))
    assert caught.value.code == code
    assert caught.value.where.startswith("t.csv")


def test_ragged_rows_can_be_left_out_one_by_one(tmp_path: Path) -> None:
    path = put(tmp_path / "t.csv", "a,b\n1,2\n3,4,\n5,6,7\n8\n9,10\n")
    findings: list[Finding] = []
    table = read(path, ("a", "b"), skip_ragged=True, findings=findings)
    assert [row["a"] for row in table.rows()] == ["1", "3", "9"]
    assert [(f.code, f.level, f.where) for f in findings] == [
        ("ragged-row", "error", "t.csv line 4"),
        ("ragged-row", "error", "t.csv line 5"),
    ]


def test_equal_rows_are_one_and_contradicting_rows_none(tmp_path: Path) -> None:
    path = put(tmp_path / "t.csv", "a,b,c\n1,2,x\n1,2,x\n3,4,x\n3,5,x\n6,7,x\n")
    findings: list[Finding] = []
    rows = read(path, ("a", "b")).keyed(("a",), findings)
    assert sorted(rows) == [("1",), ("6",)]
    assert [(f.code, f.level, f.where) for f in findings] == [
        ("repeated-row", "note", "t.csv line 2, 3"),
        ("duplicate-row", "error", "t.csv line 4, 5"),
    ]


def test_a_wide_table_is_never_held_whole(tmp_path: Path) -> None:
    width, height = 400, 2000
    header = ",".join(["NACCID", *(f"V{n}" for n in range(width))])
    line = ",".join(["NACC{:06d}", *("9999.999" for _ in range(width))])
    path = put(tmp_path / "t.csv", "\n".join([header, *map(line.format, range(height))]))
    assert path.stat().st_size > 7e6
    tracemalloc.start()
    table = read(path, ("NACCID", "V7"))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(table.frame) == height
    assert peak < 5e6  # most of it pieces of the file, however long it is


# ---------------------------------------------------------------- workbooks


def workbook(path: Path, rows: list[list[object]]) -> Path:
    book = openpyxl.Workbook()
    for row in rows:
        book.worksheets[0].append(row)
    book.create_sheet("notes").append(["not read"])
    book.save(path)
    return path


def test_the_first_sheet_is_read_as_text(tmp_path: Path) -> None:
    rows: list[list[object]] = [
        ["ID", "Educ", "CDR", "Delay"],
        ["OAS1_0001_MR1", 2, 0.5, "N/A"],
        [None],
        ["OAS1_0002_MR1", None, 1.0, None],
    ]
    table = read(workbook(tmp_path / "t.xlsx", rows), ("ID", "Educ", "CDR", "Delay"))
    assert table.frame.index.tolist() == [2, 4]
    assert table.frame.to_numpy().tolist() == [
        ["OAS1_0001_MR1", "2", "0.5", "N/A"],
        ["OAS1_0002_MR1", "", "1", ""],
    ]


def test_faulty_workbooks_are_refused(tmp_path: Path) -> None:
    broken = put(tmp_path / "broken.xlsx", "a,b\n1,2\n")
    with pytest.raises(InputError) as caught:
        read(broken)
    assert caught.value.code == "not-a-table"
    with pytest.raises(InputError) as caught:
        read(workbook(tmp_path / "wide.xlsx", [["a"], ["1", "2"]]))
    assert caught.value.code == "ragged-row"
    with pytest.raises(InputError) as caught:
        read(workbook(tmp_path / "empty.xlsx", [["a"]]))
    assert caught.value.code == "header-only"


# ---------------------------------------------------------------- other cohorts


@pytest.mark.parametrize(
    ("name", "header", "source"),
    [
        ("ADNIMERGE.csv", "RID,PTID,VISCODE,DX_bl", "ADNI"),
        ("CDR_01Jan2025.csv", "PHASE,RID,VISCODE,VISCODE2,CDGLOBAL", "ADNI"),
        ("aibl_cdr_01-Jun-2018.csv", "RID,SITEID,VISCODE,CDGLOBAL", "AIBL"),
        ("investigator_nacc72.csv", "x", "NACC"),
        ("my.csv", "NACCID,NACCVNUM", "NACC"),
        ("o.csv", "ID,M/F,Hand,Age,Educ,SES,MMSE,CDR,eTIV,nWBV,ASF,Delay", "OASIS-1"),
        ("o.csv", "Subject ID,MRI ID,Group,Visit,MR Delay,M/F,Hand", "OASIS-2"),
        ("m.csv", "MR ID,Subject\nmiriad_188_1_MR_1,miriad_188", "MIRIAD"),
        ("participants.tsv", "participant_id\tsex", "a BIDS data set"),
        ("notes.csv", "a,b", None),
        ("binary.csv", "\x00\x01", None),
        ("workbook.xlsx", "not one", None),
    ],
)
def test_a_cohort_is_known_by_its_table(
    tmp_path: Path, name: str, header: str, source: str | None
) -> None:
    found = source_of(put(tmp_path / name, header + "\n"))
    assert (found.name if found else None) == source


def test_an_absent_table_names_the_other_cohort(tmp_path: Path) -> None:
    put(tmp_path / "notes.csv")
    with pytest.raises(InputError) as caught:
        refuse_absent(tmp_path, "ADNIMERGE", list_tables(tmp_path), [ADNI])
    assert caught.value.code == "absent-table"
    put(tmp_path / "oasis_longitudinal.csv", "Subject ID,MRI ID\n")
    with pytest.raises(InputError) as caught:
        refuse_absent(tmp_path, "ADNIMERGE", list_tables(tmp_path), [ADNI])
    assert caught.value.code == "other-cohort"
    assert "oasis_longitudinal.csv: this looks like a table of OASIS-2" in str(caught.value)
    assert "medblip prepare oasis" in str(caught.value)
    (warning,) = foreign_tables(tmp_path, list_tables(tmp_path), [ADNI])
    assert (warning.level, warning.where) == ("warning", "oasis_longitudinal.csv")
