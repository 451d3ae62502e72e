"""What is special to ADNI: diagnosis columns of each phase, visits, ids, choice of the image."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from tiny_bids import touch
from vendor_fixtures.adni import SCALED, make_adni
from vendor_fixtures.adni_tables import merge_row, phase_of, ptid_of
from vendor_fixtures.loni_files import dicom_slice, place
from vendor_fixtures.small_files import csv_file, zip_file

from medblip.cohorts.adni import read_adni
from medblip.cohorts.adni_codes import named_visit
from medblip.cohorts.adni_options import AdniOptions
from medblip.cohorts.dataset import DataSet, Scan
from medblip.errors import InputError
from medblip.volumes.cache import load_cube
from medblip.volumes.preprocessing import Preprocessing

DXSUM = {
    "Phase": "", "RID": "", "VISCODE": "", "VISCODE2": "", "EXAMDATE": "", "DXCHANGE": "",
    "DXCURREN": "", "DIAGNOSIS": "",
}  # fmt: skip


def merge(root: Path, *rows: Mapping[str, str]) -> None:
    csv_file(root / "ADNIMERGE.csv", rows)


def dxsum(root: Path, rid: int, visit: str, day: str, **cells: str) -> None:
    row = {**DXSUM, "Phase": phase_of(rid), "RID": str(rid), "VISCODE2": visit, "EXAMDATE": day}
    csv_file(root / "DXSUM_PDXCONV_ADNIALL.csv", [{**row, **cells}])


def image(root: Path, rid: int, day: str, number: int, series: str = "MPRAGE") -> str:
    """An empty file where an image would lie: no reader opens it."""
    folder = place(f"ADNI/{ptid_of(rid)}", series, day, f"I{number}")
    name = f"ADNI_{ptid_of(rid)}_MR_{series}_br_raw_20100101120000000_1_S9_I{number}.nii"
    touch(root / folder / name)
    return f"{folder}/{name}"


def only(found: DataSet) -> dict[str, str]:
    (row,) = found.sessions
    return row


def codes(found: DataSet) -> Counter[str]:
    shown = (f for f in [*found.findings, *found.refused] if f.code != "extra-column")
    return Counter(finding.code for finding in shown if finding.code != "absent-table")


# ---------------------------------------------------------------- the label

CHANGES = {
    "1": "NC", "7": "NC", "9": "NC", "2": "MCI", "4": "MCI", "8": "MCI", "3": "AD", "5": "AD",
    "6": "AD",
}  # fmt: skip


@pytest.mark.parametrize(("code", "label"), CHANGES.items())
def test_dxchange_tells_the_status_after_the_change(tmp_path: Path, code: str, label: str) -> None:
    dxsum(tmp_path, 3001, "bl", "2012-01-10", DXCHANGE=code, DXCURREN="-4", DIAGNOSIS="-4")
    image(tmp_path, 3001, "2012-01-10", 1)
    row = only(read_adni(tmp_path))
    assert (row["diagnosis"], row["diagnosis_source"]) == (label, f"DXCHANGE={code}")


@pytest.mark.parametrize(
    ("rid", "column"),
    [
        (11, "DXCURREN"),
        (2001, "DXCHANGE"),
        (3001, "DXCHANGE"),
        (6001, "DIAGNOSIS"),
        (10001, "DIAGNOSIS"),
    ],
)
def test_each_phase_has_its_own_column(tmp_path: Path, rid: int, column: str) -> None:
    others = {name: "1" for name in ("DXCURREN", "DXCHANGE") if name != column}
    dxsum(tmp_path, rid, "bl", "2012-01-10", **{"DIAGNOSIS": "1", **others, column: "3"})
    image(tmp_path, rid, "2012-01-10", 1)
    row = only(read_adni(tmp_path))
    assert (row["diagnosis"], row["diagnosis_source"]) == ("AD", f"{column}=3")


def test_diagnosis_fills_an_empty_column_of_the_phase(tmp_path: Path) -> None:
    dxsum(tmp_path, 11, "bl", "2012-01-10", DXCURREN="-4", DIAGNOSIS="2")
    image(tmp_path, 11, "2012-01-10", 1)
    assert only(read_adni(tmp_path))["diagnosis_source"] == "DIAGNOSIS=2"


@pytest.mark.parametrize(
    ("cells", "code"),
    [
        ({"DXCURREN": "4"}, "unknown-code"),
        ({"Phase": "ADNI5", "DIAGNOSIS": "1"}, "unknown-phase"),
        ({"Phase": "", "DIAGNOSIS": "1"}, "unknown-phase"),
    ],
)
def test_a_code_that_adni_does_not_have_refuses_the_scan(
    tmp_path: Path, cells: dict[str, str], code: str
) -> None:
    dxsum(tmp_path, 11, "bl", "2012-01-10", **cells)
    path = image(tmp_path, 11, "2012-01-10", 1)
    found = read_adni(tmp_path)
    (refused,) = found.refused
    assert (refused.code, refused.where) == (code, f"ADNI/{path}")
    assert "DXSUM_PDXCONV_ADNIALL.csv line 2" in refused.problem
    assert found.sessions == []


def test_the_group_at_enrolment_is_never_a_label(tmp_path: Path) -> None:
    """Whatever DX_bl, the collection's Group and the XML say, only a detail of baseline changes."""
    results = []
    for group in ("CN", "AD"):
        root = tmp_path / group
        merge(
            root,
            merge_row(11, "bl", "2010-03-01", "MCI", DX_bl=group),
            merge_row(11, "m12", "2011-03-01", "CN", DX_bl=group),
        )
        header = ("Image Data ID", "Subject", "Group", "Visit", "Acq Date")
        cells = ("I1", ptid_of(11), group, "bl", "3/1/2010")
        csv_file(root / "any name.csv", [dict(zip(header, cells, strict=True))])
        image(root, 11, "2010-03-01", 1)
        image(root, 11, "2011-03-01", 2)
        touch(root / "ADNI" / f"{group}.xml")
        results.append(read_adni(root))
    first, second = ([dict(row) for row in found.sessions] for found in results)
    assert [row.pop("diagnosis_detail") for row in first] == ["CN", ""]
    assert [row.pop("diagnosis_detail") for row in second] == ["AD", ""]
    assert first == second
    assert [row["diagnosis"] for row in first] == ["MCI", "NC"]


def test_other_texts_of_dx_can_be_named(tmp_path: Path) -> None:
    merge(tmp_path, merge_row(11, "bl", "2010-03-01", "NL to MCI"))
    image(tmp_path, 11, "2010-03-01", 1)
    assert codes(read_adni(tmp_path)) == {"unknown-code": 1, "visit-by-date": 1}
    options = AdniOptions(diagnoses={"NL to MCI": "MCI"})
    assert only(read_adni(tmp_path, options=options))["diagnosis"] == "MCI"


# ---------------------------------------------------------------- the visit


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("ADNI Screening", "bl"),
        ("ADNI Baseline", "bl"),
        ("ADNI1/GO Month 6", "m06"),
        ("ADNIGO Month 60", "m60"),
        ("ADNIGO Screening MRI", "bl"),
        ("ADNI2 Screening MRI-New Pt", "bl"),
        ("ADNI2 Month 3 MRI-New Pt", "m03"),
        ("ADNI2 Month 6-New Pt", "m06"),
        ("ADNI2 Year 1 Visit", None),
        ("ADNI3 Year 2 Visit", None),
        ("No Visit Defined", None),
        ("m12", "m12"),
        ("sc", "sc"),
        ("", None),
    ],
)
def test_names_of_visits(name: str, code: str | None) -> None:
    assert named_visit(name) == code


def test_a_scan_in_the_middle_belongs_to_the_earlier_visit(tmp_path: Path) -> None:
    merge(
        tmp_path,
        merge_row(11, "m06", "2010-09-11", "MCI"),
        merge_row(11, "bl", "2010-03-01", "CN"),
    )
    image(tmp_path, 11, "2010-06-06", 1)
    row = only(read_adni(tmp_path))
    assert (row["session_id"], row["match_days"], row["diagnosis"]) == ("bl", "97", "NC")


def test_the_window_can_be_set(tmp_path: Path) -> None:
    merge(tmp_path, merge_row(11, "bl", "2010-03-01", "CN"))
    image(tmp_path, 11, "2010-04-15", 1)
    assert only(read_adni(tmp_path))["match_days"] == "45"
    row = only(read_adni(tmp_path, options=AdniOptions(window_days=44)))
    assert (row["session_id"], row["match_days"], row["diagnosis"]) == ("2010-04-15", "", "")


def test_the_screening_never_replaces_a_value_of_baseline(tmp_path: Path) -> None:
    merge(
        tmp_path,
        merge_row(11, "bl", "2010-03-01", "CN", MMSE="29", CDRSB=""),
        merge_row(11, "sc", "2010-02-01", "MCI", MMSE="25", CDRSB="0.5"),
    )
    image(tmp_path, 11, "2010-02-02", 1)
    found = read_adni(tmp_path)
    row = only(found)
    assert (row["mmse"], row["cdr_sb"], row["diagnosis"]) == ("29", "0.5", "NC")
    assert codes(found) == {"screening-merged": 1, "visit-by-date": 1}
    (note,) = (f for f in found.findings if f.code == "screening-merged")
    assert note.problem.startswith("cdr_sb of the screening visit")
    assert note.where == "ADNI/ADNIMERGE.csv line 3"


def test_a_contradicted_visit_is_not_spoken_for_by_its_neighbour(tmp_path: Path) -> None:
    merge(
        tmp_path,
        merge_row(11, "bl", "2010-03-01", "CN"),
        merge_row(11, "m03", "2010-06-01", "CN"),
    )
    dxsum(tmp_path, 11, "m03", "2010-06-01", DXCURREN="2")
    image(tmp_path, 11, "2010-06-01", 1)
    found = read_adni(tmp_path)
    assert only(found)["diagnosis"] == ""
    assert codes(found)["conflicting-diagnosis"] == 1


def test_an_image_without_a_day_is_placed_by_the_list_alone(tmp_path: Path) -> None:
    merge(tmp_path, merge_row(11, "m12", "2011-03-01", "CN"))
    for number in (1, 2):
        touch(tmp_path / f"ADNI_{ptid_of(11)}_MR_MPRAGE_br_raw_20100101120000000_S9_I{number}.nii")
    lists = {"SubjectID": ptid_of(11), "Visit": "m12", "ScanDate": "", "ImageUID": "1"}
    csv_file(tmp_path / "MPRAGEMETA.csv", [lists])
    found = read_adni(tmp_path)
    row = only(found)
    assert (row["session_id"], row["scan_date"], row["age"]) == ("m12", "", "71")
    assert [f.code for f in found.refused] == ["no-scan-date"]


def test_lists_complete_each_other_and_the_first_one_wins(tmp_path: Path) -> None:
    merge(
        tmp_path, merge_row(11, "m12", "2011-03-01", "CN"), merge_row(11, "m06", "2010-09-01", "")
    )
    touch(tmp_path / f"ADNI_{ptid_of(11)}_MR_MPRAGE_br_raw_20100101120000000_S9_I1.nii")
    old = {"SubjectID": ptid_of(11), "Visit": "ADNI1/GO Month 12", "MagStrength": "3.0"}
    csv_file(tmp_path / "MPRAGEMETA.csv", [{**old, "ImageUID": "1"}])
    new = {"Image Data ID": "I1", "Subject": ptid_of(11), "Visit": "m06", "Acq Date": "3/5/2011"}
    csv_file(tmp_path / "t1_images_6_01_2024.csv", [new])
    found = read_adni(tmp_path)
    row = only(found)
    assert (row["session_id"], row["scan_date"]) == ("m12", "2011-03-05")
    assert row["field_strength_t"] == "3"
    (warning,) = (f for f in found.findings if f.code == "conflicting-value")
    assert warning.where == "ADNI/t1_images_6_01_2024.csv line 2"
    assert warning.problem == "visit is m06, but MPRAGEMETA.csv line 2 says m12, which is used"


def test_lists_that_say_screening_and_baseline_of_an_image_agree(tmp_path: Path) -> None:
    merge(tmp_path, merge_row(11, "bl", "2010-01-01", "CN"))
    touch(tmp_path / f"ADNI_{ptid_of(11)}_MR_MPRAGE_br_raw_20100101120000000_S9_I1.nii")
    old = {"SubjectID": ptid_of(11), "Visit": "ADNI Screening", "ImageUID": "1"}
    csv_file(tmp_path / "MPRAGEMETA.csv", [old])
    new = {"Image Data ID": "I1", "Subject": ptid_of(11), "Visit": "sc", "Acq Date": "1/5/2010"}
    csv_file(tmp_path / "t1_images_6_01_2024.csv", [new])
    found = read_adni(tmp_path)
    assert only(found)["session_id"] == "bl"
    assert not [f for f in found.findings if f.code == "conflicting-value"]
    (note,) = (f for f in found.findings if f.code == "screening-merged")
    assert (note.level, note.where) == ("note", "ADNI/t1_images_6_01_2024.csv line 2")


# ---------------------------------------------------------------- identifiers


def test_five_digits_can_be_forbidden(tmp_path: Path) -> None:
    dxsum(tmp_path, 10123, "bl", "2023-05-02", DIAGNOSIS="2")
    image(tmp_path, 10123, "2023-05-02", 1)
    assert only(read_adni(tmp_path))["participant_id"] == f"ADNI-{ptid_of(10123)}"
    found = read_adni(tmp_path, options=AdniOptions(five_digit_ids=False))
    assert [f.code for f in found.refused] == ["bad-id"]


@pytest.mark.parametrize("rid", ["11", "0011", "11.0"])
def test_a_number_of_a_subject_is_read_however_it_is_written(tmp_path: Path, rid: str) -> None:
    merge(tmp_path, {**merge_row(11, "bl", "2010-03-01", "CN"), "RID": rid})
    image(tmp_path, 11, "2010-03-01", 1)
    assert only(read_adni(tmp_path))["participant_id"] == "ADNI-901_S_0011"


def test_a_folder_of_another_site_is_another_subject(tmp_path: Path) -> None:
    merge(tmp_path, {**merge_row(11, "bl", "2010-03-01", "CN"), "PTID": "777_S_0011"})
    image(tmp_path, 11, "2010-03-01", 1)
    assert [f.code for f in read_adni(tmp_path).refused] == ["id-mismatch"]


def test_two_columns_for_the_phase_are_refused(tmp_path: Path) -> None:
    dxsum(tmp_path, 11, "bl", "2010-03-01", PHASE="ADNI1", DXCURREN="1")
    with pytest.raises(InputError) as caught:
        read_adni(tmp_path)
    assert caught.value.code == "twin-column"


# ---------------------------------------------------------------- the primary image


def ranked(found: DataSet) -> list[str]:
    return [scan.path.split("_I")[-1].removesuffix(".nii") for scan in found.scans]


@pytest.mark.parametrize(("rid", "first"), [(11, ["1", "2"]), (3001, ["2", "1"])])
def test_the_field_strength_of_the_phase_goes_first(
    tmp_path: Path, rid: int, first: list[str]
) -> None:
    merge(tmp_path, merge_row(rid, "bl", "2010-03-01", "CN"))
    rows = [
        {"SubjectID": ptid_of(rid), "ImageUID": number, "MagStrength": tesla, "Visit": "bl"}
        for number, tesla in (("1", "1.494"), ("2", "2.89"))
    ]
    csv_file(tmp_path / "MPRAGEMETA.csv", rows)
    image(tmp_path, rid, "2010-03-01", 1)
    image(tmp_path, rid, "2010-03-01", 2)
    found = read_adni(tmp_path)
    assert ranked(found) == first
    assert only(found)["field_strength_t"] == ("1.494" if rid == 11 else "2.89")


def test_processing_decides_then_repeats_then_days(tmp_path: Path) -> None:
    merge(tmp_path, merge_row(11, "bl", "2010-03-01", "CN"))
    series = [
        "Accelerated_MPRAGE_MPR_Cor", "MPRAGE_Repeat", "MPRAGE", "MPRAGE", "MT1__N3m",
        "MPR-R____N3__Scaled", "MPR____N3__Scaled_2",
    ]  # fmt: skip
    for number, name in enumerate(series):
        day = "2010-03-02" if number == 2 else "2010-03-01"
        image(tmp_path, 11, day, number, name)
    assert ranked(read_adni(tmp_path)) == ["6", "5", "4", "3", "2", "1", "0"]


def test_a_series_can_be_named_t1(tmp_path: Path) -> None:
    merge(tmp_path, merge_row(11, "bl", "2010-03-01", "CN"))
    image(tmp_path, 11, "2010-03-01", 1, "Head_3D")
    assert [f.code for f in read_adni(tmp_path).refused] == ["unknown-series"]
    assert len(read_adni(tmp_path, options=AdniOptions(t1_series="Head")).scans) == 1


# ---------------------------------------------------------------- tables alone


def test_columns_at_baseline_are_never_taken_for_those_of_the_visit(tmp_path: Path) -> None:
    """CDRSB_bl, MMSE_bl and LDELTOTAL_BL repeat one value on every row."""
    row = merge_row(11, "m12", "2011-03-01", "CN", CDRSB="", MMSE="", LDELTOTAL="")
    assert (row["MMSE_bl"], row["CDRSB_bl"], row["LDELTOTAL_BL"]) == ("7", "18", "3")
    merge(tmp_path, row)
    image(tmp_path, 11, "2011-03-01", 1)
    found = only(read_adni(tmp_path))
    assert (found["mmse"], found["cdr_sb"], found["lm_delayed"]) == ("", "", "")
    assert found["age"] == "71"


def test_absent_tables_are_named_and_the_rest_is_read(tmp_path: Path) -> None:
    merge(tmp_path, merge_row(11, "bl", "2010-03-01", "CN"))
    image(tmp_path, 11, "2010-03-01", 1)
    found = read_adni(tmp_path)
    absent = [f.where for f in found.findings if f.code == "absent-table"]
    names = ("DXSUM", "MMSE", "CDR", "NEUROBAT", "PTDEMOG")
    assert absent == [f"ADNI/{name}.csv" for name in names]


# ---------------------------------------------------------------- the files can be read


def cube_of(root: Path, scan: Scan) -> np.ndarray:
    path = root / scan.path
    return load_cube(path, Preprocessing(size=16), root=root, files=scan.files).array


def test_every_scan_of_the_fixture_can_be_read(tmp_path: Path) -> None:
    make_adni(tmp_path)
    scans = read_adni(tmp_path).scans
    cubes = {(scan.path, scan.files): cube_of(tmp_path, scan) for scan in scans}
    assert len(cubes) == len(scans) == 19
    slices, file = (
        next(cube for (path, files), cube in cubes.items() if name in f"{path}/{files}")
        for name in ("S110/*_I103.dcm", "_I103.nii")
    )
    np.testing.assert_array_equal(slices, file)  # one image in two formats: the same head
    mixed = [cube for (path, _), cube in cubes.items() if path.endswith("/S500")]
    assert len(mixed) == 2
    assert not np.array_equal(*mixed)


def test_slices_are_read_where_they_lie_packed(tmp_path: Path) -> None:
    merge(tmp_path, merge_row(11, "bl", "2010-03-01", "CN"))
    folder = place(f"ADNI/{ptid_of(11)}", SCALED, "2010-03-01", "S9")
    stem = f"ADNI_{ptid_of(11)}_MR_MPRAGE_br_raw_20100101120000000"
    packed = {
        f"{folder}/{stem}_{n}_S9_I{i}.dcm": dicom_slice(i, n) for i in (5, 6) for n in range(20)
    }
    zip_file(tmp_path / "part.zip", packed)
    scans = read_adni(tmp_path).scans
    assert [scan.files for scan in scans] == ["*_I5.dcm", "*_I6.dcm"]
    assert [scan.path for scan in scans] == [f"part.zip/{folder}"] * 2
    five, six = (cube_of(tmp_path, scan) for scan in scans)
    assert five.max() > 0
    assert not np.array_equal(five, six)
