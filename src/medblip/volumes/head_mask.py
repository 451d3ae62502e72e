"""Which voxels are the head: a mask without holes.

Works on skull-stripped brains with an exact background and on raw heads in noise alike, because
everything is measured as departure from the value in the corners of the field of view, and the
edge is set by how far the air around the head departs from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medblip.errors import InputError
from medblip.volumes.memory_layout import Layout
from medblip.volumes.order_statistics import median, quantile
from medblip.volumes.volume import Volume

Mask = NDArray[np.bool_]
Floats = NDArray[np.float32]

BLOCK_MM = 5.5  # topology is settled on blocks of at most this edge, from two samples across
COARSE_BLOCK_MM = 6.5  # the same for voxels so large that two are already more than that
NEAR_BLOCKS = 2  # dark rims (cerebrospinal fluid) reach this far beyond the bright part
CLOSING_BLOCKS = 2
NOISE_QUANTILE = 0.999
NOISE_FACTOR = 1.25  # beyond the quantile by as much, noise passes for head in 1 voxel of 10,000


@dataclass(frozen=True)
class Blocks:
    """A coarse grid over a volume: per axis the voxels of a block, and of each the sampled ones."""

    sizes: tuple[int, int, int]
    strides: tuple[int, int, int]

    @classmethod
    def over(cls, voxel_sizes: tuple[float, float, float]) -> Blocks:
        sizes, strides = [], []
        for voxel_mm in voxel_sizes:
            stride = max(1, int(BLOCK_MM / 2 / voxel_mm))
            samples = 2 if 2 * stride * voxel_mm <= COARSE_BLOCK_MM else 1
            strides.append(stride)
            sizes.append(samples * stride)
        return cls((sizes[0], sizes[1], sizes[2]), (strides[0], strides[1], strides[2]))

    def sampled(self, array: Floats) -> Floats:
        """Every stride-th voxel, padded at the far ends to whole blocks."""
        x, y, z = self.strides
        part = array[::x, ::y, ::z]
        per_block = self.samples_per_block()
        padding = [(0, -n % per) for n, per in zip(part.shape, per_block, strict=True)]
        if not any(after for _, after in padding):
            return np.array(part, order="C")
        return np.pad(part, padding, mode="edge")

    def samples_per_block(self) -> tuple[int, int, int]:
        x, y, z = (n // s for n, s in zip(self.sizes, self.strides, strict=True))
        return (x, y, z)

    def means(self, sampled: Floats) -> Floats:
        """Mean of the samples of each block, at most two of them along an axis."""
        per_block = self.samples_per_block()
        if not _adds_exactly(sampled):  # the sequence of a sum decides its last bit
            (a, b, c), (x, y, z) = per_block, sampled.shape
            return sampled.reshape(x // a, a, y // b, b, z // c, c).mean(axis=(1, 3, 5))
        total = sampled
        for axis, count in reversed(list(enumerate(per_block))):
            if count == 2:  # far faster than a sum over three axes at once
                even, odd = (_every_second(total, axis, start) for start in (0, 1))
                total = even + odd
        return total / np.float32(np.prod(per_block))

    def spread_to_samples(self, coarse: Mask) -> Mask:
        for axis, count in enumerate(self.samples_per_block()):
            coarse = np.repeat(coarse, count, axis=axis)
        return coarse


def head_mask(volume: Volume) -> Mask:
    """Voxels of the head (or of the brain, if the skull was stripped), without inner holes.

    Args:
        volume: in any orientation.

    Returns:
        bool ``(i, j, k)``: the largest object, filled.

    Raises:
        InputError: ``no-head-found`` where nothing stands out from the background.
    """
    blocks = Blocks.over(volume.voxel_sizes)
    sampled = blocks.sampled(volume.array)
    background = _corner_value(sampled)
    departure = np.abs(np.subtract(sampled, background, out=sampled), out=sampled)
    coarse = _coarse_head(blocks.means(departure), volume.source)
    near = _dilated(coarse, NEAR_BLOCKS)
    edge = _edge_level(departure, blocks, coarse, near)
    inside = ~_dilated(~coarse, 1)  # what lies outside the field counts as inside
    return _fine_mask(volume.array, background, edge, blocks, near, inside)


def _fine_mask(
    array: Floats, background: float, edge: float, blocks: Blocks, near: Mask, inside: Mask
) -> Mask:
    """Voxels inside, and those near that depart from the background by more than ``edge``.

    Goes through the array in the order in which it lies in memory, a layer of blocks at a time, so
    that everything stays in the processor's cache; the mask lies in memory as the array does.
    """
    order = Layout.of(array).order
    stored = array.transpose(order)
    near, inside = near.transpose(order), inside.transpose(order)
    sizes = [blocks.sizes[axis] for axis in order]
    mask = np.zeros(stored.shape, dtype=bool)
    for layer, (close, within) in enumerate(zip(near, inside, strict=True)):
        rows = np.flatnonzero(close.any(axis=1))
        if rows.size == 0:
            continue
        first, last = int(rows[0]), int(rows[-1]) + 1
        part = (
            slice(layer * sizes[0], (layer + 1) * sizes[0]),
            slice(first * sizes[1], last * sizes[1]),
        )
        departure = stored[part] - background
        np.abs(departure, out=departure)
        shape = departure.shape[1:]
        bright = np.greater(departure, edge, out=mask[part])
        bright &= _spread(close[first:last], sizes[1:], shape)
        bright |= _spread(within[first:last], sizes[1:], shape)
    return mask.transpose(np.argsort(order))


def _spread(coarse: Mask, sizes: list[int], shape: tuple[int, ...]) -> Mask:
    """A plane of blocks as a plane of voxels of ``shape``."""
    for axis, size in enumerate(sizes):
        coarse = np.repeat(coarse, size, axis=axis)
    return coarse[: shape[0], : shape[1]]


def _adds_exactly(values: Floats) -> bool:
    """Whether a few of the values add up to the same in any sequence: small whole numbers do."""
    return bool(np.abs(values).max() < 1 << 20) and np.array_equal(values, np.trunc(values))


def _every_second(array: NDArray[Any], axis: int, start: int) -> NDArray[Any]:
    return array[(slice(None),) * axis + (slice(start, None, 2),)]


def _corner_value(sampled: Floats) -> float:
    """Median of the eight corner regions, which a head never fills."""
    cuts = [max(1, n // 12) for n in sampled.shape]
    picks = [np.r_[:cut, n - cut : n] for cut, n in zip(cuts, sampled.shape, strict=True)]
    return float(np.median(sampled[np.ix_(*picks)]))


def _coarse_head(means: Floats, name: str) -> Mask:
    level = _otsu(means)
    labels, count = ndimage.label(means > level)
    if count == 0:
        raise InputError(
            name,
            "nothing stands out from the background; expected a head",
            "check that the file is a scan of a head",
            code="no-head-found",
        )
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    largest = labels == sizes.argmax()
    return _filled(_closed(largest))


def _otsu(values: Floats) -> float:
    """Otsu's threshold on the square root, which keeps dark tissue with the bright."""
    roots = np.sqrt(values).ravel()
    roots = np.minimum(roots, np.quantile(roots, 0.99))
    counts, edges = np.histogram(roots, bins=128)
    centres = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)[:-1]
    above = counts.sum() - below
    sum_below = np.cumsum(counts * centres)[:-1]
    total = (counts * centres).sum()
    valid = (below > 0) & (above > 0)
    if not valid.any():
        return float(values.max())
    difference = sum_below[valid] / below[valid] - (total - sum_below[valid]) / above[valid]
    best = np.argmax(below[valid] * above[valid] * difference**2)
    return float(edges[1:-1][valid][best] ** 2)


def _closed(mask: Mask) -> Mask:
    padded = np.pad(mask, CLOSING_BLOCKS, mode="edge")  # the head may reach the field's border
    closed = ~_dilated(~_dilated(padded, CLOSING_BLOCKS), CLOSING_BLOCKS)
    inner = (slice(CLOSING_BLOCKS, -CLOSING_BLOCKS),) * 3
    return closed[inner] | mask


def _filled(mask: Mask) -> Mask:
    """Fill whatever cannot be reached from the border."""
    outside, count = ndimage.label(~mask)
    border = np.ones(mask.shape, dtype=bool)
    border[1:-1, 1:-1, 1:-1] = False
    reachable = np.zeros(count + 1, dtype=bool)
    reachable[outside[border]] = True
    return ~reachable[outside] | mask


def _dilated(mask: Mask, iterations: int) -> Mask:
    """The mask and all neighbours that share a face or an edge with it, so many times over.

    ``ndimage.binary_dilation`` does the same; these 18 neighbours are three squares, and a square
    is two steps along its axes, which takes a tenth of the time.
    """
    for _ in range(iterations):
        x, y = _widened(mask, 0), _widened(mask, 1)
        mask = _widened(x, 1) | _widened(x, 2) | _widened(y, 2)
    return mask


def _widened(mask: Mask, axis: int) -> Mask:
    """The mask and its neighbours along one axis."""
    wide = mask.copy()
    moved, still = np.moveaxis(wide, axis, 0), np.moveaxis(mask, axis, 0)
    moved[1:] |= still[:-1]
    moved[:-1] |= still[1:]
    return wide


def _edge_level(departure: Floats, blocks: Blocks, coarse: Mask, near: Mask) -> float:
    """Departure from the background at which a voxel at the rim counts as head.

    Just above the noise of the air; in a stripped scan the air is exact, so that every voxel of
    the brain counts, however dark. At most half of the head's own median, which also serves where
    the field of view holds no air.
    """
    cap = 0.5 * median(departure[blocks.spread_to_samples(coarse)])
    air = departure[blocks.spread_to_samples(~near)]
    if air.size < 1000:
        return cap
    return min(cap, NOISE_FACTOR * quantile(air, NOISE_QUANTILE))
