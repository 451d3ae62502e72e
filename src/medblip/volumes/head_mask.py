"""Which voxels are the head: a mask without holes.

Works on skull-stripped brains with an exact background and on raw heads in noise alike, because
everything is measured as departure from the value in the corners of the field of view, and the
edge is set by how far the air around the head departs from it. All that is settled on voxels
sampled about every 2 mm; whoever wants a mask on another grid asks there for the same departure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medblip.errors import InputError
from medblip.volumes.head_blocks import Blocks, Mask, spread
from medblip.volumes.memory_layout import Layout
from medblip.volumes.morphology import closed, dilated, filled, otsu
from medblip.volumes.order_statistics import median, quantile
from medblip.volumes.volume import Volume

Floats = NDArray[np.float32]

NEAR_BLOCKS = 2  # dark rims (cerebrospinal fluid) reach this far beyond the bright part
CLOSING_BLOCKS = 2
NOISE_QUANTILE = 0.999
NOISE_FACTOR = 1.25  # beyond the quantile by as much, noise passes for head in 1 voxel of 10,000
ENOUGH_AIR = 5000  # blocks of air of which one sample each tells the noise


@dataclass(frozen=True)
class Head:
    """Where the head is, on blocks and on the sampled voxels; all axes are the volume's.

    Attributes:
        background: intensity of the air.
        edge: a voxel near the head belongs to it if it departs from the background by more.
        blocks: the grid of the next two.
        near: bool, blocks in which head may lie.
        inside: bool, blocks that are head altogether.
        departures: float32, intensity less background of the sampled voxels.
        mask: bool, which of the sampled voxels are head.
    """

    background: float
    edge: float
    blocks: Blocks
    near: Mask
    inside: Mask
    departures: Floats
    mask: Mask

    def sampled_plane(self, array: NDArray[Any], axis: int, index: int) -> Mask:
        """The mask in one plane of voxels, sampled along its two axes."""
        others = [other for other in range(3) if other != axis]
        first, second = (self.blocks.strides[other] for other in others)
        values = array[(slice(None),) * axis + (index,)][::first, ::second].astype(np.float32)
        bright = np.abs(values - np.float32(self.background)) > self.edge
        block = index // self.blocks.sizes[axis]
        per_block = [self.blocks.samples_per_block()[other] for other in others]
        near, inside = (
            spread(blocks[(slice(None),) * axis + (block,)], per_block, bright.shape)
            for blocks in (self.near, self.inside)
        )
        return np.asarray(bright & near | inside)


def find_head(volume: Volume) -> Head:
    """Find the head, or the brain if the skull was stripped.

    Args:
        volume: in any orientation, of any real type.

    Raises:
        InputError: ``no-head-found`` where nothing stands out from the background.
    """
    order = Layout.of(volume.array).order  # everything is done in the order of memory
    volume_blocks = Blocks.over(volume.voxel_sizes)
    blocks = volume_blocks.along(order)
    sampled = blocks.sampled(volume.array.transpose(order))
    background = _corner_value(sampled)
    sampled -= np.float32(background)
    departure = np.abs(sampled)
    coarse = _coarse_head(blocks.means(departure), volume.source)
    near = dilated(coarse, NEAR_BLOCKS)
    inside = ~dilated(~coarse, 1)  # what lies outside the field counts as inside
    edge = _edge_level(departure, blocks, coarse, near)
    mask = departure > edge
    mask &= blocks.spread_to_samples(near)
    mask |= blocks.spread_to_samples(inside)
    real = tuple(-(-volume.shape[axis] // volume_blocks.strides[axis]) for axis in order)
    part = tuple(slice(count) for count in real)  # without the padding
    back = np.argsort(order)
    return Head(
        background,
        edge,
        volume_blocks,
        near.transpose(back),
        inside.transpose(back),
        sampled[part].transpose(back),
        mask[part].transpose(back),
    )


def head_mask(volume: Volume) -> Mask:
    """Voxels of the head (or of the brain, if the skull was stripped), without inner holes.

    Args:
        volume: in any orientation.

    Returns:
        bool ``(i, j, k)``: the largest object, filled.

    Raises:
        InputError: ``no-head-found`` where nothing stands out from the background.
    """
    return fine_mask(volume.array, find_head(volume))


def fine_mask(array: NDArray[Any], head: Head) -> Mask:
    """Voxels inside, and those near that depart from the background by more than the edge.

    Goes through the array in the order in which it lies in memory, a layer of blocks at a time, so
    that everything stays in the processor's cache; the mask lies in memory as the array does.
    """
    order = Layout.of(array).order
    stored = array.transpose(order)
    near, inside = head.near.transpose(order), head.inside.transpose(order)
    sizes = [head.blocks.sizes[axis] for axis in order]
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
        departure = np.subtract(stored[part], np.float32(head.background), dtype=np.float32)
        np.abs(departure, out=departure)
        shape = departure.shape[1:]
        bright = np.greater(departure, head.edge, out=mask[part])
        bright &= spread(close[first:last], sizes[1:], shape)
        bright |= spread(within[first:last], sizes[1:], shape)
    return mask.transpose(np.argsort(order))


def _corner_value(sampled: Floats) -> float:
    """Median of the eight corner regions, which a head never fills."""
    cuts = [max(1, n // 12) for n in sampled.shape]
    picks = [np.r_[:cut, n - cut : n] for cut, n in zip(cuts, sampled.shape, strict=True)]
    return float(np.median(sampled[np.ix_(*picks)]))


def _coarse_head(means: Floats, name: str) -> Mask:
    level = otsu(means)
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
    return filled(closed(largest, CLOSING_BLOCKS))


def _edge_level(departure: Floats, blocks: Blocks, coarse: Mask, near: Mask) -> float:
    """Departure from the background at which a voxel at the rim counts as head.

    Just above the noise of the air; in a stripped scan the air is exact, so that every voxel of
    the brain counts, however dark. At most half of the head's own median, which also serves where
    the field of view holds no air.
    """
    one = departure[tuple(slice(None, None, count) for count in blocks.samples_per_block())]
    if one.size - np.count_nonzero(near) >= ENOUGH_AIR:  # one sample of each block will do
        head, air = one[coarse], one[~near]
    else:
        head = departure[blocks.spread_to_samples(coarse)]
        air = departure[blocks.spread_to_samples(~near)]
    cap = 0.5 * median(head)
    if air.size < 1000:
        return cap
    return min(cap, NOISE_FACTOR * quantile(air, NOISE_QUANTILE))
