"""Intensities as gray levels, 1 to 255 within the head and 0 around it.

Where the voxel axes run along the world's and the background is dark, the scan is resampled as it
is and the head's mask is asked at the cube's voxels. Elsewhere the scan is masked before: a
background amid the tissue's intensities must not shine into the head's rim.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medblip.volumes.affine_sampling import Span, interpolated_planes
from medblip.volumes.grids import Grid, axis_weights
from medblip.volumes.head_mask import Head, fine_mask
from medblip.volumes.memory_layout import Layout
from medblip.volumes.resampling import resample_parallel, resampled_planes, smoothed_for

Floats = NDArray[np.float32]
Part = tuple[slice, slice, slice]

HIGHEST = 255.0
LEAST_EDGE = 0.5  # of the edge that holds for voxels that are not smoothed
DARK = 0.1  # a background below this part of the head's range is dark


@dataclass(frozen=True, slots=True)
class Window:
    """Departures from the background that become 1 and 255."""

    low: float
    high: float

    @property
    def factor(self) -> float:
        """Gray levels per unit of intensity."""
        return (HIGHEST - 1) / (self.high - self.low)

    @property
    def dark_background(self) -> bool:
        return -self.low < DARK * (self.high - self.low)


def fill_gray_levels(
    target: NDArray[np.uint8], array: NDArray[Any], grid: Grid, head: Head, window: Window
) -> None:
    """Fill a block of the cube.

    Args:
        target: uint8 of the grid's shape, all 0.
        array: the volume ``(x, y, z)`` in RAS order, of any real type.
        grid: of the block.
        head: what was found in the volume.
        window: its range of intensities.
    """
    part = grid.source_box(array.shape)
    if grid.is_parallel() and window.dark_background:
        _fill_planes(target, array, part, grid, head, window)
        return
    masked, within = _masked(array, part, head, window), grid.within(part)
    if grid.is_parallel():
        target[...] = np.rint(resample_parallel(masked, within))
        return
    smooth = smoothed_for(masked, within)
    for index, span, plane in interpolated_planes(smooth, within, _spans(grid, head)):
        target[index][span] = np.rint(plane)


def _masked(array: NDArray[Any], part: Part, head: Head, window: Window) -> Floats:
    """The part's head scaled to 1 to 255, its background exactly 0."""
    mask = fine_mask(array, head)[part]
    array = array[part]
    layout = Layout.of(array)
    stored, inside = layout.stored(array), layout.stored(mask)
    scaled = np.empty(stored.shape, dtype=np.float32)
    for plane, source, within in zip(scaled, stored, inside, strict=True):
        np.subtract(source, np.float32(head.background + window.low), out=plane)
        plane *= np.float32(window.factor)
        plane += 1
        np.clip(plane, 1, HIGHEST, out=plane)
        plane *= within
    return layout.restored(scaled)


def _spans(grid: Grid, head: Head) -> list[Span]:
    """For each plane across x, the rectangle beyond which no voxel of the grid is head."""
    sizes = np.array(head.blocks.sizes)
    voxels = np.argwhere(head.near) * sizes + (sizes - 1) / 2
    to_target = np.linalg.inv(grid.to_source)
    centres = voxels @ to_target[:3, :3].T + to_target[:3, 3] - grid.start
    # From a block's centre to its corner, and to the voxels that smoothing reaches from there.
    reach = np.abs(to_target[:3, :3]) @ (sizes / 2 + 3 * np.maximum(grid.steps(), 1)) + 1
    wide = int(np.ceil(reach[0]))
    planes = np.rint(centres[:, 0]).astype(np.intp) + wide
    near = (planes >= 0) & (planes < grid.shape[0] + 2 * wide)
    planes, centres = planes[near], centres[near]
    spans = []
    for axis in (1, 2):
        ends = []
        for sign in (-1, 1):  # the largest of y and of -y within reach of each plane
            most = np.full(grid.shape[0] + 2 * wide, -np.inf)
            np.maximum.at(most, planes, sign * centres[:, axis])
            most = ndimage.maximum_filter1d(most, 2 * wide + 1)[wide:-wide] + reach[axis]
            ends.append(np.clip(sign * most, 0, grid.shape[axis]))
        low, high = np.floor(ends[0]).astype(int), np.ceil(ends[1]).astype(int)
        spans.append([slice(int(a), int(b)) for a, b in zip(low, high, strict=True)])
    return list(zip(*spans, strict=True))


def _fill_planes(
    target: NDArray[np.uint8],
    array: NDArray[Any],
    part: Part,
    grid: Grid,
    head: Head,
    window: Window,
) -> None:
    """Plane by plane while it is in the processor's cache.

    ``plane`` holds intensities times the factor, resampled as if they were 0 outside the scan;
    ``missing`` is what they lack there, where the background goes on.
    """
    factor = window.factor
    edge = head.edge * max(grid.quieting(), LEAST_EDGE)  # as the noise is smoothed, too
    limits, blocks = _limits(head, edge * factor), _blocks_at(grid, array.shape, head)
    cut, within = array[part], grid.within(part)
    background = np.float32(head.background * factor)
    lowest = background + np.float32(window.low * factor)
    highest = lowest + np.float32(HIGHEST - 1)
    offset = np.float32(1.5) - lowest  # 1, and a half to round what is cut off
    block, limit = -1, limits[0]
    inside, levels = np.empty((0, 0), np.bool_), np.empty((0, 0), np.uint8)
    matrices = [axis_weights(within, axis, cut.shape[axis]) for axis in range(3)]
    lacking = _Lacking.of(matrices)
    matrices[0] = matrices[0] * np.float32(factor)
    for axis, index, plane in resampled_planes(cut, matrices):
        if blocks[axis][index] != block:
            first, second = (other for other in range(3) if other != axis)
            block = blocks[axis][index]
            rows = limits[(slice(None),) * axis + (block,)].take(blocks[second], axis=1)
            limit = rows.take(blocks[first], axis=0) + background
        if background and (missing := lacking.plane(axis, index)) is not None:
            plane += missing * background
        into = target[(slice(None),) * axis + (index,)]
        if inside.shape != plane.shape:  # once: a fresh array for each plane takes far longer
            inside, levels = np.empty(plane.shape, np.bool_), np.empty(plane.shape, np.uint8)
        np.greater(plane, limit, out=inside)
        np.clip(plane, lowest, highest, out=plane)
        np.add(plane, offset, out=plane)
        levels[...] = plane
        np.multiply(levels, inside, out=into)


@dataclass(frozen=True, slots=True)
class _Lacking:
    """What the weights of a grid's voxels lack of 1, at and beyond the border of the scan.

    Attributes:
        sums: of the weights along each axis.
        whole: which of the axes reach no border.
    """

    sums: list[Floats]
    whole: list[bool]

    @classmethod
    def of(cls, weights: Sequence[Floats]) -> Self:
        sums = [matrix.sum(axis=1) for matrix in weights]
        return cls(sums, [bool(np.allclose(own, 1, rtol=0, atol=1e-6)) for own in sums])

    def plane(self, axis: int, index: int) -> Floats | None:
        """Of one plane across an axis; None where nothing is lacking."""
        first, second = (other for other in range(3) if other != axis)
        across = self.sums[axis][index]
        if self.whole[first] and self.whole[second] and abs(across - 1) < 1e-6:
            return None
        lacking: Floats = 1 - np.multiply.outer(self.sums[first] * across, self.sums[second])
        return lacking


def _limits(head: Head, edge: float) -> Floats:
    """Gray levels that a voxel must be above the background to be head.

    For each block and a rim around them all; none is needed inside.
    """
    limits = np.full([n + 2 for n in head.near.shape], np.inf, dtype=np.float32)
    own = limits[1:-1, 1:-1, 1:-1]
    own[head.near] = max(edge, 0.5)  # less would round to nothing
    own[head.inside] = -np.inf
    return limits


def _blocks_at(grid: Grid, shape: tuple[int, ...], head: Head) -> list[NDArray[np.intp]]:
    """Along each axis the block, from 1, in which the grid's voxels lie; 0 outside the volume."""
    found = []
    for axis, size in enumerate(head.blocks.sizes):
        voxels = np.rint(grid.positions(axis)).astype(np.intp)
        outside = (voxels < 0) | (voxels >= shape[axis])
        found.append(np.where(outside, 0, voxels // size + 1))
    return found
