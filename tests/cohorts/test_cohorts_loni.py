"""Images of a LONI download are known by their names: which is a T1 scan, whose, when."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
from tiny_bids import touch
from vendor_fixtures.loni_files import place
from vendor_fixtures.small_files import zip_file

from medblip.cohorts.adni_options import AdniOptions
from medblip.cohorts.aibl_options import AiblOptions
from medblip.cohorts.collecting import Collector
from medblip.cohorts.folders import Folder
from medblip.cohorts.loni_images import list_download
from medblip.cohorts.loni_names import images_of, misnamed
from medblip.cohorts.loni_series import is_repeat, kind_of
from medblip.cohorts.loni_tables import rid_number, visit_code
from medblip.errors import UsageError

T1 = [
    "MPR__GradWarp__B1_Correction__N3__Scaled",
    "MPR-R__GradWarp__B1_Correction__N3__Scaled",
    "MPR____N3__Scaled_2",
    "MT1__GradWarp__N3m",
    "MT1__N3m",
    "MPRAGE",
    "MP-RAGE",
    "MPRAGE_Repeat",
    "MPRAGE_SENSE2",
    "Accelerated_Sagittal_MPRAGE",
    "Sagittal_3D_Accelerated_MPRAGE",
    "Accelerated_Sag_IR-FSPGR",
    "MPRAGE_ADNI_confirmed",
    "MPRAGE_ADNI_confirmed_RPT",
    "MPRAGE_ADNI_confirmed_REPEATX2",
    "MPRAGESAGISOp2ND",
    "MPRAGE_SAG_ISO_p2_ND",
    "MPRAGE_SAG_ISO_p2",
    "Spatially_Normalized__Masked_and_N3_corrected_T1_images",
]
OTHER = [
    "Axial_PD-T2_TSE",
    "Axial_PD-T2_TSE_repeat",
    "AXIAL_FLAIR",
    "Space_3D_T2_FLAIR_sag_p2",
    "Sagittal_3D_FLAIR",
    "localizer",
    "3_Plane_Localizer",
    "Axial_DTI",
    "Axial_rsfMRI__EYES_OPEN_",
    "HighResHippocampus",
    "Field_Mapping",
    "B1-Calibration_Body",
    "Perfusion_Weighted",
    "MPR__GradWarp__B1_Correction__Mask",
    "FreeSurfer_Cross-Sectional_Processing_brainmask",
    "ADNI_Brain_PET__Raw_FDG",
    "Axial_T2-Star",
]


@pytest.mark.parametrize("series", T1)
def test_t1_series_are_known(series: str) -> None:
    assert kind_of(series, "MR") == "t1"
    assert kind_of(series, "PT") == "other"


@pytest.mark.parametrize("series", OTHER)
def test_other_series_are_known(series: str) -> None:
    assert kind_of(series, "MR") == "other"


def test_an_unknown_series_is_told_by_the_user() -> None:
    assert kind_of("Head_3D", "MR") == "unknown"
    assert kind_of("Head_3D", "MR", "^Head_") == "t1"


def test_repeats_are_known() -> None:
    repeated = [series for series in T1 if is_repeat(series)]
    assert repeated == [
        "MPR-R__GradWarp__B1_Correction__N3__Scaled",
        "MPRAGE_Repeat",
        "MPRAGE_ADNI_confirmed_RPT",
        "MPRAGE_ADNI_confirmed_REPEATX2",
    ]


@pytest.mark.parametrize(
    ("written", "code"),
    [
        *(("bl", "bl"), ("BL", "bl"), ("m0", "bl"), ("m00", "bl"), ("m6", "m06"), ("m06", "m06")),
        *(("m156", "m156"), ("4_sc", "sc"), ("4_m12", "m12"), ("uns1", "uns1"), ("sc ", "sc")),
        *(("v01", None), ("", None), ("month 6", None), ("12", None)),
    ],
)
def test_visit_codes_have_one_form(written: str, code: str | None) -> None:
    assert visit_code(written) == code


@pytest.mark.parametrize(
    ("text", "number"), [("12", 12), ("0012", 12), ("12.0", 12), ("12a", None), ("", None)]
)
def test_subject_numbers_have_one_form(text: str, number: int | None) -> None:
    assert rid_number(text) == number


@pytest.mark.parametrize("options", [AdniOptions, AiblOptions])
def test_settings_that_cannot_be_used_are_refused(options: type[AdniOptions]) -> None:
    assert options(window_days=180).window_days == 180
    for wrong, code in (
        ({"window_days": 183}, "bad-window"),
        ({"window_days": -1}, "bad-window"),
        ({"t1_series": "("}, "bad-pattern"),
    ):
        with pytest.raises(UsageError) as caught:
            options(**wrong)  # type: ignore[arg-type]
        assert caught.value.code == code


# ---------------------------------------------------------------- names

STEM = "ADNI_901_S_0011_MR_MPRAGE_br_raw_20100101120000000"


def folder_of(*names: str, image: str = "S20") -> Folder:
    path = place("ADNI/901_S_0011", "MPRAGE", "2006-03-01", image)
    return Folder(path, tuple(sorted(names)))


def test_an_image_is_known_by_its_file_name_not_by_its_folder() -> None:
    mixed = folder_of(
        f"{STEM}_1_S20_I31.dcm",
        f"{STEM}_2_S20_I31.dcm",
        f"{STEM}_1_S20_I032.dcm",
        f"{STEM}_S20_I33.nii",
        "ADNI_901_S_0011_MR_MPR__N3__Scaled_Br_20100101120000000_S20_I34.nii.gz",
    )
    images = {image.image_id: image for image in images_of(mixed)}
    assert {number: (i.format, i.files, i.count, i.original) for number, i in images.items()} == {
        "31": ("dicom", "*_I31.dcm", 2, True),
        "32": ("dicom", "*_I032.dcm", 1, True),
        "33": ("nifti", "", 1, True),
        "34": ("nifti", "", 1, False),
    }
    assert {i.path for i in images.values() if i.format == "dicom"} == {mixed.relative}
    for image in images.values():
        assert (image.subject, image.series, image.modality) == ("901_S_0011", "MPRAGE", "MR")
        assert image.day == date(2006, 3, 1)


def test_a_flat_folder_still_says_subject_and_series_but_not_the_day() -> None:
    (image,) = images_of(Folder("", (f"{STEM}_S20_I31.nii",)))
    assert (image.subject, image.series, image.day) == ("901_S_0011", "MPRAGE", None)
    assert image.path == f"{STEM}_S20_I31.nii"


def test_a_day_that_does_not_exist_is_no_day() -> None:
    path = "ADNI/901_S_0011/MPRAGE/2006-02-30_10_20_30.0/I31"
    (image,) = images_of(Folder(path, (f"{STEM}_S20_I31.nii",)))
    assert (image.series, image.day) == ("MPRAGE", None)


def test_images_without_a_number_or_of_other_types_are_named_once_each() -> None:
    folder = folder_of("a.dcm", "b.dcm", "brain.nii", f"{STEM}_I9.img", f"{STEM}_I9.hdr", "x.txt")
    assert [(error.code, error.where.rsplit("/", 1)[-1]) for error in misnamed(folder)] == [
        ("unsupported-format", f"{STEM}_I9.img"),
        ("unknown-name", "brain.nii"),
        ("unknown-name", "*.dcm"),
    ]
    assert list(images_of(folder)) == []


# ---------------------------------------------------------------- a whole download


def slices(root: Path, image: str, number: int, count: int) -> None:
    folder = place("ADNI/901_S_0011", "MPRAGE", "2006-03-01", image)
    for index in range(count):
        touch(root / folder / f"{STEM}_{index + 1}_S20_I{number}.dcm")


def test_of_two_copies_the_whole_one_is_taken(tmp_path: Path) -> None:
    slices(tmp_path, "I31", 31, 3)
    slices(tmp_path, "S20", 31, 5)
    collector = Collector(tmp_path, "ADNI")
    (image,) = list_download(collector).images
    assert (image.path.rsplit("/", 1)[-1], image.count) == ("S20", 5)
    (note,) = collector.findings
    assert (note.code, note.level) == ("same-image-twice", "note")
    assert note.where.endswith("/I31/*_I31.dcm")
    assert collector.refused == []


def test_an_archive_is_looked_into_unless_it_lies_unpacked(tmp_path: Path) -> None:
    slices(tmp_path, "I31", 31, 2)
    folder = place("ADNI/901_S_0011", "MPRAGE", "2006-03-01", "I32")
    inside = {f"{folder}/{STEM}_{n}_S20_I32.dcm": b"" for n in (1, 2)}
    zip_file(tmp_path / "more.zip", inside)
    unpacked = place("ADNI/901_S_0011", "MPRAGE", "2006-03-01", "I31")
    zip_file(tmp_path / "same.zip", {f"{unpacked}/{STEM}_1_S20_I31.dcm": b""})
    (tmp_path / "broken.zip").write_bytes(b"PK\x03\x04 not more")
    collector = Collector(tmp_path, "ADNI")
    found = list_download(collector)
    assert [image.where for image in found.images] == [
        f"{unpacked}/*_I31.dcm",
        f"more.zip/{folder}/*_I32.dcm",
    ]
    assert [(f.code, f.where) for f in collector.findings] == [("unpacked-archive", "same.zip")]
    assert [(f.code, f.where) for f in collector.refused] == [("bad-archive", "broken.zip")]
