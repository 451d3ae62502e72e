"""What is special about OASIS-1 and OASIS-2: axes, CDR as the label, re-tests, names of runs."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from vendor_fixtures import oasis1, oasis2
from vendor_fixtures.small_files import analyze, csv_file, head, tar_gz, workbook, zip_file
from vendor_fixtures.truth import Truth

from medblip.cohorts.dataset import DataSet
from medblip.cohorts.oasis import OasisOptions, read_oasis, read_oasis1, read_oasis2
from medblip.cohorts.oasis_names import oasis1_rule, oasis2_rule, split_suffix
from medblip.errors import InputError, UsageError
from medblip.volumes.orientation import to_ras
from medblip.volumes.reading import read_volume


def codes(found: DataSet) -> Counter[str]:
    return Counter(f.code for f in found.findings)


def one1(root: Path, **changes: str) -> dict[str, str]:
    """OASIS-1 with one session of one run; its row as read."""
    csv_file(root / oasis1.OLD_TABLE, [oasis1.row(1, **changes)])
    oasis1.session_files(root / "OAS1_9001_MR1", 1, averaged=False, registered=False)
    (row,) = read_oasis1(root).sessions
    return row


# ---------------------------------------------------------------- the workbooks as downloaded


@pytest.mark.parametrize(
    ("make", "read"), [(oasis1.make_oasis1, read_oasis1), (oasis2.make_oasis2, read_oasis2)]
)
def test_workbook_and_older_csv_say_the_same(
    tmp_path: Path, make: Callable[..., Truth], read: Callable[[Path], DataSet]
) -> None:
    truth = make(tmp_path / "new")
    make(tmp_path / "old", old_table=True)
    new, old = read(tmp_path / "new"), read(tmp_path / "old")
    assert new.sessions == old.sessions
    assert new.scans == old.scans
    assert codes(new) == truth.findings
    assert len(new.sessions) == len(truth.sessions)


def test_the_current_workbook_goes_before_the_older_csv(tmp_path: Path) -> None:
    workbook(tmp_path / oasis1.TABLE, [oasis1.row(1, CDR="1")])
    assert one1(tmp_path, CDR="0")["diagnosis"] == "AD"
    assert codes(read_oasis1(tmp_path))["older-table"] == 1


def test_a_row_in_both_tables_is_taken_from_the_main_one(tmp_path: Path) -> None:
    csv_file(tmp_path / "oasis_cross-sectional-reliability.csv", [oasis1.row(1, CDR="2")])
    assert one1(tmp_path, CDR="0")["diagnosis"] == "NC"
    assert codes(read_oasis1(tmp_path))["repeated-row"] == 1


def test_each_reader_names_the_others_table(tmp_path: Path) -> None:
    for name, row, read, other in (
        ("a", oasis1.row(1), read_oasis2, "OASIS-1"),
        ("b", oasis2.row(1, 1), read_oasis1, "OASIS-2"),
    ):
        csv_file(tmp_path / name / "people.csv", [row])
        with pytest.raises(InputError, match=f"table of {other}") as caught:
            read(tmp_path / name)
        assert caught.value.code == "other-cohort"


def test_both_cohorts_in_one_folder_are_read_apart(tmp_path: Path) -> None:
    one1(tmp_path)
    csv_file(tmp_path / oasis2.OLD_TABLE, [oasis2.row(1, 1)])
    oasis2.runs(tmp_path / oasis2.PART / "OAS2_9001_MR1")
    first, second = read_oasis1(tmp_path), read_oasis2(tmp_path)
    assert [s.session_id for s in first.scans] == ["OAS1_9001_MR1"]
    assert {s.session_id for s in second.scans} == {"OAS2_9001_MR1"}
    for found in (first, second):
        assert codes(found)["other-cohort-image"] == 1
        assert found.refused == []
    assert read_oasis(tmp_path) == [first, second]


def test_whichever_of_the_two_is_there_is_read(tmp_path: Path) -> None:
    oasis1.make_oasis1(tmp_path / "1")
    oasis2.make_oasis2(tmp_path / "2")
    assert [found.cohort for found in read_oasis(tmp_path / "1")] == ["OASIS1"]
    assert [found.cohort for found in read_oasis(tmp_path / "2")] == ["OASIS2"]
    (tmp_path / "2" / oasis2.TABLE).unlink()
    with pytest.raises(InputError) as caught:
        read_oasis(tmp_path / "2")
    assert caught.value.code == "absent-table"
    csv_file(tmp_path / "2/x.csv", [{"NACCID": "NACC900001", "PACKET": "I"}])
    with pytest.raises(InputError, match="table of NACC"):
        read_oasis(tmp_path / "2")


# ---------------------------------------------------------------- axes


@pytest.mark.parametrize("axes", ["ASL", "LAS"])
def test_analyze_files_are_turned_by_what_the_reader_says(tmp_path: Path, axes: str) -> None:
    """A voxel of the invented head comes back where it was, whatever axes it was written in."""
    path = analyze(tmp_path / "x.hdr", 5, axes)
    volume = to_ras(read_volume(path, assume_orientation=axes))
    np.testing.assert_array_equal(volume.array, head(5))


def test_every_image_of_a_download_comes_back_as_the_same_kind_of_head(tmp_path: Path) -> None:
    oasis1.make_oasis1(tmp_path / "1")
    oasis2.make_oasis2(tmp_path / "2")
    for found in (read_oasis1(tmp_path / "1"), read_oasis2(tmp_path / "2")):
        for scan in found.scans:
            volume = read_volume(
                found.root / scan.path,
                root=found.root,
                assume_orientation=scan.assume_orientation or None,
            )
            array = to_ras(volume).array
            assert array.shape == (24, 28, 20)
            slopes = [half_difference(array, axis) for axis in range(3)]
            assert slopes[0] > slopes[1] > slopes[2] > 0, scan.path


def half_difference(array: np.ndarray, axis: int) -> float:
    """How much brighter the head is in the upper half of an axis, per voxel of its length."""
    low, high = np.array_split(array, 2, axis=axis)
    return float((high[high > 0].mean() - low[low > 0].mean()) / array.shape[axis])


def test_orientation_is_assumed_for_analyze_only(tmp_path: Path) -> None:
    oasis1.make_oasis1(tmp_path)
    found = {(s.kind, s.format, s.assume_orientation) for s in read_oasis1(tmp_path).scans}
    assert found == {
        ("raw", "analyze", "ASL"),
        ("averaged", "analyze", "ASL"),
        ("registered", "analyze", "LAS"),
        ("skull-stripped", "analyze", "LAS"),
        ("averaged", "nifti", ""),
        ("registered", "nifti", ""),
        ("skull-stripped", "nifti", ""),
    }


# ---------------------------------------------------------------- labels


@pytest.mark.parametrize(
    ("cdr", "half", "diagnosis"),
    [
        ("0", "AD", "NC"),
        ("0.0", "AD", "NC"),
        ("0.5", "AD", "AD"),
        ("0.5", "MCI", "MCI"),
        ("0.5", "", ""),
        ("1", "MCI", "AD"),
        ("2", "AD", "AD"),
        ("", "AD", ""),
        ("N/A", "AD", ""),
    ],
)
def test_cdr_is_the_label(tmp_path: Path, cdr: str, half: str, diagnosis: str) -> None:
    one1(tmp_path, CDR=cdr)
    (row,) = read_oasis1(tmp_path, options=OasisOptions(half_cdr=half)).sessions
    assert row["diagnosis"] == diagnosis
    canonical = {"0.0": "0", "N/A": ""}.get(cdr, cdr)
    assert row["cdr_global"] == canonical
    assert row["diagnosis_source"] == (f"CDR={canonical}" if diagnosis else "")
    assert row["label_defined_by"] == "cdr_global"


def test_the_group_of_the_whole_follow_up_is_never_the_label(tmp_path: Path) -> None:
    table = [oasis2.row(1, 1, Group="Converted"), oasis2.row(2, 1, Group="Demented")]
    csv_file(tmp_path / oasis2.OLD_TABLE, table)
    for number in (1, 2):
        oasis2.runs(tmp_path / f"OAS2_900{number}_MR1")
    rows = read_oasis2(tmp_path).sessions
    assert [row["diagnosis"] for row in rows] == ["NC", "NC"]
    assert [row["diagnosis_detail"] for row in rows] == ["Converted", "Demented"]


def test_education_is_a_code_in_one_and_years_in_the_other(tmp_path: Path) -> None:
    row = one1(tmp_path / "1", Educ="4")
    assert (row["education_code"], row["education_years"]) == ("4", "")
    csv_file(tmp_path / "2" / oasis2.OLD_TABLE, [oasis2.row(1, 1, EDUC="18")])
    oasis2.runs(tmp_path / "2/OAS2_9001_MR1")
    (row,) = read_oasis2(tmp_path / "2").sessions
    assert (row["education_code"], row["education_years"]) == ("", "18")


def test_a_column_of_codes_is_not_read_as_years(tmp_path: Path) -> None:
    csv_file(tmp_path / oasis2.OLD_TABLE, [oasis2.row(1, 1, EDUC="4"), oasis2.row(2, 1, EDUC="5")])
    oasis2.runs(tmp_path / "OAS2_9001_MR1")
    found = read_oasis2(tmp_path)
    assert found.sessions[0]["education_years"] == ""
    assert codes(found)["education-unit"] == 1


@pytest.mark.parametrize(
    ("changes", "code"),
    [({"MRI ID": "OAS2_9001"}, "bad-id"), ({"Subject ID": "OAS2_9002"}, "id-mismatch")],
)
def test_a_row_of_nobody_leaves_its_session_out(
    tmp_path: Path, changes: dict[str, str], code: str
) -> None:
    csv_file(tmp_path / oasis2.OLD_TABLE, [{**oasis2.row(1, 1), **changes}])
    images = oasis2.runs(tmp_path / "OAS2_9001_MR1", 1)
    found = read_oasis2(tmp_path)
    assert [f.where for f in found.refused] == [f"OASIS2/{images[0]}"]
    assert code in {f.code for f in [*found.refused, *found.findings]}


# ---------------------------------------------------------------- files


def test_the_order_of_kinds_chooses_the_primary_image(tmp_path: Path) -> None:
    csv_file(tmp_path / oasis1.OLD_TABLE, [oasis1.row(1)])
    oasis1.session_files(tmp_path / "OAS1_9001_MR1", 3)
    default = read_oasis1(tmp_path).scans
    assert [s.kind for s in default] == [
        "averaged", "raw", "raw", "raw", "registered", "skull-stripped",
    ]  # fmt: skip
    assert [s.run for s in default] == [1, 1, 2, 3, 1, 1]
    chosen = read_oasis1(tmp_path, options=OasisOptions(kinds=("skull-stripped", "raw")))
    assert [s.kind for s in chosen.scans] == ["skull-stripped", "raw", "raw", "raw"]
    assert codes(chosen)["kind-not-wanted"] == 1


def test_options_are_checked() -> None:
    with pytest.raises(UsageError, match="did you mean 'raw'"):
        OasisOptions(kinds=("raws",))
    with pytest.raises(UsageError, match="half_cdr is 'NC-like'"):
        OasisOptions(half_cdr="NC-like")


def test_a_disc_in_two_places_is_read_once(tmp_path: Path) -> None:
    csv_file(tmp_path / oasis1.OLD_TABLE, [oasis1.row(1)])
    folder = tmp_path / "disc1/OAS1_9001_MR1"
    oasis1.session_files(folder, 2, averaged=False, registered=False)
    shutil.copytree(folder, tmp_path / "flat/OAS1_9001_MR1")
    analyze(tmp_path / "flat/OAS1_9001_MR1/RAW/OAS1_9001_MR1_mpr-2_anon.hdr", 99)
    found = read_oasis1(tmp_path)
    assert [s.path.split("/")[0] for s in found.scans] == ["disc1", "disc1"]
    assert codes(found)["same-file-twice"] == 1
    assert [f.code for f in found.refused] == ["two-versions"]


@pytest.mark.parametrize("kind", ["tar.gz", "zip"])
def test_archives_are_read_where_they_lie(tmp_path: Path, kind: str) -> None:
    csv_file(tmp_path / oasis2.OLD_TABLE, [oasis2.row(1, 1)])
    folder = tmp_path / oasis2.PART
    images = oasis2.runs(folder / "OAS2_9001_MR1")
    archive = tmp_path / f"{oasis2.PART}.{kind}"
    if kind == "zip":
        files = [p for p in sorted(folder.rglob("*")) if p.is_file()]
        zip_file(archive, {p.relative_to(tmp_path).as_posix(): p.read_bytes() for p in files})
    else:
        tar_gz(archive, folder)
    loose = read_oasis2(tmp_path)
    assert [s.path for s in loose.scans] == [f"{oasis2.PART}/{name}" for name in images]
    assert codes(loose)["unpacked-archive"] == 1
    shutil.rmtree(folder)
    packed = read_oasis2(tmp_path)
    assert [s.path for s in packed.scans] == [f"{archive.name}/{s.path}" for s in loose.scans]
    assert packed.sessions == loose.sessions
    assert codes(packed)["slow-archive"] == (kind == "tar.gz")


def test_a_cut_archive_is_refused_and_the_others_go_on(tmp_path: Path) -> None:
    csv_file(tmp_path / oasis2.OLD_TABLE, [oasis2.row(1, 1), oasis2.row(2, 1)])
    oasis2.runs(tmp_path / "OAS2_9001_MR1")
    oasis2.runs(tmp_path / "part/OAS2_9002_MR1")
    archive = tar_gz(tmp_path / "part.tar.gz", tmp_path / "part")
    shutil.rmtree(tmp_path / "part")
    archive.write_bytes(archive.read_bytes()[:-100])
    found = read_oasis2(tmp_path)
    assert len(found.scans) == 2
    assert [f.where for f in found.refused] == ["OASIS2/part.tar.gz"]


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("RAW/OAS1_0042_MR2_mpr-3_anon.img", ("OAS1_0042_MR2", "raw", 3)),
        ("x/OAS1_0042_MR1_mpr_n4_anon_sbj_111.hdr", ("OAS1_0042_MR1", "averaged", 1)),
        ("x/OAS1_0042_MR1_mpr_n3_anon_111_t88_gfc.hdr", ("OAS1_0042_MR1", "registered", 1)),
        (
            "OAS1_0042_MR1_mpr_n6_anon_111_t88_masked_gfc.IMG",
            ("OAS1_0042_MR1", "skull-stripped", 1),
        ),
        ("x/OAS1_0042_MR1_mpr_n4_anon_111_t88_masked_gfc_fseg.img", ("", "raw", 1)),
        ("OASIS_OAS1_0042_MR1/norm.nii.gz", ("OAS1_0042_MR1", "skull-stripped", 1)),
        ("OASIS_OAS1_0042_MR1/seg35.nii.gz", ("", "raw", 1)),
        ("elsewhere/norm.nii.gz", None),
        ("x/OAS1_0042_MR1_mpr-3_anon.nii", None),
        ("x/OAS1_42_MR1_mpr-3_anon.img", None),
    ],
)
def test_names_of_oasis1(path: str, says: tuple[str, str, int] | None) -> None:
    named = oasis1_rule(dict(OasisOptions().neurite_kinds))(*split_suffix(path))
    assert (named if named is None else (named.session, named.kind, named.run)) == says


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("p/OAS2_0042_MR3/RAW/mpr-4.nifti.img", ("OAS2_0042_MR3", 4)),
        ("OAS2_0042_MR10/RAW/mpr-1.nifti.hdr", ("OAS2_0042_MR10", 1)),
        ("OAS2_0042_MR1/RAW/3906-3.nift.img", None),
        ("RAW/mpr-1.nifti.hdr", None),
    ],
)
def test_names_of_oasis2(path: str, says: tuple[str, int] | None) -> None:
    named = oasis2_rule(*split_suffix(path))
    assert (named if named is None else (named.session, named.run)) == says
