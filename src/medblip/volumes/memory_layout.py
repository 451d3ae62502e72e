"""How an array's axes lie in memory, to go through it in that order and not across it.

A scan turned upright is a view whose axes are permuted and flipped; going through it in the order
of its indices touches memory all over and takes several times as long.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Layout:
    """Axes from the one with the largest step in memory to the smallest, and which run backwards.

    Attributes:
        order: the array's axes, slowest first.
        flips: for each axis of the array, whether its step is negative.
    """

    order: tuple[int, ...]
    flips: tuple[bool, ...]

    @classmethod
    def of(cls, array: NDArray[Any]) -> Layout:
        order = sorted(range(array.ndim), key=lambda axis: -abs(array.strides[axis]))
        return cls(tuple(order), tuple(step < 0 for step in array.strides))

    def stored(self, array: NDArray[Any]) -> NDArray[Any]:
        """A view of an array of these axes, slowest first, all running forwards."""
        return self._flipped(array).transpose(self.order)

    def restored(self, stored: NDArray[Any]) -> NDArray[Any]:
        """The view that ``stored`` came from, or one of another array in its place."""
        return self._flipped(stored.transpose(np.argsort(self.order)))

    def _flipped(self, array: NDArray[Any]) -> NDArray[Any]:
        return array[tuple(slice(None, None, -1 if flip else 1) for flip in self.flips)]
