"""Both ways to gray levels agree, and the box is that of all voxels though few are looked at."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray

from medblip.errors import InputError
from medblip.volumes import Cube, Preprocessing, Volume, gray_levels, load_cube, preprocess
from medblip.volumes.head_box import head_box
from medblip.volumes.head_mask import find_head, fine_mask
from medblip.volumes.limits import ReadLimits
from medblip.volumes.scan_sources import open_scan
from medblip.volumes.volume import StoredVolume, keeps_whole_numbers
from phantoms import centred_affine, head_volume

SMALL = Preprocessing(size=64)


def cubes_of_both_ways(volume: Volume, monkeypatch: pytest.MonkeyPatch) -> tuple[Cube, Cube]:
    """Made plane by plane, and of a scan that was masked before."""
    planes = preprocess(volume, SMALL)
    monkeypatch.setattr(gray_levels, "DARK", -np.inf)
    return planes, preprocess(volume, SMALL)


@pytest.mark.parametrize("skull", [False, True])
@pytest.mark.parametrize(("offset", "voxel_mm"), [(0, 3.0), (-1024, 3.0), (300, 3.0), (0, 1.3)])
def test_both_ways_agree(
    voxel_mm: float, offset: int, *, skull: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, y, z = (round(mm / voxel_mm) for mm in (190, 230, 210))
    volume = head_volume((x, y, z), voxel_mm=voxel_mm, skull=skull, noise=2.0 * skull)
    array: Any = np.rint(volume.array * 4 + offset).astype(np.int16)

    planes, masked = cubes_of_both_ways(replace(volume, array=array), monkeypatch)

    np.testing.assert_array_equal(planes.affine, masked.affine)
    head, other = planes.array > 20, masked.array > 20  # only the masked one has a faded rim
    dice = 2 * (head & other).sum() / (head.sum() + other.sum())
    assert dice > 0.98, f"{dice:.4f}"
    off = np.abs(planes.array.astype(int) - masked.array)
    assert off.mean() < 1
    assert np.median(off[head & other]) == 0


@pytest.mark.parametrize("offset", [0, -1024])
def test_a_head_cut_by_the_field_of_view_fades_into_background(offset: int) -> None:
    """Beyond the border the background goes on, whatever its value."""
    whole = head_volume((60, 72, 64), skull=False)
    array: Any = np.rint(whole.array * 4 + offset).astype(np.int16)[:, :, 20:]
    affine = whole.affine.copy()
    affine[2, 3] += 20 * 3.0

    cube = preprocess(Volume(array, affine), SMALL)
    plain = preprocess(Volume((array - offset).astype(np.float32), affine), SMALL)

    np.testing.assert_array_equal(cube.bounds, plain.bounds)
    assert np.abs(cube.array.astype(int) - plain.array).max() <= 1


@pytest.mark.parametrize("shift", range(3))
def test_box_is_that_of_all_voxels(shift: int) -> None:
    """Voxels of 1.2 mm are sampled every other one, and the box still ends at the right one."""
    shape = (140, 172, 150)
    centre = (0.3, 0.1, 1.2 * shift - 0.4)
    volume = head_volume(shape, centred_affine(np.diag([1.2] * 3), shape, centre), noise=2.0)
    head = find_head(volume)
    assert head.blocks.strides == (2, 2, 2)

    box = head_box(head, volume, 180.0, parallel=True)

    expected = box_of_all_voxels(fine_mask(volume.array, head), volume)
    assert np.abs(box - expected).max() <= 1.2 + 1e-6


def box_of_all_voxels(mask: NDArray[np.bool_], volume: Volume) -> NDArray[np.float64]:
    planes = [np.flatnonzero(mask.sum(axis=(1, 2)) * 1.44 >= 100)]
    planes += [np.flatnonzero(mask.sum(axis=(0, 2)) * 1.44 >= 100)]
    planes += [np.flatnonzero(mask.sum(axis=(0, 1)) * 1.44 >= 100)]
    ends = np.array([(found[0] - 0.5, found[-1] + 0.5) for found in planes]).T
    return ends * 1.2 + volume.affine[:3, 3]


@pytest.mark.parametrize(("slope", "intercept"), [(1.0, 0.0), (0.37, 12.5), (2.0, -1024.0)])
def test_a_cube_of_stored_numbers_is_that_of_intensities(
    slope: float, intercept: float, tmp_path: Path
) -> None:
    volume = head_volume((60, 72, 64), noise=2.0)
    image = nib.Nifti1Image(np.rint(volume.array * 4).astype(np.int16), volume.affine)
    image.header.set_slope_inter(slope, intercept)
    nib.save(image, tmp_path / "scan.nii")

    source = open_scan(tmp_path / "scan.nii", limits=ReadLimits())
    stored = source.read(None, None, ReadLimits())
    cube, other = load_cube(tmp_path / "scan.nii", SMALL), preprocess(stored.scaled(), SMALL)

    assert stored.unscaled.array.dtype == np.int16
    np.testing.assert_allclose(cube.affine, other.affine)
    assert np.abs(cube.array.astype(int) - other.array).max() <= 1


@pytest.mark.parametrize(
    ("dtype", "slope", "intercept", "kept"),
    [
        ("<i2", 1.0, 0.0, True),
        (">u2", 0.01, -5.0, True),
        ("u1", 3.0, 0.0, True),
        ("<i2", -1.0, 0.0, False),
        ("<i2", 1.0, 1e9, False),
        ("<i2", 1e30, 0.0, False),
        ("<i4", 1.0, 0.0, False),
        ("<f4", 1.0, 0.0, False),
    ],
)
def test_which_numbers_are_kept(dtype: str, slope: float, intercept: float, *, kept: bool) -> None:
    assert keeps_whole_numbers(np.dtype(dtype), slope, intercept) == kept


def test_scaling_leaves_the_stored_numbers_alone() -> None:
    array: Any = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    stored = StoredVolume(Volume(array, np.eye(4)), 0.5, 3.0)
    np.testing.assert_array_equal(stored.scaled().array, array * 0.5 + 3)
    assert stored.scaled().array.dtype == np.float32
    np.testing.assert_array_equal(array.ravel(), np.arange(24))


def test_a_constant_scan_of_whole_numbers_names_its_intensity(tmp_path: Path) -> None:
    image = nib.Nifti1Image(np.full((60, 60, 60), 7, np.int16), np.diag([3.0, 3, 3, 1]))
    image.header.set_slope_inter(2.0, 1.0)
    nib.save(image, tmp_path / "scan.nii")
    with pytest.raises(InputError, match="every voxel is 15") as caught:
        load_cube(tmp_path / "scan.nii", SMALL)
    assert caught.value.code == "no-contrast"
