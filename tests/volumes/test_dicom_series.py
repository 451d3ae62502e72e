"""A DICOM series gives the numbers and places that the same array gives as NIfTI, and highdicom."""

from __future__ import annotations

import sys
from pathlib import Path

import highdicom
import nibabel as nib
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian, JPEGLSLossless, RLELossless

import dicom_makers as makers
from medblip.errors import InputError
from medblip.volumes import Volume, read_volume, scan_sha256, to_ras
from medblip.volumes.gate import check_plausibility
from medblip.volumes.scan_sources import scan_stamp


def assert_same_place(volume: Volume, other: Volume) -> None:
    first, second = to_ras(volume), to_ras(other)
    np.testing.assert_array_equal(first.array, second.array)
    np.testing.assert_allclose(first.affine, second.affine, rtol=0, atol=1e-5)


def as_nifti(folder: Path, array: NDArray[np.generic], affine: NDArray[np.float64]) -> Volume:
    nib.Nifti1Image(array.astype(np.float32), affine).to_filename(folder / "same.nii")
    return read_volume(folder / "same.nii")


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("plane", makers.PLANES)
def test_same_as_nifti_in_every_plane(plane: str, backwards: bool, tmp_path: Path) -> None:
    affine = makers.ras_affine(plane)
    if backwards:  # slices taken from the other side
        affine[:3, 3] += affine[:3, 2] * (makers.SHAPE[2] - 1)
        affine[:3, 2] *= -1
    volume = read_volume(makers.write(tmp_path / "series", makers.slices(affine=affine)))

    assert volume.findings == ()
    assert volume.array.dtype == np.float32
    assert volume.array.flags.writeable
    assert_same_place(volume, as_nifti(tmp_path, makers.picture(), affine))


@pytest.mark.parametrize("plane", makers.PLANES)
def test_same_as_highdicom(plane: str, tmp_path: Path) -> None:
    folder = makers.write(tmp_path / "series", makers.slices(affine=makers.ras_affine(plane)))
    other = highdicom.get_volume_from_series(
        [pydicom.dcmread(path) for path in folder.iterdir()], dtype=np.float32
    )
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ other.affine  # LPS, (slice, row, column)

    assert_same_place(read_volume(folder), Volume(other.array, affine))


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_every_way_of_writing_elements(syntax: str, tmp_path: Path) -> None:
    data_sets = makers.slices()
    for data in data_sets:
        data.file_meta.TransferSyntaxUID = syntax
        if syntax == ExplicitVRBigEndian:
            data.PixelData = np.frombuffer(data.PixelData, "<u2").astype(">u2").tobytes()
    folder = makers.write(tmp_path / "series", data_sets)

    assert_same_place(
        read_volume(folder), as_nifti(tmp_path, makers.picture(), makers.ras_affine())
    )


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless])
def test_packed_pixels(syntax: str, tmp_path: Path) -> None:
    data_sets = makers.slices()
    for data in data_sets:
        data.compress(syntax, generate_instance_uid=False)
    folder = makers.write(tmp_path / "series", data_sets)

    assert_same_place(
        read_volume(folder), as_nifti(tmp_path, makers.picture(), makers.ras_affine())
    )


def test_plain_pixels_need_no_other_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = makers.write(tmp_path / "series", makers.slices())
    for name in ("pydicom", "highdicom"):
        monkeypatch.setitem(sys.modules, name, None)  # importing it fails
    np.testing.assert_array_equal(
        np.sort(read_volume(folder).array, axis=None), np.sort(makers.picture(), axis=None)
    )


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "i4"])
def test_every_type_of_pixel(dtype: str, tmp_path: Path) -> None:
    array = (makers.picture() // 8).astype(dtype)
    if dtype.startswith("i"):
        array = array - 7
    folder = makers.write(tmp_path / "series", makers.slices(array))

    assert_same_place(read_volume(folder), as_nifti(tmp_path, array, makers.ras_affine()))


def test_each_slice_is_scaled_by_its_own_slope_and_intercept(tmp_path: Path) -> None:
    data_sets = makers.slices()
    for number, data in enumerate(data_sets):
        data.RescaleSlope, data.RescaleIntercept, data.RescaleType = f"{0.5 + number}", "-10", "US"
    array = makers.picture() * (0.5 + np.arange(makers.SHAPE[2])) - 10

    volume = read_volume(makers.write(tmp_path / "series", data_sets))

    assert_same_place(volume, as_nifti(tmp_path, array, makers.ras_affine()))


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("undefined", [False, True])
def test_an_enhanced_file_is_a_whole_series(undefined: bool, packed: bool, tmp_path: Path) -> None:
    data = makers.enhanced()
    if packed:
        data.compress(RLELossless, generate_instance_uid=False)
    for name in ("PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence"):
        data[name].is_undefined_length = undefined
        for item in data[name].value:
            item.is_undefined_length_sequence_item = undefined
    folder = makers.write(tmp_path / "series", [data])
    expected = as_nifti(tmp_path, makers.picture(), makers.ras_affine())

    assert_same_place(read_volume(folder), expected)
    assert_same_place(read_volume(next(folder.iterdir())), expected)
    image = highdicom.imread(next(folder.iterdir()))
    other = image.get_volume(dtype=np.float32)
    assert_same_place(expected, Volume(other.array, np.diag([-1.0, -1, 1, 1]) @ other.affine))


def test_a_pattern_or_a_uid_chooses_the_series(tmp_path: Path) -> None:
    other = makers.picture(seed=9)
    first, second = makers.slices(), makers.slices(other)
    folder = makers.write(tmp_path / "visit", first, "S1_I11_")
    makers.write(folder, second, "S2_I22_")
    expected = as_nifti(tmp_path, other, makers.ras_affine())

    assert_same_place(read_volume(folder, files="*_I22_*.dcm"), expected)
    assert_same_place(read_volume(folder / "*_I22_*.dcm"), expected)
    assert_same_place(read_volume(folder, series=second[0].SeriesInstanceUID), expected)
    with pytest.raises(InputError, match="--series") as caught:
        read_volume(folder)
    told = caught.value.fix.split("'")[1]  # the hash of one of the two
    assert read_volume(folder, series=told).array.sum() in (other.sum(), makers.picture().sum())


def test_hash_depends_on_bytes_alone(tmp_path: Path) -> None:
    folder = makers.write(tmp_path / "series", makers.slices())
    digest = scan_sha256(folder)
    for number, path in enumerate(sorted(folder.iterdir())):
        path.rename(folder / f"renamed{99 - number}.dcm")
    (folder / "notes.txt").write_text("beside the slices")
    assert scan_sha256(folder) == digest

    last = pydicom.dcmread(folder / "renamed99.dcm")
    last.PixelData = bytes(len(last.PixelData))
    last.save_as(folder / "renamed99.dcm")
    assert scan_sha256(folder) != digest


def test_stamp_follows_what_a_scan_is_read_from(tmp_path: Path) -> None:
    folder = makers.write(tmp_path / "series", makers.slices())
    before = scan_stamp(folder)
    assert before == scan_stamp(folder / "*.dcm") == scan_stamp(folder, "*.dcm")
    assert scan_stamp(folder, "IM0000.dcm")[0] < before[0]
    with (folder / "IM0000.dcm").open("ab") as file:
        file.write(b"\0\0")
    assert scan_stamp(folder)[0] == before[0] + 2
    assert scan_stamp(tmp_path / "nothing") == (-1, -1)


def test_the_gate_takes_a_series_as_any_volume(tmp_path: Path) -> None:
    folder = makers.write(tmp_path / "series", makers.slices())
    nifti = as_nifti(tmp_path, makers.picture(), makers.ras_affine())
    codes = [finding.code for finding in check_plausibility(to_ras(read_volume(folder)))]
    assert codes == [finding.code for finding in check_plausibility(to_ras(nifti))]


def test_assumed_orientation_does_not_turn_a_series(tmp_path: Path) -> None:
    folder = makers.write(tmp_path / "series", makers.slices())
    turned = read_volume(folder, assume_orientation="RAS")
    np.testing.assert_array_equal(turned.affine, read_volume(folder).affine)
    assert [finding.code for finding in turned.findings] == ["orientation-not-assumed"]
