"""The largest batch under any growing curve, and with few tries."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medblip.training.planning.fitting import largest_batch

CURVES: dict[str, Callable[[int], int]] = {
    "line": lambda n: 1000 + 37 * n,
    "flat, then a line": lambda n: max(2000, 100 * n),
    "two lines": lambda n: max(1000 + 10 * n, 60 * n - 400),
    "bent up": lambda n: 1000 + 5 * n + n * n,
    "a step at two": lambda n: 1000 + 40 * n + (0 if n < 2 else 300),
}


def by_trying_all(total: Callable[[int], int], limit: int) -> int:
    batch = 0
    while total(batch + 1) <= limit:
        batch += 1
    return batch


@pytest.mark.parametrize("start", [1, 7, 500])
@pytest.mark.parametrize("curve", CURVES)
@pytest.mark.parametrize("limit", [900, 1037, 1300, 2000, 2001, 9_999])
def test_it_is_what_trying_every_batch_gives(curve: str, limit: int, start: int) -> None:
    total = CURVES[curve]
    assert largest_batch(total, limit, start) == by_trying_all(total, limit)


@given(st.integers(0, 5000), st.integers(1, 300), st.integers(0, 50_000))
def test_a_line_needs_few_tries(at_none: int, slope: int, limit: int) -> None:
    tried: list[int] = []

    def total(batch: int) -> int:
        tried.append(batch)
        return at_none + slope * batch

    found = largest_batch(total, limit)
    assert found == max(0, (limit - at_none) // slope)
    assert len(tried) == len(set(tried)) <= 6
    assert found == 0 or {found, found + 1} <= set(tried)
