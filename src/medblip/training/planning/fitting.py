"""The largest batch that fits, found with few steps tried."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache


def largest_batch(total: Callable[[int], int], limit: int, start: int = 2) -> int:
    """The largest batch whose ``total`` is at most ``limit``; 0 if not even one sample's is.

    The answer is tried and so is one more. In between a step's memory is taken as a straight
    line, which it nearly is, so that few are tried.

    Args:
        total: bytes at a batch; must not fall as the batch grows.
        start: tried first, after one.
    """
    at = cache(total)
    if at(1) > limit:
        return 0
    fits, beyond = 1, max(2, start)
    while at(beyond) <= limit:
        slope = (at(beyond) - at(fits)) / (beyond - fits)
        room = limit - at(beyond)
        fits, beyond = beyond, beyond + (1 + int(room / slope) if slope > 0 else beyond)
    while beyond - fits > 1:
        share = (limit - at(fits)) / (at(beyond) - at(fits))
        tried = min(max(fits + int(share * (beyond - fits)), fits + 1), beyond - 1)
        if at(tried) <= limit:
            fits = tried
        else:
            beyond = tried
    return fits


__all__ = ["largest_batch"]
