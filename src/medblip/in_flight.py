"""Work that is given out ahead, but never much of it, and whose results come in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import TypeVar

Handle = TypeVar("Handle")
Result = TypeVar("Result")


def in_order(
    started: Iterable[Handle], ahead: int, result: Callable[[Handle], Result]
) -> Iterator[Result]:
    """Results of what iterating ``started`` starts, in order, at most ``ahead`` of it unfetched.

    One that is slow holds the others up, so that neither tasks nor results pile up in memory.
    """
    source = iter(started)
    waiting = deque(islice(source, ahead))
    while waiting:
        yield result(waiting.popleft())
        waiting.extend(islice(source, 1))
