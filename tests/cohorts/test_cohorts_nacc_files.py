"""What is special about NACC's images: zips and trees, deliveries twice, series by sidecar."""

from __future__ import annotations

import zipfile
from collections import Counter
from pathlib import Path

import pytest
from vendor_fixtures.loni_files import dicom_slice
from vendor_fixtures.nacc_rows import (
    ALL,
    dicom_series,
    flair,
    mri,
    series,
    small_download,
    t1_facts,
    visit,
)
from vendor_fixtures.small_files import nifti, nifti_gz, sidecar, write, zip_file

from medblip.cohorts.dataset import DataSet
from medblip.cohorts.nacc import read_nacc
from medblip.cohorts.nacc_series import judge, parse_sidecar, preference
from medblip.errors import InputError
from medblip.volumes import Preprocessing
from medblip.volumes.cache import load_cube

DICOM = "MRI/all/dicom"


def only(found: DataSet) -> dict[str, str]:
    (row,) = found.sessions
    return row


def codes(found: DataSet) -> Counter[str]:
    return Counter(f.code for f in found.findings if f.code != "extra-column")


# ---------------------------------------------------------------- deliveries


def test_a_zip_or_the_folder_a_user_made_of_it_give_the_same(tmp_path: Path) -> None:
    tables = ([visit(1, "2010-01-01")], [mri(1, "2010-01-01", "mri1.zip")])
    zipped = small_download(tmp_path / "zip", *tables)
    loose = small_download(tmp_path / "loose", *tables, files=False)
    with zipfile.ZipFile(zipped / ALL / "mri1ni.zip") as archive:
        for name in archive.namelist():
            write(loose / "anywhere" / "mri1ni" / name, archive.read(name))
    first, second = read_nacc(zipped), read_nacc(loose)
    assert first.sessions == second.sessions
    assert [s.path for s in second.scans] == ["anywhere/mri1ni/mri1/T1.nii"]


def test_a_second_delivery_with_other_content_is_refused(tmp_path: Path) -> None:
    root = small_download(tmp_path, [visit(1, "2010-01-01")], [mri(1, "2010-01-01", "mri1.zip")])
    other = "MRI/within1yr/nifti/mri1ni.zip"
    zip_file(root / other, {**series("mri1/T1"), **series("mri1/T1_2")})
    found = read_nacc(root)
    assert [f.code for f in found.refused] == ["two-versions"]
    assert [s.path for s in found.scans] == [
        f"{ALL}/mri1ni.zip/mri1/T1.nii",
        f"{other}/mri1/T1_2.nii",
    ]


@pytest.mark.parametrize("name", ["T1:2", "T1  2", "a\tT1", "T1\u00a02"])
def test_a_path_that_a_table_would_change_is_refused(tmp_path: Path, name: str) -> None:
    root = small_download(
        tmp_path, [visit(1, "2010-01-01")], [mri(1, "2010-01-01", "mri1")], files=False
    )
    for path, data in {**series(name), **series("T1")}.items():
        write(root / "mri1ni" / path, data)
    found = read_nacc(root)
    assert [(f.where, f.code) for f in found.refused] == [
        (f"NACC/mri1ni/{name}.nii", "unsafe-path")
    ]
    assert [s.path for s in found.scans] == ["mri1ni/T1.nii"]


def test_a_row_may_name_zips_that_were_not_delivered(tmp_path: Path) -> None:
    root = small_download(
        tmp_path, [visit(1, "2010-01-01")], [mri(1, "2010-01-01", "mri1.zip,mri2.zip")]
    )
    found = read_nacc(root)
    assert only(found)["session_id"] == "mri1"
    assert codes(found)["partly-delivered"] == 1


def test_two_sessions_may_not_go_by_one_name(tmp_path: Path) -> None:
    scans = [
        mri(1, "2010-01-01", "mri1.zip,mri2.zip"),
        mri(1, "2011-01-01", "mri1.zip,mri3.zip"),
    ]
    root = small_download(tmp_path, [visit(1, "2010-01-01")], scans)
    zip_file(root / ALL / "mri3ni.zip", series("mri3/T1"))
    found = read_nacc(root)
    assert only(found)["scan_date"] == "2010-01-01"
    assert [(f.where, f.code) for f in found.refused] == [
        (f"NACC/{ALL}/mri3ni.zip/mri3/T1.nii", "same-session")
    ]


def test_one_image_packed_and_unpacked_is_used_once(tmp_path: Path) -> None:
    root = small_download(
        tmp_path, [visit(1, "2010-01-01")], [mri(1, "2010-01-01", "mri1")], files=False
    )
    write(root / "mri1ni/T1.nii", nifti(1))
    write(root / "mri1ni/T1.nii.gz", nifti_gz(1))
    write(root / "mri1ni/T1.json", sidecar(**t1_facts()))
    found = read_nacc(root)
    assert [s.path for s in found.scans] == ["mri1ni/T1.nii"]
    assert [f.code for f in found.refused] == ["two-versions"]


def test_dicom_beside_nifti_is_noted(tmp_path: Path) -> None:
    root = small_download(tmp_path, [visit(1, "2010-01-01")], [mri(1, "2010-01-01", "mri1.zip")])
    zip_file(root / "MRI/all/dicom/mri1.zip", {"mri1/1/0001": b"\0" * 128 + b"DICM"})
    found = read_nacc(root)
    assert (len(found.scans), len(found.refused)) == (1, 0)
    assert codes(found)["dicom-not-read"] == 1


def dicom_download(root: Path, members: dict[str, bytes]) -> Path:
    """One session, mri1, delivered as a zip of DICOM files alone."""
    tables = ([visit(1, "2010-01-01")], [mri(1, "2010-01-01", "mri1.zip", MRIFIELD="7")])
    zip_file(small_download(root, *tables, files=False) / DICOM / "mri1.zip", members)
    return root


def test_a_session_of_dicom_alone_is_read_by_its_headers(tmp_path: Path) -> None:
    root = dicom_download(
        tmp_path / "data",
        {
            **dicom_series("mri1/4", 1, SliceThickness="1.5"),
            **dicom_series("mri1/2", 2, SliceThickness="1.0"),
            **dicom_series("mri1/3", 3, MRAcquisitionType="2D"),
            **dicom_series("mri1/5", 4, Modality="CT"),
            "mri1/DICOMDIR": dicom_slice(5, 0, PixelData=b""),
        },
    )
    found = read_nacc(root)
    # thinner slices first, as for sidecars
    assert [(s.path, s.format) for s in found.scans] == [
        (f"{DICOM}/mri1.zip/mri1/2", "dicom"),
        (f"{DICOM}/mri1.zip/mri1/4", "dicom"),
    ]
    assert only(found)["field_strength_t"] == "3"
    (others,) = (f for f in found.findings if f.code == "other-series")
    for reason in ("MPRAGE_SAG (2D)", "5 (CT)", "mri1 (no image)"):
        assert reason in others.problem
    assert codes(found)["dicom-read"] == 1
    cube = load_cube(root / found.scans[0].path, Preprocessing(size=32), root=root)
    assert cube.facts.shape == (24, 28, 20)


def test_a_loose_tree_of_dicom_is_known_by_its_folder(tmp_path: Path) -> None:
    zipped = dicom_download(tmp_path / "zip", dicom_series("2", 1))
    loose = dicom_download(tmp_path / "loose", {})
    (loose / DICOM / "mri1.zip").unlink()
    for name, data in dicom_series("here/mri1/2", 1).items():
        write(loose / name, data)
    first, second = read_nacc(zipped), read_nacc(loose)
    assert first.sessions == second.sessions
    assert [s.path for s in second.scans] == ["here/mri1/2"]


def test_dicom_that_cannot_be_told_apart_is_refused_with_a_way_out(tmp_path: Path) -> None:
    mixed = {**dicom_series("mri1", 1), **dicom_series("mri1/x", 2)}
    mixed = {name.replace("/x/", "/1"): data for name, data in mixed.items()}
    found = read_nacc(dicom_download(tmp_path / "mixed", mixed))
    (refused,) = found.refused
    assert (refused.code, refused.where) == ("several-series", f"NACC/{DICOM}/mri1.zip/mri1")
    assert "dcm2niix" in refused.fix
    assert "mri1234ni" in refused.fix
    broken = {"mri1/1/0001": b"no DICOM", "mri1/README": b"hello"}
    (refused,) = read_nacc(dicom_download(tmp_path / "broken", broken)).refused
    assert (refused.code, refused.where) == ("dicom-only", f"NACC/{DICOM}/mri1.zip")
    assert "dcm2niix" in refused.fix


def test_dicom_without_a_t1_is_a_warning(tmp_path: Path) -> None:
    flair_alone = dicom_series("mri1/1", 1, SeriesDescription="SAG_3D_FLAIR")
    found = read_nacc(dicom_download(tmp_path, flair_alone))
    assert (found.scans, found.refused) == ([], [])
    assert codes(found)["no-t1"] == codes(found)["other-series"] == 1


def test_scans_outside_any_delivery_are_listed(tmp_path: Path) -> None:
    root = small_download(tmp_path, [visit(1, "2010-01-01")], [mri(1, "2010-01-01", "mri1.zip")])
    for name, data in {**series("extra/T1"), **flair("extra/FLAIR")}.items():
        write(root / name, data)
    write(root / "NACC900001_x/1/0001.dcm", b"\0" * 128 + b"DICM")
    found = read_nacc(root)
    assert {f.where: f.code for f in found.refused} == {
        "NACC/extra/T1.nii": "scan-without-row",
        "NACC/NACC900001_x": "scan-without-row",
    }


def test_a_t1_without_sidecar_goes_by_its_name_with_a_warning(tmp_path: Path) -> None:
    root = small_download(tmp_path, [visit(1, "2010-01-01")], [mri(1, "2010-01-01", "mri1.zip")])
    zip_file(root / ALL / "mri1ni.zip", {"a/sub_T1_MPRAGE.nii.gz": nifti(1)})
    found = read_nacc(root)
    assert len(found.scans) == 1
    assert codes(found)["no-sidecar"] == 1


def test_field_strength_of_the_sidecar_where_the_table_has_none(tmp_path: Path) -> None:
    row = mri(1, "2010-01-01", "mri1.zip", MRIFIELD="7")
    found = read_nacc(small_download(tmp_path, [visit(1, "2010-01-01")], [row]))
    assert only(found)["field_strength_t"] == "3"
    assert only(found)["missing_codes"] == ""


# ---------------------------------------------------------------- series


@pytest.mark.parametrize(
    ("facts", "verdict"),
    [
        ({"SeriesDescription": "MPRAGE"}, "t1"),
        ({"SeriesDescription": "MP-RAGE REPEAT"}, "t1"),
        ({"SeriesDescription": "Sag IR-FSPGR"}, "t1"),
        ({"SeriesDescription": "sag_t1_3d"}, "t1"),
        ({"SeriesDescription": "SAG MPR"}, "t1"),
        ({"SeriesDescription": "", "ProtocolName": "ADNI MPRAGE"}, "t1"),
        ({"BodyPartExamined": "HEAD"}, "t1"),
        ({"SliceThickness": 1.99}, "t1"),
        ({"SliceThickness": None}, "t1"),
        ({"SeriesDescription": "T2 SPACE"}, "other"),
        ({"SeriesDescription": "T1 FLAIR"}, "other"),
        ({"SeriesDescription": "localizer"}, "other"),
        ({"SeriesDescription": "ep2d_diff_64"}, "other"),
        ({"MRAcquisitionType": "2D"}, "other"),
        ({"SliceThickness": 2.0}, "other"),
        ({"BodyPartExamined": "LIVER"}, "refused"),
        ({"BodyPartExamined": "CSPINE"}, "refused"),
    ],
)
def test_the_rule_for_a_t1(facts: dict[str, object], verdict: str) -> None:
    whole = {k: v for k, v in t1_facts(**facts).items() if v is not None}
    assert judge(whole, "0005").verdict == verdict


@pytest.mark.parametrize(
    ("name", "verdict"), [("T1_MPRAGE", "t1"), ("0005", "refused"), ("FLAIR", "refused")]
)
def test_without_a_sidecar_the_name_must_tell(name: str, verdict: str) -> None:
    assert judge({}, name).verdict == verdict


def test_the_scanners_own_plain_thin_image_is_primary() -> None:
    own = t1_facts(SliceThickness=1.2)
    derived = t1_facts(SliceThickness=1.0, ImageType=["DERIVED", "SECONDARY", "MPR"])
    ranked = sorted(
        [("reformat", derived), ("T1_Crop_1", own), ("T1", own), ("T1_5a", own)],
        key=lambda item: preference(item[1], item[0], item[0]),
    )
    assert [name for name, _ in ranked] == ["T1", "T1_5a", "T1_Crop_1", "reformat"]
    thin, thick = (preference(t1_facts(SliceThickness=mm), "T1", "x") for mm in (1.0, 1.5))
    assert thin < thick


def test_bare_numbers_become_missing_and_texts_stay() -> None:
    data = sidecar(A=float("nan"), B=float("-inf"), C="nan, -nan and inf", D=[float("inf"), 2])
    facts, mended = parse_sidecar(data, "x.json")
    assert mended
    assert facts == {"C": "nan, -nan and inf", "D": [None, 2]}
    assert parse_sidecar(b'{"A": 1}', "x.json") == ({"A": 1}, False)


@pytest.mark.parametrize("data", [b"", b"[1]", b'{"A": ', b"\xff\xfe\x00", b'{"A": nanny}'])
def test_what_is_no_sidecar_is_said(data: bytes) -> None:
    with pytest.raises(InputError) as caught:
        parse_sidecar(data, "x.json")
    assert caught.value.code == "bad-json"
