"""Median and quantile of many values without ordering them all.

A sample of the values brackets the wanted one; only what lies in the bracket is ordered. The
result is that of ``np.median`` and ``np.quantile`` to the last bit, several times as fast.
"""

from __future__ import annotations

from math import floor

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

_SAMPLE = 4096
_WIDE = 0.03  # of all values, on both sides of the wanted rank; the sample errs by 0.008


def median(values: Floats) -> float:
    """Median of finite float32 ``(n,)``, n at least 1."""
    half = values.size // 2
    if values.size % 2:
        return float(_ranked(values, half, half)[0])
    low, high = _ranked(values, half - 1, half)
    return float((low + high) / np.float32(2))


def quantile(values: Floats, fraction: float) -> float:
    """Quantile of finite float32 ``(n,)``, n at least 1, interpolated linearly."""
    place = (values.size - 1) * fraction
    below = min(floor(place), values.size - 1)
    low, high = _ranked(values, below, min(below + 1, values.size - 1))
    weight, step = place - below, high - low
    return float(high - step * (1 - weight) if weight >= 0.5 else low + step * weight)


def _ranked(values: Floats, first: int, second: int) -> tuple[np.float32, np.float32]:
    """The values of two neighbouring ranks, counted from 0."""
    sample = np.sort(values[:: max(1, values.size // _SAMPLE)])
    share = first / values.size
    low = sample[max(0, floor((share - _WIDE) * sample.size))]
    high = sample[min(sample.size - 1, floor((share + _WIDE) * sample.size) + 1)]
    if share < _WIDE:
        low = np.float32(-np.inf)
    if share > 1 - _WIDE:
        high = np.float32(np.inf)
    near = values >= low
    below = values.size - int(np.count_nonzero(near))
    bracket = values[near & (values <= high)]
    if not below <= first <= second < below + bracket.size:
        bracket, below = values, 0  # the sample misled, as it may where values follow a pattern
    ranks = (first - below, second - below)
    ordered = np.partition(bracket, sorted(set(ranks)))
    return ordered[ranks[0]], ordered[ranks[1]]
