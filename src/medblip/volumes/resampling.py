"""Linear resampling along the axes of a scan, with smoothing where the new grid is coarser.

Grids whose axes are parallel need one small matrix per axis; for others these smooth, and
``affine_sampling`` interpolates. Both give the same values. Voxels outside the array count as 0.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medblip.volumes.grids import Grid, axis_weights, smoothing_weights
from medblip.volumes.memory_layout import Layout

Floats = NDArray[np.float32]

_BAND, _SLOW_BAND = 16, 8  # rows of weights that are applied together


def resample_parallel(array: NDArray[Any], grid: Grid) -> Floats:
    """One small matrix per axis; exact for parallel grids."""
    weights = [axis_weights(grid, axis, array.shape[axis]) for axis in range(3)]
    return _whole(array, weights)


def smoothed_for(array: NDArray[Any], grid: Grid) -> Floats:
    """The source as smooth as the grid is coarse, along the source's own axes."""
    steps = grid.steps()
    if max(steps) <= 1:
        return np.asarray(array, dtype=np.float32)
    sizes = zip(array.shape, steps, strict=True)
    return _whole(array, [smoothing_weights(count, step) for count, step in sizes])


def resampled_planes(
    array: NDArray[Any], weights: Sequence[Floats]
) -> Iterator[tuple[int, int, Floats]]:
    """Weights applied along all three axes; the result is handed out one plane at a time.

    Goes from the slowest axis in memory to the fastest, so that whole numbers are read once and
    what follows fits into the processor's cache.

    Args:
        array: ``(i, j, k)`` of any real type.
        weights: for each axis, float32 ``(new, old)``.

    Yields:
        The axis across the plane, never the third one; the plane's index along it; and the plane,
        float32, its axes in order. It is overwritten by the next one.
    """
    layout = Layout.of(array)
    slow, middle, fast = layout.order
    turned = [weights[axis][:, :: -1 if layout.flips[axis] else 1] for axis in layout.order]
    stored = layout.stored(array)
    if slow == 2:
        yield from _across_middle(stored, turned, middle)
    elif fast == 2:  # the third axis goes first in a plane, so that it comes to lie fastest
        yield from _across_slowest(stored, [turned[0], turned[2], turned[1]], slow, turn=True)
    else:
        yield from _across_slowest(stored, turned, slow, turn=False)


def _whole(array: NDArray[Any], weights: Sequence[Floats]) -> Floats:
    x, y, z = (len(matrix) for matrix in weights)
    values = np.empty((x, y, z), dtype=np.float32)
    for axis, index, plane in resampled_planes(array, weights):
        values[(slice(None),) * axis + (index,)] = plane
    return values


def _across_slowest(
    stored: NDArray[Any], weights: list[Floats], axis: int, *, turn: bool
) -> Iterator[tuple[int, int, Floats]]:
    """Few planes along the slowest axis at a time, then within each of them."""
    third, other = (_bands(matrix, _BAND) for matrix in weights[1:])
    reduced = np.empty((len(weights[1]), weights[2].shape[1]), np.float32)
    plane = np.empty((len(weights[2]), len(weights[1])), np.float32)
    for band in _bands(weights[0], _SLOW_BAND):
        planes = _applied(band, stored)
        for index, values in enumerate(planes, start=band.rows.start):
            _multiply(third, values.T if turn else values, reduced)
            _multiply(other, reduced.T, plane)
            yield axis, index, plane


def _across_middle(
    stored: NDArray[Any], weights: list[Floats], axis: int
) -> Iterator[tuple[int, int, Floats]]:
    """The slowest axis, which is to lie fastest, is put aside until the end."""
    rows, columns = _bands(weights[1], _BAND), _bands(weights[2], _BAND)
    shape = (len(weights[0]), len(weights[1]), stored.shape[2])
    halfway = np.empty(shape, dtype=np.float32)
    for band in _bands(weights[0], _SLOW_BAND):
        _multiply(rows, _applied(band, stored), halfway[band.rows])
    plane = np.empty((len(weights[2]), len(halfway)), dtype=np.float32)
    for index in range(shape[1]):
        _multiply(columns, halfway[:, index].T, plane)
        yield axis, index, plane


@dataclass(frozen=True, slots=True)
class Band:
    """Rows of weights, cut to the columns where one of them is not 0."""

    rows: slice
    columns: slice
    weights: Floats


def _bands(weights: Floats, height: int) -> list[Band]:
    """Few rows at a time: nearly all of a matrix that interpolates is zeros."""
    bands = []
    for start in range(0, len(weights), height):
        part = weights[start : start + height]
        used = np.flatnonzero(part.any(axis=0))
        first, last = (int(used[0]), int(used[-1]) + 1) if used.size else (0, 0)
        columns = np.ascontiguousarray(part[:, first:last])
        bands.append(Band(slice(start, start + len(part)), slice(first, last), columns))
    return bands


def _applied(band: Band, stored: NDArray[Any]) -> Floats:
    """A band of weights along the first axis of ``(i, j, k)`` of any real type."""
    part = stored[band.columns].astype(np.float32)
    _, rows, columns = part.shape
    values = band.weights @ part.reshape(len(part), rows * columns)
    return values.reshape(len(values), rows, columns)


def _multiply(bands: list[Band], values: Floats, out: Floats) -> None:
    """``out = weights @ values`` over the last two axes."""
    for band in bands:
        np.matmul(band.weights, values[..., band.columns, :], out=out[..., band.rows, :])
