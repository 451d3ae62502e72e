"""Quotas: a small simulated cohort has the shares of the large one, not a lucky draw's."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np

Kind = TypeVar("Kind", bound=Hashable)


@dataclass
class Quota(Generic[Kind]):
    """Deals out kinds so that their weights stay as near to ``shares`` as they can.

    Attributes:
        shares: of each kind; they need not sum to 1.
        given: weight that each kind has by now.
    """

    shares: Mapping[Kind, float]
    given: dict[Kind, float] = field(default_factory=dict)

    def deal(self, weight: float = 1.0) -> Kind:
        """The kind that lags behind its share the most; it gets ``weight``."""
        total = sum(self.given.values()) + weight
        whole = sum(self.shares.values())
        lag = {
            kind: s / whole * total - self.given.get(kind, 0.0) for kind, s in self.shares.items()
        }
        kind = max(lag, key=lambda k: lag[k])
        self.given[kind] = self.given.get(kind, 0.0) + weight
        return kind


def choose(weights: Sequence[float], target: float, rng: np.random.Generator) -> set[int]:
    """Indices whose weights sum to about ``target``, in random order of preference."""
    chosen: set[int] = set()
    total = 0.0
    for index in rng.permutation(len(weights)):
        more = total + weights[index]
        if abs(more - target) < abs(total - target):
            chosen.add(int(index))
            total = more
    return chosen
