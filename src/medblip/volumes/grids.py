"""Where the voxels of a new grid lie in a source, and what they are made of along each axis."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, exp, sqrt

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Matrix = NDArray[np.float64]

# A grid counts as parallel if no voxel moves by more than this, in voxels of the source.
PARALLEL_TOLERANCE = 0.05


@dataclass(frozen=True)
class Grid:
    """A block of target voxels.

    Attributes:
        to_source: float64 ``(4, 4)``, target voxel index to source voxel index.
        start, shape: first target index and number of indices along each axis.
    """

    to_source: Matrix
    start: tuple[int, int, int]
    shape: tuple[int, int, int]

    def is_parallel(self) -> bool:
        """Whether each target axis runs along the source axis of the same number."""
        off_diagonal = self.to_source[:3, :3] - np.diag(np.diag(self.to_source[:3, :3]))
        return bool((np.abs(off_diagonal) @ np.asarray(self.shape) < PARALLEL_TOLERANCE).all())

    def positions(self, axis: int) -> Matrix:
        """Source index of each target index along one axis of a parallel grid."""
        indices = self.start[axis] + np.arange(self.shape[axis])
        positions: Matrix = self.to_source[axis, axis] * indices + self.to_source[axis, 3]
        return positions

    def steps(self) -> tuple[float, float, float]:
        """Source voxels per target voxel along each source axis."""
        x, y, z = np.sqrt((self.to_source[:3, :3] ** 2).sum(axis=1))
        return (float(x), float(y), float(z))

    def quieting(self) -> float:
        """Part of voxelwise noise that the smoothing leaves; 1 where nothing is smoothed."""
        kept = [float(np.sqrt((_kernel(step) ** 2).sum())) for step in self.steps()]
        return kept[0] * kept[1] * kept[2]

    def source_box(self, shape: tuple[int, ...]) -> tuple[slice, slice, slice]:
        """The part of a source of this shape that the block's values depend on."""
        last = np.asarray(self.start) + np.asarray(self.shape) - 1
        corners = np.stack(np.meshgrid(*zip(self.start, last, strict=True), indexing="ij"))
        mapped = self.to_source[:3, :3] @ corners.reshape(3, -1) + self.to_source[:3, 3:]
        reach = np.array([_radius(step) + 1 for step in self.steps()])
        low = np.clip(np.floor(mapped.min(axis=1)) - reach, 0, np.asarray(shape) - 1)
        high = np.clip(np.ceil(mapped.max(axis=1)) + reach + 1, low + 1, shape)
        x, y, z = (slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
        return (x, y, z)

    def within(self, box: tuple[slice, slice, slice]) -> Grid:
        """The same block, for a source cut down to ``box``."""
        moved = self.to_source.copy()
        moved[:3, 3] -= [part.start for part in box]
        return Grid(moved, self.start, self.shape)


def axis_weights(grid: Grid, axis: int, count: int) -> Floats:
    """Weights ``(new, old)`` of a source's voxels along one axis: smoothed, then interpolated.

    Voxels outside the source weigh nothing, so that a row sums to 1 only where none is reached.
    """
    positions = grid.positions(axis)
    kernel = _kernel(grid.steps()[axis])
    reach = kernel.size // 2
    below = np.floor(positions).astype(np.intp)
    fraction = positions - below
    rows = np.arange(positions.size)
    weights = np.zeros((positions.size, count + 2 * reach), dtype=np.float32)
    for voxel, share in ((below, 1 - fraction), (below + 1, fraction)):
        inside = (voxel >= 0) & (voxel < count)
        for place, weight in enumerate(kernel):
            columns = voxel[inside] + place
            weights[rows[inside], columns] += (share[inside] * weight).astype(np.float32)
    return weights[:, reach : reach + count]


def smoothing_weights(count: int, step: float) -> Floats:
    """Weights ``(count, count)`` that smooth along one axis."""
    kernel = _kernel(step)
    reach = kernel.size // 2
    weights = np.zeros((count, count + 2 * reach), dtype=np.float32)
    for place, weight in enumerate(kernel):
        np.fill_diagonal(weights[:, place:], weight)
    return weights[:, reach : reach + count]


def _radius(step: float) -> int:
    return ceil(3 * _sigma(step)) if step > 1 else 0


def _sigma(step: float) -> float:
    """Width of the smoothing in source voxels.

    Linear interpolation smooths like a triangle of half-width 1 (variance 1/6); together with a
    Gaussian of this width it reaches the variance of a triangle as wide as the target's voxel.
    """
    return sqrt((step**2 - 1) / 6)


def _kernel(step: float) -> NDArray[np.float32]:
    radius = _radius(step)
    if radius == 0:
        return np.ones(1, dtype=np.float32)
    sigma = _sigma(step)
    values = np.array([exp(-0.5 * (i / sigma) ** 2) for i in range(-radius, radius + 1)])
    return (values / values.sum()).astype(np.float32)
