"""Tests of two conditions on the same subjects, where counting right answers is not enough.

Accuracy has its paired bootstrap and exact sign test (McNemar's, with one row a subject) in
`medblip.evaluation.intervals.paired_difference`. Here: permutation tests for numbers that are no
mean over rows, and the correction for asking several questions of one test set.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medblip.evaluation.intervals import CHUNK_CELLS, Floats, Subjects, bad_predictions

# Labels (rows,) and probabilities (..., rows, classes) to numbers (...).
Statistic = Callable[[ArrayLike, ArrayLike], Floats]

SAME = 1e-12  # two orders of summation of one number


@dataclass(frozen=True, slots=True)
class PermutationTest:
    """A statistic of a minus that of b.

    Attributes:
        difference: as found.
        p: two-sided; never below ``1 / (n_permutations + 1)``.
        n_permutations, n_subjects: how many were drawn, and of whom.
    """

    difference: float
    p: float
    n_permutations: int
    n_subjects: int

    def as_dict(self) -> dict[str, Any]:
        return {
            "difference": self.difference,
            "p": self.p,
            "n_permutations": self.n_permutations,
            "n_subjects": self.n_subjects,
        }


def paired_permutation(
    statistic: Statistic,
    labels: ArrayLike,
    probabilities_a: ArrayLike,
    probabilities_b: ArrayLike,
    subjects: Subjects,
    *,
    n_permutations: int = 2000,
    seed: int = 0,
) -> PermutationTest:
    """Whether it matters which of two models answered: their answers are swapped by subject.

    Were the models alike, any subject's two sets of answers could change places. A drawn subject
    swaps all rows.

    Args:
        statistic: e.g. `medblip.evaluation.roc_tests.macro_auc` or
            `medblip.evaluation.decision_metrics.balanced_accuracy`.
        labels: integer ``(rows,)``.
        probabilities_a, probabilities_b: ``(rows, classes)``.
        subjects: ``(rows,)``.

    Raises:
        InputError: shapes that do not fit, or a statistic that these labels leave undefined.
    """
    truth, a, b, who = _checked(labels, probabilities_a, probabilities_b, subjects)
    observed = float(statistic(truth, a) - statistic(truth, b))
    if np.isnan(observed):
        raise bad_predictions("the statistic is not defined for these labels")
    generator = np.random.default_rng(seed)
    chunk, extreme = max(1, CHUNK_CELLS // a.size), 0
    for start in range(0, n_permutations, chunk):
        size = (min(chunk, n_permutations - start), int(who.max()) + 1)
        swapped = generator.integers(0, 2, size, dtype=np.uint8).astype(bool)[:, who, None]
        drawn = statistic(truth, np.where(swapped, b, a)) - statistic(
            truth, np.where(swapped, a, b)
        )
        extreme += int((np.abs(drawn) >= abs(observed) - SAME).sum())
    p = (1 + extreme) / (1 + n_permutations)
    return PermutationTest(observed, p, n_permutations, int(who.max()) + 1)


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """P-values that may be read one by one though a family of them was looked at (Holm 1979).

    The chance that any true null hypothesis of the family gets an adjusted p below 0.05 is at most
    0.05, however the tests hang together. Tests keep their order.
    """
    ascending = sorted(p_values, key=lambda name: p_values[name])
    adjusted, so_far = {}, 0.0
    for done, name in enumerate(ascending):
        so_far = max(so_far, min(1.0, (len(ascending) - done) * p_values[name]))
        adjusted[name] = so_far
    return {name: adjusted[name] for name in p_values}


def _checked(
    labels: ArrayLike, a: ArrayLike, b: ArrayLike, subjects: Subjects
) -> tuple[NDArray[np.int64], Floats, Floats, NDArray[np.int64]]:
    truth = np.asarray(labels)
    first, second = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    rows = len(subjects)
    fits = first.ndim == 2 and first.shape == second.shape and len(first) == rows
    if not rows or not fits or truth.shape != (rows,):
        raise bad_predictions(
            f"found {rows} subjects, labels {truth.shape} and probabilities {first.shape} and "
            f"{second.shape}; expected (rows,) and twice (rows, classes), at least one row"
        )
    _, who = np.unique(np.asarray(subjects), return_inverse=True)
    return truth.astype(np.int64), first, second, who
