"""Intervals over subjects: whoever is drawn brings all rows along.

A subject may bring several sessions, and these are not independent. So every interval draws
*subjects* with replacement and takes all rows of a drawn subject along (cluster bootstrap).
Drawing a row twice is the same as giving it weight 2, so most numbers need no loop over resamples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import binomtest

from medblip.errors import InputError

Floats = NDArray[np.float64]
Subjects = Sequence[str] | NDArray[Any]

CHUNK_CELLS = 2_000_000  # resamples x rows held at once: 16 MB a matrix


@dataclass(frozen=True, slots=True)
class Interval:
    """A number and its bootstrap percentile interval; NaN where undefined."""

    value: float
    low: float
    high: float

    def excludes(self, value: float) -> bool:
        """Whether ``value`` lies outside; False where the interval is undefined."""
        return value < self.low or value > self.high

    def as_dict(self) -> dict[str, float | None]:
        return {
            "value": number(self.value),
            "low": number(self.low),
            "high": number(self.high),
        }


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """Model a against model b on the same rows.

    Attributes:
        difference: accuracy of a minus accuracy of b, as a fraction, with its interval.
        a_better, b_better: subjects with more rows right under a, and under b.
        p: exact two-sided sign test over those subjects; with one row a subject this is the
            exact McNemar test.
        n_subjects: subjects compared.
    """

    difference: Interval
    a_better: int
    b_better: int
    p: float
    n_subjects: int

    def as_dict(self) -> dict[str, Any]:
        return {
            "difference": self.difference.as_dict(),
            "a_better": self.a_better,
            "b_better": self.b_better,
            "p": self.p,
            "n_subjects": self.n_subjects,
        }


def bootstrap_over_subjects(
    statistic: Callable[..., float],
    subjects: Subjects,
    *arrays: NDArray[Any],
    n_resamples: int = 2000,
    seed: int = 0,
    confidence: float = 0.95,
) -> Interval:
    """The interval of any statistic: subjects are drawn with replacement, with all their rows.

    Args:
        statistic: called with the rows drawn from each array; NaN where it is undefined.
        subjects: ``(rows,)``.
        arrays: each ``(rows, ...)``.

    Raises:
        InputError: arrays of different lengths, or no rows.
    """
    n = len(subjects)
    if n == 0 or any(len(array) != n for array in arrays):
        lengths = [len(array) for array in arrays]
        raise bad_predictions(
            f"found {n} subjects and arrays of {lengths} rows; expected one number > 0"
        )
    rows = np.arange(n)
    draws = [
        statistic(*(array[drawn] for array in arrays))
        for weights in weights_over_subjects(subjects, n_resamples, seed)
        for drawn in (np.repeat(rows, weight) for weight in weights.astype(int))
    ]
    return percentile_interval(
        float(statistic(*arrays)), np.asarray(draws, dtype=float), confidence
    )


def paired_difference(
    correct_a: ArrayLike,
    correct_b: ArrayLike,
    subjects: Subjects,
    *,
    n_resamples: int = 2000,
    seed: int = 0,
    confidence: float = 0.95,
) -> PairedDifference:
    """Accuracy of a minus accuracy of b, both answering the same rows.

    Args:
        correct_a, correct_b: bool ``(rows,)``, whether each row was answered right.
        subjects: ``(rows,)``.

    Raises:
        InputError: arrays of different lengths, or no rows.
    """
    a, b = np.asarray(correct_a, dtype=float), np.asarray(correct_b, dtype=float)
    if not 0 < len(a) == len(b) == len(subjects):
        raise bad_predictions(
            f"found {len(a)}, {len(b)} and {len(subjects)} rows; expected one number > 0"
        )
    gain = a - b
    draws = np.concatenate(
        [
            weights @ gain / weights.sum(axis=1)
            for weights in weights_over_subjects(subjects, n_resamples, seed)
        ]
    )
    names, who = np.unique(np.asarray(subjects), return_inverse=True)
    per_subject = np.bincount(who, weights=gain)
    a_better, b_better = int((per_subject > 0).sum()), int((per_subject < 0).sum())
    decided = a_better + b_better
    p = float(binomtest(a_better, decided, 0.5).pvalue) if decided else 1.0
    difference = percentile_interval(float(gain.mean()), draws, confidence)
    return PairedDifference(difference, a_better, b_better, p, len(names))


def weights_over_subjects(subjects: Subjects, n_resamples: int, seed: int) -> Iterator[Floats]:
    """Chunks ``(some resamples, rows)``: how often each row was drawn along with its subject."""
    names, who = np.unique(np.asarray(subjects), return_inverse=True)
    generator = np.random.default_rng(seed)
    evenly = np.full(len(names), 1 / len(names))
    chunk = max(1, CHUNK_CELLS // len(who))
    for start in range(0, n_resamples, chunk):
        counts = generator.multinomial(len(names), evenly, size=min(chunk, n_resamples - start))
        yield counts[:, who].astype(float)


def percentile_interval(value: float, draws: Floats, confidence: float) -> Interval:
    """Percentile interval of the defined draws; undefined if over half of them are."""
    defined = draws[~np.isnan(draws)]
    if np.isnan(value) or 2 * len(defined) < len(draws) or not len(defined):
        return Interval(float(value), np.nan, np.nan)
    tail = (1 - confidence) / 2
    low, high = np.quantile(defined, [tail, 1 - tail])
    return Interval(float(value), float(low), float(high))


def honest_at_the_ends(interval: Interval, n_subjects: int | None, confidence: float) -> Interval:
    """Where all are right or all wrong no draw differs, and the bootstrap shows no width.

    A share then gets the exact binomial interval of its subjects; any other number gets none.
    """
    if interval.low != interval.high:
        return interval
    if n_subjects and interval.value in (0.0, 1.0):
        right = round(interval.value * n_subjects)
        exact = binomtest(right, n_subjects).proportion_ci(confidence)
        return Interval(interval.value, float(exact.low), float(exact.high))
    return Interval(interval.value, np.nan, np.nan)


def bad_predictions(problem: str) -> InputError:
    return InputError("predictions", problem, "check what was answered", code="bad-predictions")


def number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
