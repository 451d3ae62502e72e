"""What each training step sees, decided before the first one.

A stage's schedule lists every sample of every step: which example, what is shown of it, and the
seed of its noise. So the data order needs no state: a resumed run reads on in the same list.

Step ``s`` takes the rows ``[s * batch_size, (s + 1) * batch_size)``. They are cut into
micro-batches one after another, and of ``W`` processes number ``r`` takes the micro-batches
``k * W + r``, as accelerate's ``BatchSamplerShard`` deals them. A step in which each process
accumulates ``A`` micro-batches has ``A * W`` of them, and all are dealt before the next step's: the
samples of a step are the same on any number of processes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args, overload

import numpy as np
from numpy.typing import NDArray

from medblip.recipe import StageSection
from medblip.training.balancing import balanced_order, shuffled_passes

Shown = Literal["record", "blank", "image", "both"]
SHOWN: tuple[Shown, ...] = get_args(Shown)


@dataclass(frozen=True)
class Draw:
    """One sample of the schedule."""

    example: int
    shown: Shown
    seed: int


class Schedule(Sequence[Draw]):
    """The draws of a stage, 9 bytes each: thirty thousand examples a hundred times take 27 MB.

    Args:
        examples: index of the example of each draw.
        shown: index in ``SHOWN``.
        seeds: below 2^32.
    """

    def __init__(self, examples: NDArray[Any], shown: NDArray[Any], seeds: NDArray[Any]) -> None:
        self.examples = examples.astype(np.int32, copy=False)
        self.shown = shown.astype(np.int8, copy=False)
        self.seeds = seeds.astype(np.uint32, copy=False)

    def __len__(self) -> int:
        return len(self.examples)

    @property
    def nbytes(self) -> int:
        """Memory of the draws."""
        return self.examples.nbytes + self.shown.nbytes + self.seeds.nbytes

    @overload
    def __getitem__(self, index: int) -> Draw: ...
    @overload
    def __getitem__(self, index: slice) -> Schedule: ...
    def __getitem__(self, index: int | slice) -> Draw | Schedule:
        if isinstance(index, slice):
            return self.taken(index)
        shown = SHOWN[self.shown[index]]
        return Draw(int(self.examples[index]), shown, int(self.seeds[index]))

    def taken(self, rows: slice | NDArray[np.int64]) -> Schedule:
        """Some draws, in the order of ``rows``."""
        return Schedule(self.examples[rows], self.shown[rows], self.seeds[rows])


def make_schedule(
    examples: int,
    stage: StageSection,
    seed: int,
    groups: NDArray[np.int64] | None = None,
    lengths: NDArray[np.int64] | None = None,
    later: NDArray[np.bool_] | None = None,
) -> Schedule:
    """``stage.steps * stage.batch_size`` draws: whole shuffled passes over the examples.

    Args:
        groups: the group of each example, to draw each group equally often.
        lengths: ``(len(SHOWN), examples)``, tokens of each example's text as it is shown; needed
            where ``stage.bucket`` is set.
        later: examples that are not drawn in the first ``stage.closed_first`` of the steps.
    """
    rng = np.random.default_rng(seed)
    total = stage.steps * stage.batch_size
    everything = np.arange(examples)
    first = 0 if later is None else round(stage.closed_first * stage.steps) * stage.batch_size
    alone = everything if later is None else np.flatnonzero(~later)
    order = np.concatenate(
        [_order(alone, groups, first, rng), _order(everything, groups, total - first, rng)]
    )
    shares = [stage.without_image, stage.blank_image, stage.without_record]
    picked = rng.choice(len(SHOWN), size=total, p=[*shares, 1.0 - sum(shares)])
    schedule = Schedule(order, picked, rng.integers(0, 2**32, size=total))
    if not stage.bucket or lengths is None:
        return schedule
    drawn = lengths[schedule.shown, schedule.examples]
    another = np.random.default_rng((seed, 1))  # the draws are those of a stage without buckets
    parts = (drawn[:first], drawn[first:])
    early, rest = (bucketed(part, stage.bucket, stage.batch_size, another) for part in parts)
    return schedule.taken(np.concatenate([early, first + rest]))


def _order(
    members: NDArray[np.int64],
    groups: NDArray[np.int64] | None,
    total: int,
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    """``total`` of ``members``, each equally often, or each group of them."""
    if groups is None:
        return members[shuffled_passes(len(members), total, rng)]
    return members[balanced_order(groups[members], total, rng)]


def bucketed(
    lengths: NDArray[np.int64], steps: int, batch: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Rows in an order that puts those of similar length into one batch.

    Args:
        lengths: of each row, whose number is a multiple of ``batch``.
        steps: so many batches at a time are sorted by length, cut, and put in shuffled order. More
            pad less, and change the order more.
    """
    parts = []
    for start in range(0, len(lengths), steps * batch):
        rows = np.argsort(lengths[start : start + steps * batch], kind="stable") + start
        parts.append(rng.permutation(rows.reshape(-1, batch)).ravel())
    return np.concatenate(parts) if parts else np.zeros(0, np.int64)
