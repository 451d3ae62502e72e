"""What given answers are worth, where no probability stands behind them, with Wilson intervals.

For generated text, which may be none of the answers. Where every answer has a probability,
`medblip.evaluation.metrics.classification_metrics` says more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import norm
from sklearn.metrics import f1_score

from medblip.evaluation.intervals import Floats, Interval, Subjects, bad_predictions, number

UNPARSED = -1  # an answer that is none of the classes; never right


@dataclass(frozen=True)
class DecisionMetrics:
    """One model's answers on one set.

    Attributes:
        classes: class names, in the order of every per-class tuple.
        accuracy: share of rows answered right, as in the paper's tables.
        balanced_accuracy: mean sensitivity over the classes that occur.
        macro_f1: mean F1 over the classes that occur or are answered.
        sensitivity, specificity: per class, one against rest; NaN where nothing was to be found.
        swaps: rows where the first class was called the last or the last the first: NC and AD.
        confusion: rows by ``[true][answered]``; the last column is unparsed.
        n_rows, n_subjects: size of the set.
        confidence: of the intervals, Wilson's with as many trials as there are subjects.
    """

    classes: tuple[str, ...]
    accuracy: Interval
    balanced_accuracy: float
    macro_f1: float
    sensitivity: tuple[Interval, ...]
    specificity: tuple[Interval, ...]
    swaps: int
    confusion: tuple[tuple[int, ...], ...]
    n_rows: int
    n_subjects: int
    confidence: float

    @property
    def unparsed(self) -> int:
        return sum(row[-1] for row in self.confusion)

    def as_dict(self) -> dict[str, Any]:
        """JSON-able; None stands for what is undefined."""
        return {
            "n_rows": self.n_rows,
            "n_subjects": self.n_subjects,
            "accuracy": self.accuracy.as_dict(),
            "balanced_accuracy": number(self.balanced_accuracy),
            "macro_f1": number(self.macro_f1),
            "swaps": self.swaps,
            "unparsed": self.unparsed,
            "by_class": {
                name: {"sensitivity": found.as_dict(), "specificity": spared.as_dict()}
                for name, found, spared in zip(
                    self.classes, self.sensitivity, self.specificity, strict=True
                )
            },
            "confusion": {
                "classes": [*self.classes, "unparsed"],
                "rows": [list(row) for row in self.confusion],
            },
            "interval": {"kind": "Wilson over subjects", "confidence": self.confidence},
        }


def decision_metrics(
    labels: ArrayLike,
    answers: ArrayLike,
    subjects: Subjects,
    classes: Sequence[str],
    *,
    confidence: float = 0.95,
) -> DecisionMetrics:
    """Every number of one model's answers on one set.

    Args:
        labels: integer ``(rows,)``, index into ``classes``.
        answers: integer ``(rows,)``, index into ``classes`` or `UNPARSED`.
        subjects: ``(rows,)``.
        classes: names, from healthy to ill.

    Raises:
        InputError: shapes that do not fit, or numbers that are no index.
    """
    truth, given, who = _checked(labels, answers, subjects, len(classes))
    k = len(classes)
    confusion = np.bincount(truth * (k + 1) + given % (k + 1), minlength=k * (k + 1))
    confusion = confusion.reshape(k, k + 1)

    def share(right: NDArray[np.bool_], among: NDArray[np.bool_]) -> Interval:
        trials = len(np.unique(who[among]))
        return wilson(float(right[among].mean()) if trials else np.nan, trials, confidence)

    sensitivity = tuple(share(given == c, truth == c) for c in range(k))
    occurring = [s.value for s in sensitivity if not np.isnan(s.value)]
    everyone = np.ones(len(truth), dtype=bool)
    met = sorted({*truth.tolist(), *given.tolist()} - {UNPARSED})
    return DecisionMetrics(
        classes=tuple(classes),
        accuracy=share(truth == given, everyone),
        balanced_accuracy=float(np.mean(occurring)),
        macro_f1=float(f1_score(truth, given, labels=met, average="macro", zero_division=0)),
        sensitivity=sensitivity,
        specificity=tuple(share(given != c, truth != c) for c in range(k)),
        swaps=int(confusion[0, k - 1] + confusion[k - 1, 0]),
        confusion=tuple(tuple(int(cell) for cell in row) for row in confusion),
        n_rows=len(truth),
        n_subjects=len(np.unique(who)),
        confidence=confidence,
    )


def balanced_accuracy(labels: ArrayLike, probabilities: ArrayLike) -> Floats:
    """Mean sensitivity of many sets of answers to the same rows; see `paired_permutation`.

    Args:
        labels: integer ``(rows,)``.
        probabilities: ``(..., rows, classes)``; the most probable class is the answer.

    Returns:
        ``(...)``.
    """
    truth = np.asarray(labels)
    right = np.asarray(probabilities).argmax(axis=-1) == truth  # (..., rows)
    mean: Floats = np.mean([right[..., truth == c].mean(axis=-1) for c in np.unique(truth)], axis=0)
    return mean


def wilson(share: float, trials: float, confidence: float = 0.95) -> Interval:
    """Wilson's interval of a share; ``trials`` may be fewer than the rows it was counted on.

    Rows of one subject are not independent, so the number of subjects is the honest count of
    trials: right where a subject's rows agree, else wider than need be.
    """
    if not trials or np.isnan(share):
        return Interval(float(share), np.nan, np.nan)
    z2 = float(norm.ppf((1 + confidence) / 2)) ** 2
    middle = (share + z2 / (2 * trials)) / (1 + z2 / trials)
    inner = share * (1 - share) / trials + z2 / (4 * trials**2)
    reach = (z2 * inner) ** 0.5 / (1 + z2 / trials)
    low = 0.0 if share == 0 else middle - reach  # exact where rounding would not be
    return Interval(float(share), low, 1.0 if share == 1 else middle + reach)


def _checked(
    labels: ArrayLike, answers: ArrayLike, subjects: Subjects, k: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[Any]]:
    truth, given, who = np.asarray(labels), np.asarray(answers), np.asarray(subjects)
    if not len(truth) or truth.shape != given.shape or len(who) != len(truth):
        raise bad_predictions(
            f"found labels {truth.shape}, answers {given.shape} and {len(who)} subjects; "
            "expected one length above 0"
        )
    whole = all(np.issubdtype(values.dtype, np.integer) for values in (truth, given))
    if not whole or truth.min() < 0 or given.min() < UNPARSED or max(truth.max(), given.max()) >= k:
        raise bad_predictions(f"found labels or answers that are no index below {k}")
    return truth.astype(np.int64), given.astype(np.int64), who
