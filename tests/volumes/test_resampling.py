"""Resampling against nibabel's and scipy's, along both of its paths."""

from __future__ import annotations

import nibabel as nib
import nibabel.processing
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from medblip.volumes.affine_sampling import interpolated_planes
from medblip.volumes.grids import Grid
from medblip.volumes.resampling import resample_parallel, smoothed_for
from phantoms import centred_affine, rotation

Floats = NDArray[np.float32]
SHAPE = (14, 17, 12)
# A rim of zeros, so that the rules for the outermost half voxel, which differ, do not matter.
ARRAY = np.zeros(SHAPE, dtype=np.float32)
ARRAY[2:-2, 2:-2, 2:-2] = np.random.default_rng(1).uniform(0, 255, (10, 13, 8))


def resample(array: Floats, grid: Grid) -> Floats:
    return resample_parallel(array, grid) if grid.is_parallel() else resample_oblique(array, grid)


def resample_oblique(array: Floats, grid: Grid) -> Floats:
    values = np.zeros(grid.shape, dtype=np.float32)
    whole = (slice(0, grid.shape[1]), slice(0, grid.shape[2]))
    smooth = smoothed_for(array, grid)
    for index, span, plane in interpolated_planes(smooth, grid, [whole] * grid.shape[0]):
        values[index][span] = plane
    return values


angles = st.floats(-40, 40)
edges = st.floats(0.6, 4.0)


@given(
    angles=st.tuples(angles, angles, angles),
    edges=st.tuples(edges, edges, edges),
    shear=st.floats(-0.4, 0.4),
)
@settings(max_examples=40, deadline=None)
def test_fine_grids_equal_nibabel_for_any_affine(
    angles: tuple[float, float, float], edges: tuple[float, float, float], shear: float
) -> None:
    sheared = np.eye(3)
    sheared[0, 2] = shear
    source = centred_affine(rotation(*angles) @ sheared @ np.diag(edges), SHAPE)
    # No coarser than the source along any of its axes, so that nothing is smoothed.
    voxel = 0.99 / np.linalg.norm(np.linalg.inv(source[:3, :3]), axis=1).max()
    target = centred_affine(np.diag([voxel] * 3), (20, 20, 20), centre=(1.5, -2, 0.5))
    grid = Grid(np.linalg.inv(source) @ target, (0, 0, 0), (20, 20, 20))

    values = resample(ARRAY, grid)

    expected = nib.processing.resample_from_to(
        nib.Nifti1Image(ARRAY, source), ((20, 20, 20), target), order=1
    ).get_fdata()
    # A grid that counts as parallel may miss by 0.05 voxel; all others are exact to rounding.
    tolerance = 0.05 * 255 if grid.is_parallel() else 255 * 1e-5
    np.testing.assert_allclose(values, expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("step", [0.4, 1.0, 1.3, 1.8, 3.1])
def test_both_paths_agree_on_parallel_grids(step: float) -> None:
    to_source = np.diag([step, 0.8 * step, 1.1, 1.0])
    to_source[:3, 3] = [-1.3, 0.4, -2.0]
    grid = Grid(to_source, (1, 0, 2), (12, 15, 11))
    assert grid.is_parallel()

    parallel, oblique = resample_parallel(ARRAY, grid), resample_oblique(ARRAY, grid)

    np.testing.assert_allclose(parallel, oblique, rtol=0, atol=255 * 1e-5)


@pytest.mark.parametrize("turn", [0, 8])
def test_cutting_the_source_to_its_box_changes_nothing(turn: float) -> None:
    to_source = centred_affine(rotation(turn, 0, turn) * 1.4, (9, 9, 9), centre=(6.5, 8, 5.5))
    grid = Grid(to_source, (2, 1, 3), (4, 5, 3))
    box = grid.source_box(SHAPE)

    whole, cut = resample(ARRAY, grid), resample(ARRAY[box], grid.within(box))

    assert ARRAY[box].size < ARRAY.size
    np.testing.assert_allclose(cut, whole, rtol=0, atol=255 * 1e-5)


def test_coarse_grids_average_and_do_not_alias() -> None:
    """Stripes of one voxel become grey, where plain linear interpolation keeps black or white."""
    stripes = np.zeros((40, 20, 20), dtype=np.float32)
    stripes[::2] = 100
    grid = Grid(np.diag([2.0, 2.0, 2.0, 1.0]), (4, 2, 2), (12, 6, 6))

    values = resample(stripes, grid)

    assert np.abs(values - 50).max() < 10
    assert np.abs(stripes[8:32:2, 4:16:2, 4:16:2] - 50).min() == 50


def test_a_constant_stays_constant_inside() -> None:
    grid = Grid(np.diag([1.7, 1.7, 1.7, 1.0]), (4, 4, 4), (10, 10, 10))

    values = resample(np.full((40, 40, 40), 7, dtype=np.float32), grid)

    np.testing.assert_allclose(values, 7, rtol=1e-6)


def test_voxels_outside_are_zero() -> None:
    grid = Grid(np.eye(4), (-30, 0, 0), (10, 5, 5))

    assert not resample(np.ones((8, 8, 8), dtype=np.float32), grid).any()
