"""What intensities alone tell about the kind of an image: labels, CT, signed maps, its size."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from medblip.volumes.reference import block_average
from medblip.volumes.registration import SPACING_MM, foreground_threshold
from medblip.volumes.volume import Volume

SAMPLE = 1_000_000  # voxels looked at; the shares need no more
DARK = 0.5  # part of the head's threshold above which even a dim end of a head counts

Array = NDArray[np.float32]


def sample(array: NDArray[Any]) -> NDArray[Any]:
    """Voxels spread evenly over the array, ``(n,)``; always the same ones."""
    step = max(1, array.size // SAMPLE)
    # An odd step does not keep to the same few columns of a grid with even sides.
    return array.ravel()[:: step | 1]


def distinct_values(array: Array, enough: int) -> int:
    """Number of different values, counted up to ``enough``."""
    count = np.unique(sample(array)).size
    return int(count if count >= enough else np.unique(array).size)


def flat_share(array: Array) -> float:
    """Share of neighbouring foreground voxels with equal values, along the axis with the fewest.

    Background is the most frequent value.
    """
    values, counts = np.unique(sample(array), return_counts=True)
    background = values[np.argmax(counts)]
    step = max(1, round(np.sqrt(array.size / SAMPLE)))
    shares = []
    for axis in range(3):
        lines = np.moveaxis(array, axis, 2)[::step, ::step]
        here, there = lines[..., :-1], lines[..., 1:]
        both = (here != background) & (there != background)
        shares.append(float((here[both] == there[both]).mean()) if both.any() else 1.0)
    return min(shares)


def air_share(array: Array, hounsfield: tuple[float, float]) -> float:
    """Share of voxels in the Hounsfield range of air."""
    values = sample(array)
    return float(((values >= hounsfield[0]) & (values <= hounsfield[1])).mean())


def negative_share(array: Array, level: float) -> float:
    """Share of voxels below minus ``level`` times the 99th percentile of magnitudes."""
    values = sample(array)
    return float((values < -level * np.percentile(np.abs(values), 99.0)).mean())


def object_size_mm(volume: Volume) -> tuple[float, float, float]:
    """Edges of the box around what stands out from the background, along the voxel axes."""
    image, affine = block_average(volume.array, volume.affine, SPACING_MM)
    mask = image > DARK * foreground_threshold(image)
    voxel_mm = np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
    edges = []
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        area = mask.sum(axis=others)
        # A few stray bright voxels are not the object.
        along = np.flatnonzero(area > 0.02 * area.max())
        edges.append(float((along[-1] - along[0] + 1) * voxel_mm[axis]) if along.size else 0.0)
    return (edges[0], edges[1], edges[2])
