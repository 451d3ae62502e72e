"""A coarse grid over a volume, on which the head's topology is settled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
Floats = NDArray[np.float32]

BLOCK_MM = 5.5  # topology is settled on blocks of at most this edge, from two samples across
COARSE_BLOCK_MM = 6.5  # the same for voxels so large that two are already more than that


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

    def along(self, order: tuple[int, ...]) -> Self:
        """The same for a volume whose axes are permuted."""
        sizes, strides = ([values[axis] for axis in order] for values in (self.sizes, self.strides))
        return type(self)((sizes[0], sizes[1], sizes[2]), (strides[0], strides[1], strides[2]))

    def sampled(self, array: NDArray[Any]) -> Floats:
        """Every stride-th voxel as float32, padded at the far ends to whole blocks."""
        x, y, z = self.strides
        part = np.array(array[::x, ::y, ::z], dtype=np.float32, order="C")
        per_block = self.samples_per_block()
        padding = [(0, -n % per) for n, per in zip(part.shape, per_block, strict=True)]
        return np.pad(part, padding, mode="edge") if any(after for _, after in padding) else part

    def samples_per_block(self) -> tuple[int, int, int]:
        x, y, z = (n // s for n, s in zip(self.sizes, self.strides, strict=True))
        return (x, y, z)

    def means(self, sampled: Floats) -> Floats:
        """Mean of the samples of each block, at most two of them along an axis."""
        per_block = self.samples_per_block()
        total = sampled
        for axis, count in reversed(list(enumerate(per_block))):
            if count == 2:  # far faster than a sum over three axes at once
                even, odd = (_every_second(total, axis, start) for start in (0, 1))
                total = even + odd
        return total / np.float32(np.prod(per_block))

    def spread_to_samples(self, coarse: Mask) -> Mask:
        """From blocks to samples; for masks in C order."""
        for axis, count in reversed(list(enumerate(self.samples_per_block()))):
            if axis == 2 and count == 2:  # two equal bytes are one number, far faster to write
                coarse = (coarse.view(np.uint8).astype(np.uint16) * 257).view(np.bool_)
            else:
                coarse = np.repeat(coarse, count, axis=axis)
        return coarse


def spread(coarse: Mask, sizes: list[int], shape: tuple[int, ...]) -> Mask:
    """A plane of blocks as a plane of voxels of ``shape``."""
    for axis, size in enumerate(sizes):
        coarse = np.repeat(coarse, size, axis=axis)
    return coarse[: shape[0], : shape[1]]


def _every_second(array: NDArray[Any], axis: int, start: int) -> NDArray[Any]:
    return array[(slice(None),) * axis + (slice(start, None, 2),)]
