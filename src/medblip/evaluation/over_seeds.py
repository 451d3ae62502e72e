"""Accuracies of several training runs: what differs by subject and what by seed, both in one width.

Any comparison here is a sum of accuracies with weights: a against b on one test set, a mean over
test sets, seen cohorts against unseen ones. Each resample draws subjects of each test set, the
same for all who answered it, and then seeds of each model, the same on all that it answered.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from medblip.evaluation.intervals import (
    Floats,
    Interval,
    bad_predictions,
    honest_at_the_ends,
    percentile_interval,
    weights_over_subjects,
)

DIGITS = 12  # of an accuracy that are kept
SAME = 1e-9  # two orders of summation of one number


class Cell(NamedTuple):
    """A model and the test set it answered: a row and a column of a table."""

    row: str
    column: str


@dataclass(frozen=True)
class SeededAnswers:
    """What the runs of one model answered on one test set.

    Attributes:
        correct: bool, or float from 0 to 1, ``(seeds, rows)``.
        subjects: ``(rows,)``, who each row belongs to.
        seeds: of the runs, in order; each once.
    """

    correct: NDArray[np.bool_] | Floats
    subjects: tuple[str, ...]
    seeds: tuple[int, ...]

    def __post_init__(self) -> None:
        expected = (len(self.seeds), len(self.subjects))
        if not all(expected) or self.correct.shape != expected:
            raise bad_predictions(
                f"found answers {self.correct.shape}; expected (seeds, rows) = {expected}, "
                "at least one of each"
            )
        if len(set(self.seeds)) != len(self.seeds):
            raise bad_predictions(f"found a seed twice in {self.seeds}")

    @property
    def by_seed(self) -> tuple[float, ...]:
        """Accuracy of each run."""
        return tuple(float(mean) for mean in self.correct.mean(axis=1))


@dataclass(frozen=True, slots=True)
class Contrast:
    """A weighted sum of accuracies.

    Attributes:
        estimate: the sum and its interval, as fractions; of one accuracy that is 0 or 1 the exact
            binomial interval of its subjects.
        p: two-sided, that the sum is 0, from the same resamples; at least ``2 / (resamples + 1)``,
            and of a difference at least that of the sign test, ``2 ** (1 - subjects that differ)``.
        n_seeds: fewest seeds of a model in it; with one, runs are taken to be all alike.
    """

    estimate: Interval
    p: float
    n_seeds: int

    def as_dict(self) -> dict[str, Any]:
        return {**self.estimate.as_dict(), "p": self.p, "n_seeds": self.n_seeds}


def contrast(
    answers: Mapping[Cell, SeededAnswers],
    weights: Mapping[Cell, float],
    *,
    n_resamples: int = 2000,
    seed: int = 0,
    confidence: float = 0.95,
) -> Contrast:
    """The sum of ``weights`` times mean accuracies, with subjects and seeds resampled.

    Of S seeds S - 1 are drawn: the mean of so many has the variance that the mean of all S has
    over new training runs, where S draws would show too little of it.

    Args:
        answers: at least those of ``weights``; all of one column about the same subjects in the
            same order.
        weights: e.g. ``{a: 1, b: -1}`` for a difference.

    Raises:
        InputError: no weights, a cell without answers, or a column with other subjects by row.
    """
    used = _checked(answers, weights)
    of_seeds: dict[tuple[str, tuple[int, ...]], Floats] = {}
    drawn = np.zeros(n_resamples)
    for index, column in enumerate(sorted({cell.column for cell in used})):
        in_column = {cell: used[cell] for cell in used if cell.column == column}
        by_subject = _by_subject(in_column, n_resamples, _stream(seed, 0, index))
        for cell, accuracies in by_subject.items():
            key = (cell.row, used[cell].seeds)
            if key not in of_seeds:
                of_seeds[key] = _seed_weights(key[1], n_resamples, _stream(seed, 1, len(of_seeds)))
            drawn += weights[cell] * (accuracies * of_seeds[key]).sum(axis=1)
    value = sum(weights[cell] * float(np.mean(used[cell].by_seed)) for cell in used)
    # What cancels must be 0, not a rounding error to either side of it.
    value, drawn = round(value, DIGITS), drawn.round(DIGITS)
    estimate = percentile_interval(value, drawn, confidence)
    if list(weights.values()) == [1.0]:
        (given,) = used.values()
        estimate = honest_at_the_ends(estimate, len(set(given.subjects)), confidence)
    p = max(_bootstrap_p(drawn), _least_p(used, weights))
    return Contrast(estimate, p, min(len(a.seeds) for a in used.values()))


def difference(a: Cell, b: Cell) -> dict[Cell, float]:
    """Weights of a minus b; none where they are one cell."""
    return {a: 1.0, b: -1.0}


def mean_difference(a: str, b: str, columns: Sequence[str]) -> dict[Cell, float]:
    """Weights of row a minus row b, the mean over ``columns``."""
    share = 1 / len(columns)
    return {Cell(row, c): sign * share for row, sign in ((a, 1.0), (b, -1.0)) for c in columns}


def _by_subject(
    column: Mapping[Cell, SeededAnswers], n_resamples: int, seed: int
) -> dict[Cell, Floats]:
    """Accuracy of each run on each draw of the column's subjects: ``(resamples, seeds)`` a cell."""
    subjects = next(iter(column.values())).subjects
    chunks: dict[Cell, list[Floats]] = {cell: [] for cell in column}
    for drawn in weights_over_subjects(subjects, n_resamples, seed):
        rows = drawn.sum(axis=1, keepdims=True)
        for cell, given in column.items():
            chunks[cell].append(drawn @ given.correct.T.astype(float) / rows)
    return {cell: np.concatenate(parts) for cell, parts in chunks.items()}


def _seed_weights(seeds: Sequence[int], n_resamples: int, seed: int) -> Floats:
    """Share of each seed in each resample: ``(resamples, seeds)``."""
    count, draws = len(seeds), max(len(seeds) - 1, 1)
    generator = np.random.default_rng(seed)
    shares: Floats = generator.multinomial(draws, [1 / count] * count, n_resamples) / draws
    return shares


def _stream(seed: int, *path: int) -> int:
    """A seed of its own for each thing that is drawn, so that no two hang together."""
    return int(np.random.SeedSequence((seed, *path)).generate_state(1)[0])


def _bootstrap_p(drawn: Floats) -> float:
    tail = min(int((drawn <= 0).sum()), int((drawn >= 0).sum()))
    return min(1.0, 2 * (1 + tail) / (1 + len(drawn)))


def _least_p(answers: Mapping[Cell, SeededAnswers], weights: Mapping[Cell, float]) -> float:
    """The least p that so many differing subjects can give; 0 where no pairs are compared.

    Few subjects give few draws, and where all of them lie on one side the bootstrap's p is as small
    as its resamples allow. A sign test cannot go below ``2 ** (1 - subjects that differ)``.
    """
    differing = 0
    for column in {cell.column for cell in answers}:
        cells = [cell for cell in answers if cell.column == column]
        if abs(sum(weights[cell] for cell in cells)) > SAME:
            return 0.0
        gain = np.sum([weights[c] * answers[c].correct.mean(axis=0) for c in cells], axis=0)
        _, who = np.unique(np.asarray(answers[cells[0]].subjects), return_inverse=True)
        differing += int((np.abs(np.bincount(who, weights=gain)) > SAME).sum())
    return float(min(1.0, 2.0 ** (1 - differing)))


def _checked(
    answers: Mapping[Cell, SeededAnswers], weights: Mapping[Cell, float]
) -> dict[Cell, SeededAnswers]:
    missing = [f"{c.row} on {c.column}" for c in weights if c not in answers]
    if missing or not weights:
        raise bad_predictions(f"found no answers of {', '.join(missing) or 'anything'}")
    used = {cell: answers[cell] for cell in weights}
    subjects: dict[str, tuple[str, ...]] = {}
    for cell, given in used.items():
        if subjects.setdefault(cell.column, given.subjects) != given.subjects:
            raise bad_predictions(
                f"{cell.row} answered other subjects of {cell.column} than the rest did, "
                "or in another order; expected the same rows for all"
            )
    return used
