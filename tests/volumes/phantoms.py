"""A head drawn by formulas in world millimetres, so that any grid can sample it exactly."""

from __future__ import annotations

from collections.abc import Sequence

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from medblip.volumes import Volume

MARKER = (36.0, 22.0, 12.0)  # a bright ball on the patient's right, in mm
EDGE_MM = 2.0  # every border is a ramp this wide, as partial volume makes it


def _ellipsoid(
    points: NDArray[np.float64], centre: Sequence[float], radii: Sequence[float]
) -> NDArray[np.float64]:
    """1 inside, 0 outside, a ramp between; ``points`` is ``(..., 3)``."""
    radius = np.sqrt((((points - centre) / np.asarray(radii)) ** 2).sum(axis=-1))
    return _ramp((radius - 1) * min(radii))


def _ramp(distance_mm: NDArray[np.float64]) -> NDArray[np.float64]:
    """From 1 to 0 while the signed distance goes from -EDGE_MM / 2 to EDGE_MM / 2."""
    return np.clip(0.5 - distance_mm / EDGE_MM, 0, 1)


def head_intensity(
    points: NDArray[np.float64], *, skull: bool = True, neck: bool = True
) -> NDArray[np.float64]:
    """Intensity at world points ``(..., 3)``: air 0, brain 100, ventricles 30, marker 140."""
    values = np.zeros(points.shape[:-1])

    def paint(shape: NDArray[np.float64], intensity: float) -> None:
        values[...] = values * (1 - shape) + intensity * shape

    if skull:
        if neck:
            column = _ellipsoid(points * [1, 1, 0], (0, -15, 0), (48, 48, 1e6))
            paint(column * _ramp(points[..., 2] + 50), 120)
        paint(_ellipsoid(points, (0, 98, -30), (12, 16, 18)), 130)
        paint(_ellipsoid(points, (0, 0, 0), (78, 96, 76)), 160)
        paint(_ellipsoid(points, (0, 0, 0), (72, 90, 70)), 20)
    paint(_ellipsoid(points, (0, 0, 0), (68, 84, 64)), 30)
    paint(_ellipsoid(points, (0, 0, 0), (64, 80, 60)), 100)
    for side in (-1, 1):
        paint(_ellipsoid(points, (side * 13, 0, 4), (8, 26, 12)), 30)
    paint(_ellipsoid(points, MARKER, (13, 13, 13)), 140)
    return values


def head_volume(
    shape: tuple[int, int, int] = (60, 72, 64),
    affine: NDArray[np.float64] | None = None,
    *,
    voxel_mm: float = 3.0,
    skull: bool = True,
    neck: bool = True,
    noise: float = 0.0,
    seed: int = 0,
) -> Volume:
    """The head on a grid; ``noise`` is the Rician sigma. Without an affine: RAS, centred."""
    if affine is None:
        affine = centred_affine(np.diag([voxel_mm] * 3), shape)
    index = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), axis=-1)
    values = head_intensity(index @ affine[:3, :3].T + affine[:3, 3], skull=skull, neck=neck)
    if noise:
        generator = np.random.default_rng(seed)
        real, imaginary = generator.normal(0, noise, (2, *shape))
        values = np.hypot(values + real, imaginary)
    return Volume(values.astype(np.float32), affine, "phantom.nii.gz")


def centred_affine(
    matrix: NDArray[np.float64],
    shape: Sequence[int],
    centre: Sequence[float] = (0.0, 0.0, 0.0),
) -> NDArray[np.float64]:
    """Voxel -> mm with this 3x3 part and the grid's middle at ``centre``."""
    affine = np.eye(4)
    affine[:3, :3] = matrix
    affine[:3, 3] = np.asarray(centre) - matrix @ ((np.asarray(shape) - 1) / 2)
    return affine


def rotation(x: float, y: float, z: float) -> NDArray[np.float64]:
    """Rotation by angles in degrees about x, then y, then z."""
    return nib.eulerangles.euler2mat(*np.deg2rad([z, y, x]))


def reoriented(volume: Volume, axes: Sequence[int], flips: Sequence[int]) -> Volume:
    """The same scan stored with its axes permuted and some of them reversed."""
    array = volume.array.transpose(axes)
    affine = volume.affine.copy()
    affine[:3, :3] = affine[:3, list(axes)]
    for axis, flip in enumerate(flips):
        if flip < 0:
            array = np.flip(array, axis)
            affine[:3, 3] += affine[:3, axis] * (array.shape[axis] - 1)
            affine[:3, axis] *= -1
    return Volume(array, affine, volume.source)
