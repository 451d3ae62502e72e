"""Where a finding of many rows points: lines of a table, which name nobody."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

SHOWN = 5


def in_lines(table: str, lines: Iterable[object], shown: int = SHOWN) -> str:
    """``"images.tsv lines 3, 17, 40 and 12 more"``.

    Args:
        table: file name.
        lines: line numbers in any order and shape, the index of a table that was read.
        shown: how many to name.
    """
    numbers = np.unique(np.asarray(list(lines), dtype=np.int64))
    if not numbers.size:
        return table
    named = ", ".join(str(number) for number in numbers[:shown])
    rest = f" and {numbers.size - shown} more" if numbers.size > shown else ""
    return f"{table} line{'s' if numbers.size > 1 else ''} {named}{rest}"
