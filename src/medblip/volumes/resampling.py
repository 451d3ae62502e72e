"""Linear resampling onto a new grid by the full affine, with smoothing where the grid is coarser.

Two paths give the same values: grids whose axes are parallel need one small matrix per axis, the
others one interpolation in 3D. Voxels outside the array count as 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, exp, sqrt

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, sparse

from medblip.volumes.memory_layout import Layout

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

    def steps(self) -> tuple[float, float, float]:
        """Source voxels per target voxel along each source axis."""
        x, y, z = np.sqrt((self.to_source[:3, :3] ** 2).sum(axis=1))
        return (float(x), float(y), float(z))

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


def resample(array: Floats, grid: Grid) -> Floats:
    """Values of ``array`` ``(i, j, k)`` at the grid's voxels, float32 of the grid's shape."""
    return resample_parallel(array, grid) if grid.is_parallel() else resample_oblique(array, grid)


def resample_parallel(array: Floats, grid: Grid) -> Floats:
    """One sparse matrix per axis; exact for parallel grids."""
    values = array
    for axis in range(3):
        scale, offset = grid.to_source[axis, axis], grid.to_source[axis, 3]
        positions = scale * (grid.start[axis] + np.arange(grid.shape[axis])) + offset
        weights = _linear_weights(positions, array.shape[axis])
        weights = weights @ _smoothing_weights(array.shape[axis], grid.steps()[axis])
        values = _along(values, weights, axis)
    return values


def resample_oblique(array: Floats, grid: Grid) -> Floats:
    """Smooth along the source's axes, then interpolate in 3D; for any affine, sheared too."""
    smooth = array
    for axis, step in enumerate(grid.steps()):
        kernel = _kernel(step)
        if kernel.size > 1:
            smooth = ndimage.correlate1d(smooth, kernel, axis=axis, mode="constant", cval=0.0)
    matrix = grid.to_source[:3, :3]
    values: Floats = ndimage.affine_transform(
        smooth,
        matrix,
        offset=matrix @ np.asarray(grid.start) + grid.to_source[:3, 3],
        output_shape=grid.shape,
        order=1,
        mode="grid-constant",
        cval=0.0,
    )
    return values


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


def _smoothing_weights(count: int, step: float) -> sparse.csr_array:
    kernel = _kernel(step)
    offsets = np.arange(kernel.size) - kernel.size // 2
    rows = np.repeat(np.arange(count), kernel.size)
    columns = rows + np.tile(offsets, count)
    return _within(rows, columns, np.tile(kernel, count), (count, count))


def _linear_weights(positions: Matrix, count: int) -> sparse.csr_array:
    """Rows of weights that interpolate ``count`` samples at fractional positions, 0 outside."""
    below = np.floor(positions).astype(int)
    fraction = positions - below
    rows = np.tile(np.arange(positions.size), 2)
    columns = np.concatenate([below, below + 1])
    values = np.concatenate([1 - fraction, fraction]).astype(np.float32)
    return _within(rows, columns, values, (positions.size, count))


def _within(
    rows: NDArray[np.int_], columns: NDArray[np.int_], values: Floats, shape: tuple[int, int]
) -> sparse.csr_array:
    """A sparse matrix of the entries whose column exists; the others would weigh zeros."""
    inside = (columns >= 0) & (columns < shape[1])
    return sparse.csr_array((values[inside], (rows[inside], columns[inside])), shape=shape)


def _along(values: Floats, weights: sparse.csr_array, axis: int) -> Floats:
    """Apply ``(new, old)`` weights along one axis, in the order in which the values lie in memory.

    Which order that is does not change a bit of the result: each value is the same sum.
    """
    layout = Layout.of(values)
    stored = layout.stored(values)
    if layout.flips[axis]:
        weights = _mirrored(weights)
    place = layout.order.index(axis)
    if place == 0:
        flat = np.ascontiguousarray(stored).reshape(stored.shape[0], -1)
        result = np.asarray(weights @ flat).reshape(weights.shape[0], *stored.shape[1:])
    else:
        # Within a plane of the slowest axis; where the axis is the fastest, it becomes the middle.
        planes = stored if place == 1 else stored.transpose(0, 2, 1)
        result = np.empty((len(planes), weights.shape[0], planes.shape[2]), dtype=np.float32)
        for target, plane in zip(result, planes, strict=True):
            target[...] = weights @ np.ascontiguousarray(plane)
        result = result if place == 1 else result.transpose(0, 2, 1)
    kept = tuple(flip and other != axis for other, flip in enumerate(layout.flips))
    return Layout(layout.order, kept).restored(result)


def _mirrored(weights: sparse.csr_array) -> sparse.csr_array:
    """The weights for values in reverse order, added up in the same sequence as before."""
    columns = weights.shape[1] - 1 - weights.indices
    return sparse.csr_array((weights.data, columns, weights.indptr), shape=weights.shape)
