"""Shapes of masks: closing, filling, growing; and the threshold that makes a mask."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medblip.volumes.order_statistics import quantile

Mask = NDArray[np.bool_]
Floats = NDArray[np.float32]

OTSU_BINS = 128


def otsu(values: Floats) -> float:
    """Otsu's threshold on the square root, which keeps dark tissue with the bright."""
    roots = np.sqrt(values).ravel()
    lowest, highest = float(roots.min()), quantile(roots, 0.99)
    if not highest > lowest:
        return float(values.max())
    places = (roots - np.float32(lowest)) * np.float32(OTSU_BINS / (highest - lowest))
    bins = np.minimum(places, OTSU_BINS - 1).astype(np.int16)
    counts = np.bincount(bins, minlength=OTSU_BINS)
    edges = np.linspace(lowest, highest, OTSU_BINS + 1)
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


def closed(mask: Mask, reach: int) -> Mask:
    """Dilated and eroded again, ``reach`` steps each, so that narrow gaps close."""
    padded = np.pad(mask, reach, mode="edge")  # the head may reach the field's border
    closed = ~dilated(~dilated(padded, reach), reach)
    inner = (slice(reach, -reach),) * 3
    return closed[inner] | mask


def filled(mask: Mask) -> Mask:
    """Fill whatever cannot be reached from the border."""
    outside, count = ndimage.label(~mask)
    border = np.ones(mask.shape, dtype=bool)
    border[1:-1, 1:-1, 1:-1] = False
    reachable = np.zeros(count + 1, dtype=bool)
    reachable[outside[border]] = True
    return ~reachable[outside] | mask


def dilated(mask: Mask, iterations: int) -> Mask:
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
