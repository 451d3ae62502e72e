"""What a model's probabilities are worth on one set, each number with its interval over subjects.

Each number is a function of row weights ``(resamples, rows)``: weights of one give the number
itself, drawn weights give its bootstrap distribution, in one pass and without a loop.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medblip.evaluation.intervals import (
    Floats,
    Interval,
    PairedDifference,
    Subjects,
    bad_predictions,
    bootstrap_over_subjects,
    honest_at_the_ends,
    number,
    paired_difference,
    percentile_interval,
    weights_over_subjects,
)

__all__ = [
    "ClassificationMetrics",
    "Interval",
    "PairedDifference",
    "ReliabilityBin",
    "bootstrap_over_subjects",
    "classification_metrics",
    "paired_difference",
    "reliability",
]

Integers = NDArray[np.int64]

CALIBRATION_BINS = 15
ROWS_PER_BIN = 10  # with fewer, the noise within bins passes for miscalibration


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Rows of similar confidence: mean confidence, share right, and how many."""

    confidence: float
    accuracy: float
    rows: int


@dataclass(frozen=True)
class ClassificationMetrics:
    """What a model's probabilities are worth on one set.

    Attributes:
        classes: class names, in the order of every per-class tuple.
        accuracy: share of rows whose most probable class is the true one.
        balanced_accuracy: mean sensitivity over the classes that occur.
        macro_auc: mean one-against-rest area under the ROC curve; NaN if a class is absent.
        macro_f1: mean F1 over the classes that occur or are predicted.
        sensitivity, specificity: per class, one against rest; NaN where nothing was to be found.
        brier: mean over rows of the squared error summed over classes; 0 is best, 2 is worst.
        ece: expected calibration error of the top class, as a fraction. Resampling adds noise to
            every bin and so moves the error upwards: it has no honest bootstrap interval.
        ece_bins: how many equal-mass bins it took (equal confidences share one).
        nc_ad_swaps: rows where NC was called AD or AD was called NC; None without both classes.
        confusion: rows by ``[true][predicted]``.
        n_rows, n_subjects: size of the set.
        confidence, n_resamples, seed: how the intervals were made.
    """

    classes: tuple[str, ...]
    accuracy: Interval
    balanced_accuracy: Interval
    macro_auc: Interval
    macro_f1: Interval
    sensitivity: tuple[Interval, ...]
    specificity: tuple[Interval, ...]
    brier: Interval
    ece: float
    ece_bins: int
    nc_ad_swaps: int | None
    confusion: tuple[tuple[int, ...], ...]
    n_rows: int
    n_subjects: int
    confidence: float
    n_resamples: int
    seed: int

    @property
    def rows_per_class(self) -> tuple[int, ...]:
        return tuple(sum(row) for row in self.confusion)

    def as_dict(self) -> dict[str, Any]:
        """JSON-able; None stands for what is undefined."""
        by_class = {
            name: {
                "rows": rows,
                "sensitivity": sensitivity.as_dict(),
                "specificity": specificity.as_dict(),
            }
            for name, rows, sensitivity, specificity in zip(
                self.classes, self.rows_per_class, self.sensitivity, self.specificity, strict=True
            )
        }
        return {
            "n_rows": self.n_rows,
            "n_subjects": self.n_subjects,
            "accuracy": self.accuracy.as_dict(),
            "balanced_accuracy": self.balanced_accuracy.as_dict(),
            "macro_auc": self.macro_auc.as_dict(),
            "macro_f1": self.macro_f1.as_dict(),
            "brier": self.brier.as_dict(),
            "ece": number(self.ece),
            "ece_bins": self.ece_bins,
            "nc_ad_swaps": self.nc_ad_swaps,
            "by_class": by_class,
            "confusion": {"classes": list(self.classes), "rows": [list(r) for r in self.confusion]},
            "interval": {
                "confidence": self.confidence,
                "n_resamples": self.n_resamples,
                "seed": self.seed,
                "resampled": "subjects",
            },
        }


def classification_metrics(
    labels: ArrayLike,
    probabilities: ArrayLike,
    subjects: Subjects,
    classes: Sequence[str],
    *,
    n_resamples: int = 2000,
    seed: int = 0,
    confidence: float = 0.95,
) -> ClassificationMetrics:
    """Every number of one model on one set.

    Args:
        labels: integer ``(rows,)``, index into ``classes``.
        probabilities: ``(rows, classes)``, each row sums to one.
        subjects: ``(rows,)``, who each row belongs to.
        classes: names, in the order of the columns.

    Raises:
        InputError: shapes that do not fit, labels out of range, or rows that are no probabilities.
    """
    truth, probs = _checked(labels, probabilities, subjects, classes)
    who, k = np.asarray(subjects), len(classes)
    intervals = score_intervals(truth, probs[None], who, n_resamples, seed, confidence)
    accuracy, balanced, auc, f1, brier = intervals[:5]
    confusion = _confusion(np.ones((1, len(truth))), truth, probs)[0].astype(int)
    bins = reliability(truth, probs)
    return ClassificationMetrics(
        classes=tuple(classes),
        accuracy=accuracy,
        balanced_accuracy=balanced,
        macro_auc=auc,
        macro_f1=f1,
        sensitivity=intervals[5 : 5 + k],
        specificity=intervals[5 + k :],
        brier=brier,
        ece=float(sum(b.rows * abs(b.accuracy - b.confidence) for b in bins) / len(truth)),
        ece_bins=len(bins),
        nc_ad_swaps=_swaps(confusion, classes),
        confusion=tuple(tuple(int(cell) for cell in row) for row in confusion),
        n_rows=len(truth),
        n_subjects=len(np.unique(who)),
        confidence=confidence,
        n_resamples=n_resamples,
        seed=seed,
    )


def reliability(
    labels: ArrayLike, probabilities: ArrayLike, n_bins: int = CALIBRATION_BINS
) -> tuple[ReliabilityBin, ...]:
    """Confidence in the top class against how often it is right, in equal-mass bins.

    Fewer bins than asked where a bin would hold under ten rows; equal confidences share a bin.
    """
    probs = np.asarray(probabilities, dtype=float)
    confidence, correct = probs.max(axis=1), probs.argmax(axis=1) == np.asarray(labels)
    n_bins = min(n_bins, max(1, len(confidence) // ROWS_PER_BIN))
    edges = np.quantile(confidence, np.linspace(0, 1, n_bins + 1)[1:-1])
    placed = np.searchsorted(edges, confidence, side="right")
    return tuple(
        ReliabilityBin(
            float(confidence[inside].mean()), float(correct[inside].mean()), int(inside.sum())
        )
        for inside in (placed == b for b in np.unique(placed))
    )


def _scores(weights: Floats, labels: Integers, probabilities: Floats) -> Floats:
    """``(resamples, 5 + 2 classes)``: accuracy, balanced, AUC, F1, Brier, sensitivity, specificity.

    NaN where a resample leaves a number undefined.
    """
    k = probabilities.shape[1]
    cells = _confusion(weights, labels, probabilities)  # (resamples, true, predicted)
    right = np.diagonal(cells, axis1=1, axis2=2)  # (resamples, classes)
    true, called, total = cells.sum(axis=2), cells.sum(axis=1), cells.sum(axis=(1, 2))
    one_hot = np.eye(k)[labels]
    brier = weights @ ((probabilities - one_hot) ** 2).sum(axis=1)
    aucs = [_auc(weights, probabilities[:, c], labels == c) for c in range(k)]
    with np.errstate(divide="ignore", invalid="ignore"):
        sensitivity = right / true
        specificity = 1 - (called - right) / (total[:, None] - true)
        f1 = 2 * right / (true + called)
        summary = [
            right.sum(axis=1) / total,
            _mean_of_defined(sensitivity),
            np.mean(aucs, axis=0),
            _mean_of_defined(f1),
            brier / total,
        ]
    return np.column_stack([*summary, sensitivity, specificity])


def _confusion(weights: Floats, labels: Integers, probabilities: Floats) -> Floats:
    k = probabilities.shape[1]
    cell = labels * k + probabilities.argmax(axis=1)
    return (weights @ np.eye(k * k)[cell]).reshape(-1, k, k)


def _auc(weights: Floats, scores: Floats, positive: NDArray[np.bool_]) -> Floats:
    """Weighted rank AUC ``(resamples,)``: share of pairs in order, ties counting one half."""
    order = np.argsort(scores, kind="stable")
    steps = np.flatnonzero(np.diff(scores[order], prepend=-np.inf))  # where each tie begins
    up = np.add.reduceat(weights[:, order] * positive[order], steps, axis=1)
    down = np.add.reduceat(weights[:, order] * ~positive[order], steps, axis=1)
    below = np.cumsum(down, axis=1) - down / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        return (up * below).sum(axis=1) / (up.sum(axis=1) * down.sum(axis=1))


def _mean_of_defined(values: Floats) -> Floats:
    """Mean over the last axis of what is not NaN; NaN if nothing is left."""
    defined = ~np.isnan(values)
    return np.where(defined, values, 0).sum(axis=-1) / defined.sum(axis=-1)


def score_intervals(
    labels: Integers,
    runs: Floats,
    subjects: NDArray[Any],
    n_resamples: int = 2000,
    seed: int = 0,
    confidence: float = 0.95,
) -> tuple[Interval, ...]:
    """Means over runs, each with its interval over subjects; all runs meet the same draws.

    Args:
        labels: ``(rows,)``.
        runs: probabilities ``(runs, rows, classes)``.
        subjects: ``(rows,)``.

    Returns:
        Accuracy, balanced accuracy, macro AUC, macro F1 and Brier score, then the sensitivity and
        then the specificity of each class.
    """

    def mean(weights: Floats) -> Floats:
        over_runs: Floats = np.mean([_scores(weights, labels, run) for run in runs], axis=0)
        return over_runs

    values = mean(np.ones((1, len(labels))))[0]
    draws = np.concatenate([mean(w) for w in weights_over_subjects(subjects, n_resamples, seed)])
    # Shares of right answers have an exact interval; the subjects behind each share bound it.
    k = runs.shape[-1]
    concerned = [np.ones(len(labels), dtype=bool), *[None] * 4]
    concerned += [labels == c for c in range(k)] + [labels != c for c in range(k)]
    return tuple(
        honest_at_the_ends(
            percentile_interval(value, draws[:, column], confidence),
            None if rows is None else len(np.unique(subjects[rows])),
            confidence,
        )
        for column, (value, rows) in enumerate(zip(values, concerned, strict=True))
    )


def _swaps(confusion: NDArray[Any], classes: Sequence[str]) -> int | None:
    if not {"NC", "AD"} <= set(classes):
        return None
    nc, ad = list(classes).index("NC"), list(classes).index("AD")
    return int(confusion[nc, ad] + confusion[ad, nc])


def _checked(
    labels: ArrayLike,
    probabilities: ArrayLike,
    subjects: Subjects,
    classes: Sequence[str],
) -> tuple[Integers, Floats]:
    truth, probs = np.asarray(labels), np.asarray(probabilities, dtype=np.float64)
    expected = (len(subjects), len(classes))
    if len(truth) == 0 or probs.shape != expected or truth.shape != expected[:1]:
        raise bad_predictions(
            f"found labels {truth.shape} and probabilities {probs.shape}; "
            f"expected ({expected[0]},) and {expected}, at least one row"
        )
    if not np.issubdtype(truth.dtype, np.integer) or truth.min() < 0 or truth.max() >= expected[1]:
        raise bad_predictions(f"found labels that are no index into the classes {tuple(classes)}")
    sums = probs.sum(axis=1)
    if not np.isfinite(probs).all() or (probs < 0).any() or (np.abs(sums - 1) > 1e-3).any():
        raise bad_predictions("found rows that are negative, not finite, or do not sum to one")
    return truth.astype(np.int64), probs
