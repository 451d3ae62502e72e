"""Equal answers: drop cases until each class is as frequent as the others, and deal them out.

What is left is dealt so that wording and position of the right answer tell nothing about the class.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

Case = TypeVar("Case")


@dataclass(frozen=True, slots=True)
class Dealt(Generic[Case]):
    """A case that stays.

    Attributes:
        case: what was given.
        group: its class.
        wording: which wording to use, from 0.
        position: where among the choices the right answer stands, from 0.
    """

    case: Case
    group: int
    wording: int
    position: int


def deal_equally(
    cases: Mapping[int, Sequence[tuple[Hashable, Case]]],
    wordings: int,
    positions: int,
    rng: np.random.Generator,
) -> Iterator[Dealt[Case]]:
    """Cases of which each class has as many, in every stratum, wording and position.

    Exact but for wordings where a class keeps fewer than ``wordings * positions`` cases; even then
    these are the same for each class. One that keeps fewer than ``positions`` gives none: its
    right answers would stand in some places more often.

    Args:
        cases: of each class, ``(stratum, case)``; what varies with the question's text, such as a
            band of ages, is a stratum.
        rng: chooses who is dropped.
    """
    columns = _equal_columns(cases, rng)
    block = wordings * positions
    few = len(columns) < block
    whole = len(columns) - len(columns) % (positions if few else block)
    # Those cut off are drawn from all strata; the order within them stays.
    kept = sorted(rng.permutation(len(columns))[:whole].tolist())
    for number, at in enumerate(kept):
        wording, position = (
            (number // positions % wordings, number % positions)
            if few
            else (number % wordings, number // wordings % positions)
        )
        for group, case in columns[at].items():
            yield Dealt(case, group, wording, position)


def placed(
    answer: str, answers: Sequence[str], position: int, rng: np.random.Generator
) -> tuple[str, ...]:
    """The choices of a question: the answer at its position, the others in random order."""
    others = [choice for choice in sorted(answers) if choice != answer]
    choices = [others[n] for n in rng.permutation(len(others))]
    choices.insert(position, answer)
    return tuple(choices)


def _equal_columns(
    cases: Mapping[int, Sequence[tuple[Hashable, Case]]], rng: np.random.Generator
) -> list[dict[int, Case]]:
    """Tuples of one case of each class, all of one stratum."""
    strata: dict[Hashable, dict[int, list[Case]]] = defaultdict(lambda: {g: [] for g in cases})
    for group, listed in cases.items():
        for stratum, case in listed:
            strata[stratum][group].append(case)
    columns = []
    for stratum in sorted(strata, key=repr):
        shuffled = {
            group: [listed[i] for i in rng.permutation(len(listed))]
            for group, listed in strata[stratum].items()
        }
        fewest = min(len(listed) for listed in shuffled.values())
        columns += [{group: shuffled[group][n] for group in shuffled} for n in range(fewest)]
    return columns
