"""Time on the clock: what several processes did side by side is counted once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

Interval = Sequence[int]  # start and end, seconds since 1970, UTC


def on_the_clock(intervals: Iterable[Interval]) -> tuple[int, int]:
    """The length of the union of some intervals in seconds, and how many overlap at most.

    Where one begins as another ends, the two do not overlap.
    """
    known = list(intervals)
    # At one second ends come before starts.
    changes = sorted([*((start, 1) for start, _ in known), *((end, -1) for _, end in known)])
    length = most = running = before = 0
    for when, change in changes:
        length += (when - before) * (running > 0)
        running += change
        most, before = max(most, running), when
    return length, most


def seconds_between(intervals: Iterable[Interval]) -> int:
    """The lengths of some intervals, one after another."""
    return sum(end - start for start, end in intervals)
