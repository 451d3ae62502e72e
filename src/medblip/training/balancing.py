"""In which order examples are drawn: whole shuffled passes, over all or group by group."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from medblip.study.study import Example

Balance = Literal["none", "class", "cohort", "class_and_cohort"]


def groups_of(examples: Sequence[Example], balance: Balance) -> NDArray[np.int64] | None:
    """The group of each example, numbered from 0; None where nothing is balanced."""
    if balance == "none":
        return None
    names = [_group(example, balance) for example in examples]
    numbers = {name: number for number, name in enumerate(sorted(set(names)))}
    return np.array([numbers[name] for name in names], np.int64)


def _group(example: Example, balance: Balance) -> tuple[str, ...]:
    if balance == "class_and_cohort":
        return (example.label, example.cohort)
    return (example.label,) if balance == "class" else (example.cohort,)


def shuffled_passes(examples: int, total: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """``total`` numbers below ``examples``: each pass holds all of them once, in a new order."""
    passes = [rng.permutation(examples) for _ in range(-(-total // max(examples, 1)))]
    return np.concatenate(passes)[:total] if passes else np.zeros(0, np.int64)


def balanced_order(
    groups: NDArray[np.int64], total: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """``total`` examples, those of each group equally often (by one more or less).

    Args:
        groups: the group of each example.

    Returns:
        The groups take turns in shuffled rounds; within a group no example comes again before all
        others of it were drawn.
    """
    numbers = np.unique(groups)
    turns = numbers[shuffled_passes(len(numbers), total, rng)]
    order = np.empty(total, np.int64)
    for number in numbers:
        members, places = np.flatnonzero(groups == number), np.flatnonzero(turns == number)
        order[places] = members[shuffled_passes(len(members), len(places), rng)]
    return order
