"""Cubes of bytes to what the model takes: one byte a voxel travels, and is scaled on arrival."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

WHITE = 255.0  # the brightest byte


def stack_cubes(cubes: Sequence[NDArray[np.uint8]]) -> Tensor:
    """Cubes ``(D, H, W)`` of bytes to ``(n, 1, D, H, W)`` uint8; memory-mapped ones are read."""
    # torch's own memory: numpy's varies in alignment, which can change the last bits.
    stacked = torch.empty((len(cubes), 1, *cubes[0].shape), dtype=torch.uint8)
    for row, cube in zip(stacked.numpy(), cubes, strict=True):
        row[0] = cube
    return stacked


def scale(volumes: Tensor) -> Tensor:
    """Bytes to float32 in [0, 1], where they lie."""
    return volumes.float() / WHITE


def to_pixels(cubes: Sequence[NDArray[np.uint8]]) -> Tensor:
    """Cubes ``(D, H, W)`` of bytes to ``pixel_values (n, 1, D, H, W)`` float32 in [0, 1]."""
    return scale(stack_cubes(cubes))
