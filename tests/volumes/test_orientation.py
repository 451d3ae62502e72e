"""The order in which a scanner wrote its axes changes nothing that comes after ``to_ras``."""

from __future__ import annotations

import itertools
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medblip.volumes import Volume, preprocess, read_volume, to_ras
from phantoms import centred_affine, head_volume, reoriented, rotation

ORIENTATIONS = [
    (axes, flips)
    for axes in itertools.permutations(range(3))
    for flips in itertools.product((1, -1), repeat=3)
]
# Oblique and anisotropic, so that no axis can be taken for another.
AFFINE = centred_affine(rotation(6, -4, 9) @ np.diag([3.5, 3.25, 4.0]), (48, 64, 46))
HEAD = head_volume((48, 64, 46), AFFINE, noise=3)
CUBE = preprocess(HEAD)


@pytest.mark.parametrize(("axes", "flips"), ORIENTATIONS)
def test_all_48_orientations_give_the_same_volume_and_cube(
    axes: tuple[int, ...], flips: tuple[int, ...]
) -> None:
    stored = reoriented(HEAD, axes, flips)

    volume = to_ras(stored)

    np.testing.assert_array_equal(volume.array, HEAD.array)
    np.testing.assert_allclose(volume.affine, HEAD.affine, rtol=0, atol=1e-12)
    assert volume.axcodes == "RAS"
    cube = preprocess(stored)
    # The affines differ in the last bits, which may turn a rounding by one grey level.
    difference = np.abs(cube.array.astype(int) - CUBE.array)
    assert difference.max() <= 1
    assert np.count_nonzero(difference) <= 10
    np.testing.assert_allclose(cube.affine, CUBE.affine, rtol=0, atol=1e-9)
    assert cube.bounds == CUBE.bounds


@pytest.mark.parametrize(("axes", "flips"), ORIENTATIONS[::5])
def test_same_as_nibabels_canonical_image(
    axes: tuple[int, ...], flips: tuple[int, ...], tmp_path: Path
) -> None:
    stored = reoriented(HEAD, axes, flips)
    image = nib.Nifti1Image(stored.array, stored.affine)
    image.to_filename(tmp_path / "scan.nii")

    volume = to_ras(read_volume(tmp_path / "scan.nii"))

    canonical = nib.as_closest_canonical(nib.load(tmp_path / "scan.nii"))
    np.testing.assert_array_equal(volume.array, canonical.get_fdata(dtype=np.float32))
    np.testing.assert_allclose(volume.affine, canonical.affine, rtol=0, atol=1e-9)


def test_every_voxel_keeps_its_place_in_the_world() -> None:
    """A single bright voxel is found at the same millimetres before and after."""
    array = np.zeros((5, 6, 7), dtype=np.float32)
    array[1, 4, 2] = 1
    affine = centred_affine(rotation(100, 20, -70) @ np.diag([2.0, 3.0, 4.0]), array.shape)
    ras = to_ras(Volume(array, affine))

    found = np.argwhere(ras.array)[0]

    assert ras.array.shape != array.shape
    expected = affine @ [1, 4, 2, 1]
    np.testing.assert_allclose(ras.affine @ [*found, 1], expected, rtol=0, atol=1e-12)


def test_no_voxel_is_copied() -> None:
    assert np.shares_memory(to_ras(HEAD).array, HEAD.array)
