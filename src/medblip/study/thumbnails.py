"""A scan in a few kilobytes: enough to know it again, to see that it is odd, and to show it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BLOCKS = 12  # along each edge
BINS = 32
PLANE = 32  # pixels along each edge of a picture


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """What the audit keeps of a cube.

    Attributes:
        blocks: float16 ``(side ** 3,)``, side at most 12: means of blocks of a frame whose middle
            is the head's centre of mass, so that a shifted copy has the same ones. x runs slowest.
        histogram: float32 ``(32,)``: shares of the head's voxels by intensity, 1 to 255.
        planes: uint8 ``(3, 32, 32)``, axial, coronal and sagittal through the centre of mass, as
            pictures ``(row, column)`` with the top up and the subject's right on the left.
        head_mm: float32 ``(3,)``: extent of the head along x, y, z; NaN if the scale is unknown.
    """

    blocks: NDArray[np.float16]  # half of float32's memory; block means need no more digits
    histogram: NDArray[np.float32]
    planes: NDArray[np.uint8]
    head_mm: NDArray[np.float32]


def thumbnail(array: NDArray[np.uint8], voxel_mm: float = float("nan")) -> Thumbnail:
    """Sum up a cube.

    Args:
        array: uint8 ``(x, y, z)``, RAS+, background 0.
        voxel_mm: edge of one voxel.
    """
    small = array.astype(np.float32)
    profiles = [small.sum(axis=_others(axis), dtype=np.float64) for axis in range(3)]
    centre = [_centre(profile) for profile in profiles]
    extent = [_extent(profile) * voxel_mm for profile in profiles]
    for axis, length in enumerate(array.shape):
        weights = _block_weights(length, min(BLOCKS, length), centre[axis] - length / 2)
        small = np.moveaxis(np.tensordot(weights, small, (1, axis)), 0, axis)
    return Thumbnail(
        blocks=small.ravel().astype(np.float16),
        histogram=_histogram(array),
        planes=_planes(array, centre),
        head_mm=np.array(extent, np.float32),
    )


def _others(axis: int) -> tuple[int, int]:
    first, second = (other for other in range(3) if other != axis)
    return (first, second)


def _centre(profile: NDArray[np.float64]) -> float:
    """Centre of mass in voxels from the array's edge; the middle if there is no mass."""
    mass = float(profile.sum())
    middles = np.arange(len(profile)) + 0.5
    return float(profile @ middles) / mass if mass else len(profile) / 2


def _extent(profile: NDArray[np.float64]) -> float:
    inside = np.flatnonzero(profile)
    return float(inside[-1] - inside[0] + 1) if inside.size else 0.0


def _block_weights(length: int, blocks: int, shift: float) -> NDArray[np.float32]:
    """Averages of ``length`` voxels over equal stretches moved by ``shift``: ``(blocks, length)``.

    A voxel that two stretches share counts for each by its part; beyond the array all is 0.
    """
    edges = np.linspace(0, length, blocks + 1)[:, None] + shift
    voxels = np.arange(length)
    low, high = np.maximum(edges[:-1], voxels), np.minimum(edges[1:], voxels + 1)
    overlap = np.clip(high - low, 0, None) * (blocks / length)
    weights: NDArray[np.float32] = overlap.astype(np.float32)
    return weights


def _histogram(array: NDArray[np.uint8]) -> NDArray[np.float32]:
    counts = np.bincount(array.ravel(), minlength=256)
    counts[0] = 0
    shares = counts.reshape(BINS, -1).sum(axis=1) / max(int(counts.sum()), 1)
    result: NDArray[np.float32] = shares.astype(np.float32)
    return result


def _planes(array: NDArray[np.uint8], centre: list[float]) -> NDArray[np.uint8]:
    x, y, z = (min(int(c), n - 1) for c, n in zip(centre, array.shape, strict=True))
    pictures = (array[::-1, ::-1, z].T, array[::-1, y, ::-1].T, array[x, ::-1, ::-1].T)
    return np.stack([_resized(picture) for picture in pictures])


def _resized(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    rows, columns = (_block_weights(n, PLANE, 0.0) for n in picture.shape)
    scaled = rows @ picture.astype(np.float32) @ columns.T
    result: NDArray[np.uint8] = np.clip(scaled.round(), 0, 255).astype(np.uint8)
    return result
