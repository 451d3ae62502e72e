"""Files without a word on left and right, and FreeSurfer's, as their own programs read them."""

from __future__ import annotations

import struct
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray

import fault_files
from medblip.errors import InputError
from medblip.volumes import Volume, load_cube, preprocess, read_volume, to_ras
from medblip.volumes.preprocessing import Preprocessing
from phantoms import MARKER, head_volume

# OASIS raw: i grows to the front, j upwards, k to the left; 1.25 mm along k.
OASIS_SHAPE, OASIS_SIZES = (96, 88, 60), (2.0, 2.1, 2.5)
OASIS_DIRECTIONS = np.array([[0, 0, -1], [1, 0, 0], [0, 1, 0]])


def oasis_head() -> Volume:
    """The head with a bright ball on its right, sampled as OASIS lays out its raw files."""
    affine = np.eye(4)
    affine[:3, :3] = OASIS_DIRECTIONS @ np.diag(OASIS_SIZES)
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(OASIS_SHAPE) - 1) / 2)
    return head_volume(OASIS_SHAPE, affine, neck=False)


def write_analyze(
    path: Path, array: NDArray[np.generic], *, order: str = ">", four: bool = True
) -> Path:
    """A pair as OASIS has it: 16-bit, big-endian, with a fourth axis of size 1."""
    header = nib.AnalyzeHeader(endianness=order)
    header.set_data_dtype(np.int16)
    shape = (*array.shape, 1) if four else array.shape
    header.set_data_shape(shape)
    header.set_zooms((*OASIS_SIZES, 1.0)[: len(shape)])
    path.write_bytes(header.binaryblock)
    voxels = array.astype(f"{order}i2").tobytes(order="F")
    path.with_name(path.name.replace(".hdr", ".img")).write_bytes(voxels)
    return path


@pytest.mark.parametrize("order", [">", "<"])
@pytest.mark.parametrize("four", [True, False])
@pytest.mark.parametrize("name", ["OAS1_0001_MR1_mpr-1_anon", "mpr-1.nifti"])
@pytest.mark.parametrize("named", [".hdr", ".img"])
def test_oasis_raw_is_turned_as_the_head_lay(
    named: str, name: str, four: bool, order: str, tmp_path: Path
) -> None:
    head = oasis_head()
    write_analyze(tmp_path / f"{name}.hdr", np.round(head.array), order=order, four=four)

    volume = read_volume(tmp_path / f"{name}{named}", assume_orientation="ASL")

    assert volume.axcodes == "ASL"
    np.testing.assert_array_equal(volume.array, np.round(head.array))
    np.testing.assert_allclose(volume.affine, head.affine, atol=1e-5)
    assert [finding.code for finding in volume.findings] == ["orientation-assumed"]
    upright = to_ras(volume)
    right, front, top = (int(i) for i in np.linalg.solve(upright.affine, [*MARKER, 1])[:3].round())
    assert upright.array[right, front, top] == 140, "the ball is at the right, in front and above"
    mirrored = upright.array[::-1][right, front, top]
    assert mirrored != 140


def test_default_of_nibabel_would_turn_the_head(tmp_path: Path) -> None:
    """Why there is no default: the usual guess (LAS) puts the front of the head to its left."""
    header = write_analyze(tmp_path / "scan.hdr", np.round(oasis_head().array))
    guessed = nib.aff2axcodes(nib.load(header).affine)
    assert "".join(guessed) != "ASL"
    with pytest.raises(InputError) as caught:
        read_volume(header)
    assert caught.value.code == "left-right-unknown"


def test_cube_depends_on_the_assumption(tmp_path: Path) -> None:
    path = write_analyze(tmp_path / "scan.hdr", np.round(oasis_head().array))
    settings, cache = Preprocessing(size=32), tmp_path / "cache"

    right = load_cube(path, settings, cache, assume_orientation="ASL")
    wrong = load_cube(path, settings, cache, assume_orientation="ASR")

    assert right.cache_file != wrong.cache_file
    assert not np.array_equal(right.array, wrong.array)
    expected = preprocess(oasis_head(), settings)
    difference = np.abs(right.array.astype(int) - expected.array.astype(int))
    assert difference.max() <= 2, "rounding to whole numbers alone"


def test_analyze_is_scaled_as_spm_scales(tmp_path: Path) -> None:
    image = nib.Spm99AnalyzeImage(fault_files.scan() * 0.25, fault_files.AFFINE)
    image.set_data_dtype(np.int16)
    image.to_filename(tmp_path / "scan.img")
    expected = nib.load(tmp_path / "scan.img").get_fdata()

    volume = read_volume(tmp_path / "scan.img", assume_orientation="RAS")

    np.testing.assert_allclose(volume.array, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("offset", "layout", "values", "code"),
    [
        (fault_files.DIM, ">5h", (4, 32767, 32767, 32767, 1), "too-large"),
        (fault_files.DIM, ">h", (9,), "bad-dimensions"),
        (fault_files.DIM, ">5h", (4, 96, -88, 60, 1), "bad-dimensions"),
        (fault_files.DATATYPE, ">h", (128,), "rgb-volume"),
        (fault_files.DATATYPE, ">h", (32,), "complex-volume"),
        (fault_files.DATATYPE, ">h", (16,), "truncated-file"),
        (fault_files.PIXDIM + 4, ">f", (float("nan"),), "bad-affine"),
        (fault_files.PIXDIM + 4, ">f", (0.0,), "bad-affine"),
    ],
)
def test_lying_analyze_header(
    offset: int, layout: str, values: tuple[float, ...], code: str, tmp_path: Path
) -> None:
    path = write_analyze(tmp_path / "scan.hdr", np.round(oasis_head().array))
    content = bytearray(path.read_bytes())
    struct.pack_into(layout, content, offset, *values)
    path.write_bytes(content)

    with pytest.raises(InputError) as caught:
        read_volume(path, assume_orientation="ASL")
    assert caught.value.code == code
    assert str(caught.value).startswith("scan.")


@pytest.mark.parametrize("name", ["scan.mgh", "scan.mgz", "scan.MGZ"])
@pytest.mark.parametrize("dtype", ["u1", "i2", "i4", "f4"])
def test_mgh_is_the_same_as_nibabel_reads(dtype: str, name: str, tmp_path: Path) -> None:
    affine = oasis_head().affine @ np.diag([3, 3, 3, 1])
    stored = np.clip(fault_files.scan("i4"), 0, 127).astype(dtype)
    image = nib.MGHImage(stored, affine)
    image.header["tr"] = 9.7  # a footer stands after the voxels
    image.to_filename(tmp_path / name.replace(".MGZ", ".mgz"))
    (tmp_path / name.replace(".MGZ", ".mgz")).rename(tmp_path / name)

    volume = read_volume(tmp_path / name)

    np.testing.assert_array_equal(volume.array, stored)
    np.testing.assert_allclose(volume.affine, image.affine, atol=1e-5)
    assert volume.findings == ()


def test_one_volume_of_a_4d_mgh(tmp_path: Path) -> None:
    volume = read_volume(fault_files.four_volumes_of_mgh(tmp_path), volume_index=2)
    np.testing.assert_array_equal(volume.array, fault_files.scan("f4") + 2)


def test_mgh_without_directions_can_be_told_them(tmp_path: Path) -> None:
    path = fault_files.mgh_without_directions(tmp_path)
    with pytest.raises(InputError) as caught:  # its voxel size is not valid either: 1 mm
        read_volume(path, assume_orientation="LIA")
    assert caught.value.code == "small-extent"
