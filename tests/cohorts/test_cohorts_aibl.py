"""What is special to AIBL: years of birth, days as -4, scans no table lists, its own codes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tiny_bids import touch
from vendor_fixtures.adni_tables import merge_row
from vendor_fixtures.aibl import FOLDER, MPRAGE, SAGITTAL, make_aibl
from vendor_fixtures.loni_files import place
from vendor_fixtures.small_files import csv_file

from medblip.cohorts.adni import read_adni
from medblip.cohorts.aibl import read_aibl
from medblip.cohorts.aibl_options import AiblOptions
from medblip.cohorts.dataset import DataSet
from medblip.errors import InputError
from medblip.volumes.cache import load_cube
from medblip.volumes.preprocessing import Preprocessing


def table(root: Path, name: str, *rows: dict[str, str]) -> None:
    """One table of rows that all have RID 11 unless they say another."""
    full = [{"RID": "11", "VISCODE": "bl", **row} for row in rows]
    csv_file(root / f"{FOLDER}/aibl_{name}_01-Jun-2018.csv", full)


def image(root: Path, day: str, number: int, series: str = MPRAGE, rid: str = "11") -> str:
    """An empty file where an image would lie: no reader opens it."""
    folder = place(f"AIBL/{rid}", series, day, f"I{number}")
    name = f"AIBL_{rid}_MR_{series}__br_raw_20100101120000000_1_S9_I{number}.nii"
    touch(root / folder / name)
    return f"{folder}/{name}"


def only(found: DataSet) -> dict[str, str]:
    (row,) = found.sessions
    return row


def codes(found: DataSet) -> list[str]:
    return sorted(f.code for f in found.findings if f.code != "absent-table")


@pytest.mark.parametrize(("code", "label"), [("1", "NC"), ("2", "MCI"), ("3", "AD"), ("1.0", "NC")])
def test_the_label_is_dxcurren_of_the_visit(tmp_path: Path, code: str, label: str) -> None:
    table(tmp_path, "pdxconv", {"DXCURREN": code}, {"VISCODE": "m18", "DXCURREN": "-4"})
    table(tmp_path, "mri3meta", {"EXAMDATE": "04/10/2008"})
    image(tmp_path, "2008-04-10", 1)
    row = only(read_aibl(tmp_path))
    assert (row["diagnosis"], row["diagnosis_source"]) == (label, f"DXCURREN={code}")


def test_codes_without_a_label_can_be_set(tmp_path: Path) -> None:
    table(tmp_path, "pdxconv", {"DXCURREN": "7"})
    table(tmp_path, "mri3meta", {"EXAMDATE": "04/10/2008"})
    image(tmp_path, "2008-04-10", 1)
    found = read_aibl(tmp_path)
    assert (only(found)["diagnosis"], only(found)["missing_codes"]) == ("", "diagnosis=7")
    (note,) = (f for f in found.findings if f.code == "unverified-diagnosis")
    assert note.where == f"AIBL/{FOLDER}/aibl_pdxconv_01-Jun-2018.csv line 2, field DXCURREN"
    strict = read_aibl(tmp_path, options=AiblOptions(no_label_codes=()))
    assert [f.code for f in strict.refused] == ["unknown-code"]


@pytest.mark.parametrize(
    ("birth", "age"), [("/1931", "77"), ("05/1931", "77"), ("05/07/1931", "77"), ("-4", "")]
)
def test_the_age_is_the_difference_of_years(tmp_path: Path, birth: str, age: str) -> None:
    table(tmp_path, "pdxconv", {"DXCURREN": "1"})
    table(tmp_path, "mri3meta", {"EXAMDATE": "01/02/2008"})
    table(tmp_path, "ptdemog", {"PTDOB": birth, "PTGENDER": "1"})
    image(tmp_path, "2008-01-02", 1)
    found = read_aibl(tmp_path)
    assert (only(found)["age"], only(found)["sex"]) == (age, "M")
    assert ("age-by-year" in codes(found)) == bool(age)


@pytest.mark.parametrize(("birth", "code"), [("1931?", "date-format"), ("/1850", "out-of-range")])
def test_a_year_of_birth_that_is_none_leaves_the_age_empty(
    tmp_path: Path, birth: str, code: str
) -> None:
    table(tmp_path, "pdxconv", {"DXCURREN": "1"})
    table(tmp_path, "mri3meta", {"EXAMDATE": "01/02/2008"})
    table(tmp_path, "ptdemog", {"PTDOB": birth, "PTGENDER": "1"})
    image(tmp_path, "2008-01-02", 1)
    found = read_aibl(tmp_path)
    assert only(found)["age"] == ""
    (warning,) = (f for f in found.findings if f.code == code)
    assert warning.where.endswith("line 2, field PTDOB")


DAYS = ["neurobat", "mri3meta", "mrimeta", "cdr", "flutemeta", "mmse", "pibmeta"]
SCORES = {
    "neurobat": {"LIMMTOTAL": "9", "LDELTOTAL": "9"},
    "cdr": {"CDGLOBAL": "0"},
    "mmse": {"MMSCORE": "29"},
}


@pytest.mark.parametrize("first", range(len(DAYS)))
def test_the_day_of_a_visit_comes_from_the_first_table_that_has_it(
    tmp_path: Path, first: int
) -> None:
    table(tmp_path, "pdxconv", {"DXCURREN": "1"})
    for number, name in enumerate(DAYS):
        day = f"04/{10 + number}/2008" if number >= first else "-4"
        table(tmp_path, name, {"EXAMDATE": day, **SCORES.get(name, {})})
    image(tmp_path, "2008-04-30", 1)
    row = only(read_aibl(tmp_path))
    assert row["clinical_date"] == f"2008-04-{10 + first}"
    assert row["match_days"] == str(20 - first)


def test_a_listed_day_goes_before_the_nearest_visit(tmp_path: Path) -> None:
    """The scan of month 18 was made late, nearer to the visit at month 36."""
    early, late = {"VISCODE": "m18"}, {"VISCODE": "m36"}
    table(tmp_path, "pdxconv", {**early, "DXCURREN": "1"}, {**late, "DXCURREN": "2"})
    story = SCORES["neurobat"]
    days = ("01/01/2010", "08/01/2010")
    rows = [{**v, "EXAMDATE": day, **story} for v, day in zip((early, late), days, strict=True)]
    table(tmp_path, "neurobat", *rows)
    table(tmp_path, "mrimeta", {"VISCODE": "m18", "EXAMDATE": "06/01/2010"})
    image(tmp_path, "2010-06-01", 1)
    image(tmp_path, "2010-06-02", 2, SAGITTAL)
    found = read_aibl(tmp_path)
    assert [(r["session_id"], r["diagnosis"]) for r in found.sessions] == [
        ("m18", "NC"),
        ("m36", "MCI"),
    ]
    assert [r["match_days"] for r in found.sessions] == ["151", "-60"]
    (note,) = (f for f in found.findings if f.code == "visit-by-date")
    assert "m36 is the nearest visit, -60 days away" in note.problem


def test_a_scan_far_from_its_listed_visit_has_no_label(tmp_path: Path) -> None:
    table(tmp_path, "pdxconv", {"DXCURREN": "1"})
    table(tmp_path, "neurobat", {"EXAMDATE": "01/01/2010", **SCORES["neurobat"]})
    table(tmp_path, "mri3meta", {"EXAMDATE": "12/01/2010"})
    image(tmp_path, "2010-12-01", 1)
    found = read_aibl(tmp_path)
    row = only(found)
    assert (row["session_id"], row["diagnosis"], row["match_days"]) == ("bl", "", "")
    assert codes(found) == ["far-from-visit", "no-diagnosis"]


def test_a_day_in_both_tables_of_scans_has_no_field_strength(tmp_path: Path) -> None:
    table(tmp_path, "pdxconv", {"DXCURREN": "1"})
    table(tmp_path, "mri3meta", {"EXAMDATE": "04/10/2008"})
    image(tmp_path, "2008-04-10", 1)
    assert only(read_aibl(tmp_path))["field_strength_t"] == "3"
    table(tmp_path, "mrimeta", {"EXAMDATE": "04/10/2008"})
    assert only(read_aibl(tmp_path))["field_strength_t"] == ""


def test_two_scans_of_one_visit_are_two_rows_and_no_contradiction(tmp_path: Path) -> None:
    table(tmp_path, "pdxconv", {"DXCURREN": "1"})
    table(tmp_path, "mri3meta", {"EXAMDATE": "04/10/2008"}, {"EXAMDATE": "05/10/2008"})
    image(tmp_path, "2008-05-10", 1)
    found = read_aibl(tmp_path)
    assert (only(found)["session_id"], only(found)["match_days"]) == ("bl", "30")
    assert codes(found) == []


@pytest.mark.parametrize("rid", ["11", "0011"])
def test_folder_and_table_may_pad_the_number(tmp_path: Path, rid: str) -> None:
    table(tmp_path, "pdxconv", {"DXCURREN": "1"})
    table(tmp_path, "mri3meta", {"EXAMDATE": "04/10/2008"})
    image(tmp_path, "2008-04-10", 1, rid=rid)
    assert only(read_aibl(tmp_path))["participant_id"] == "AIBL-11"


def test_junk_folders_can_be_set(tmp_path: Path) -> None:
    table(tmp_path, "pdxconv", {"DXCURREN": "1"})
    image(tmp_path, "2008-04-10", 1, rid="0151083")
    assert codes(read_aibl(tmp_path)) == ["junk-folder", "row-without-scan"]
    found = read_aibl(tmp_path, options=AiblOptions(junk_folders=()))
    assert [f.code for f in found.refused] == ["bad-id"]


def test_tables_of_adni_and_aibl_are_told_apart(tmp_path: Path) -> None:
    """Both have RID, VISCODE and DXCURREN; the wrong command is named for each."""
    csv_file(tmp_path / "adni/ADNIMERGE.csv", [merge_row(11, "bl", "2010-03-01", "CN")])
    table(tmp_path / "aibl", "pdxconv", {"DXCURREN": "1"})
    with pytest.raises(InputError) as caught:
        read_aibl(tmp_path / "adni")
    assert (caught.value.code, caught.value.fix) == ("other-cohort", "use `medblip prepare adni`")
    with pytest.raises(InputError) as caught:
        read_adni(tmp_path / "aibl")
    assert (caught.value.code, caught.value.fix) == ("other-cohort", "use `medblip prepare aibl`")
    both = read_aibl(tmp_path)
    assert [f.where for f in both.findings if f.code == "other-cohort"] == [
        "AIBL/adni/ADNIMERGE.csv"
    ]


def test_every_scan_of_the_fixture_can_be_read(tmp_path: Path) -> None:
    make_aibl(tmp_path)
    cubes = []
    for scan in read_aibl(tmp_path).scans:
        path = tmp_path / scan.path
        cube = load_cube(path, Preprocessing(size=16), root=tmp_path, files=scan.files)
        cubes.append(cube.array)
    assert len(cubes) == 12
    np.testing.assert_array_equal(cubes[0], cubes[1])  # one image in two formats
    assert not np.array_equal(cubes[0], cubes[2])
