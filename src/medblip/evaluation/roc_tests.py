"""Areas under the ROC curve: DeLong's variance and test for one class against the rest.

DeLong et al., Biometrics 1988, by midranks (Sun & Xu, IEEE SPL 2014), with Obuchowski's sums over
subjects (Biometrics 1997) where someone brings several rows. Over several classes the areas are
averaged; that mean has no such formula and is tested by `medblip.evaluation.paired_tests`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import norm, rankdata

from medblip.evaluation.intervals import Floats, Interval, Subjects, bad_predictions


@dataclass(frozen=True, slots=True)
class RocTest:
    """Area of a against area of b on the same rows.

    Attributes:
        a, b: each area with its interval.
        difference: a minus b with its interval.
        z, p: the difference over its standard error, and two-sided; NaN and 1 where the two
            models order every pair alike.
    """

    a: Interval
    b: Interval
    difference: Interval
    z: float
    p: float


def auc_interval(
    positive: ArrayLike,
    scores: ArrayLike,
    subjects: Subjects | None = None,
    *,
    confidence: float = 0.95,
) -> Interval:
    """Area under the ROC curve with DeLong's interval, cut at 0 and 1.

    An area of exactly 0 or 1 has no estimated variance and so no interval.

    Args:
        positive: bool ``(rows,)``.
        scores: ``(rows,)``, higher for positive; ties count one half.
        subjects: ``(rows,)``; None where each row is a subject of its own.

    Raises:
        InputError: shapes that do not fit, or under two subjects with either kind of row.
    """
    areas, covariance = auc_covariance(positive, np.asarray(scores)[None], subjects)
    return _area(areas[0], covariance[0, 0], confidence)


def delong_test(
    positive: ArrayLike,
    scores_a: ArrayLike,
    scores_b: ArrayLike,
    subjects: Subjects | None = None,
    *,
    confidence: float = 0.95,
) -> RocTest:
    """Whether two models on the same rows have different areas.

    Args and Raises: as `auc_interval`.
    """
    both = np.stack([np.asarray(scores_a, dtype=float), np.asarray(scores_b, dtype=float)])
    areas, covariance = auc_covariance(positive, both, subjects)
    difference = float(areas[0] - areas[1])
    # Rounding can leave a hair below zero where the two order every pair alike.
    variance = max(float(np.array([1, -1]) @ covariance @ np.array([1, -1])), 0.0)
    error = variance**0.5 if variance > np.finfo(float).eps ** 2 else 0.0
    z = difference / error if error else np.nan
    p = float(2 * norm.sf(abs(z))) if error else 1.0
    return RocTest(
        _area(areas[0], covariance[0, 0], confidence),
        _area(areas[1], covariance[1, 1], confidence),
        _wald(difference, error, confidence),
        float(z),
        p,
    )


def auc_covariance(
    positive: ArrayLike, scores: ArrayLike, subjects: Subjects | None = None
) -> tuple[Floats, Floats]:
    """Areas ``(models,)`` and their covariance ``(models, models)``.

    Args:
        positive: bool ``(rows,)``.
        scores: ``(models, rows)``.
        subjects: ``(rows,)`` or None.

    Raises:
        InputError: as `auc_interval`.
    """
    found, given = np.asarray(positive, dtype=bool), np.asarray(scores, dtype=float)
    who = np.arange(len(found)) if subjects is None else np.asarray(subjects)
    _check(found, given, who)
    of_positive, of_negative = _placements(found, given)
    areas = of_positive.mean(axis=1)
    _, cluster = np.unique(who, return_inverse=True)
    # (models, subjects): how far each subject's rows lie above the mean, in sum
    up = _sums(of_positive - areas[:, None], cluster[found], cluster.max() + 1)
    down = _sums(of_negative - areas[:, None], cluster[~found], cluster.max() + 1)
    m, n = int(found.sum()), int((~found).sum())
    i, j, k = len(set(cluster[found])), len(set(cluster[~found])), cluster.max() + 1
    cross = up @ down.T
    covariance = (
        i / (i - 1) * (up @ up.T) / m**2
        + j / (j - 1) * (down @ down.T) / n**2
        + k / (k - 1) * (cross + cross.T) / (m * n)
    )
    return areas, covariance


def macro_auc(labels: ArrayLike, probabilities: ArrayLike) -> Floats:
    """Mean one-against-rest area of many sets of answers to the same rows.

    Args:
        labels: integer ``(rows,)``, each class at least once.
        probabilities: ``(..., rows, classes)``.

    Returns:
        ``(...)``; NaN where a class does not occur.
    """
    truth, given = np.asarray(labels), np.asarray(probabilities, dtype=float)
    areas = []
    for c in range(given.shape[-1]):
        found = truth == c
        m, n = int(found.sum()), int((~found).sum())
        ranks = rankdata(given[..., c], axis=-1)[..., found].sum(axis=-1)
        areas.append((ranks - m * (m + 1) / 2) / (m * n) if m and n else np.nan * ranks)
    mean: Floats = np.mean(areas, axis=0)
    return mean


def _placements(positive: NDArray[np.bool_], scores: Floats) -> tuple[Floats, Floats]:
    """Per positive the share of negatives below it, and per negative that of positives above it."""
    m, n = int(positive.sum()), int((~positive).sum())
    ranks = rankdata(scores, axis=1)
    among_positive = rankdata(scores[:, positive], axis=1)
    among_negative = rankdata(scores[:, ~positive], axis=1)
    above = (ranks[:, positive] - among_positive) / n
    below = 1 - (ranks[:, ~positive] - among_negative) / m
    return above, below


def _sums(values: Floats, cluster: NDArray[np.int64], count: int) -> Floats:
    return np.stack([np.bincount(cluster, weights=row, minlength=count) for row in values])


def _area(value: float, variance: float, confidence: float) -> Interval:
    if variance <= 0:
        return Interval(float(value), np.nan, np.nan)
    wide = _wald(float(value), float(variance) ** 0.5, confidence)
    return Interval(wide.value, max(wide.low, 0.0), min(wide.high, 1.0))


def _wald(value: float, error: float, confidence: float) -> Interval:
    reach = float(norm.ppf((1 + confidence) / 2)) * error
    return Interval(value, value - reach, value + reach)


def _check(positive: NDArray[np.bool_], scores: Floats, who: NDArray[Any]) -> None:
    rows = len(positive)
    if scores.ndim != 2 or scores.shape[1] != rows or len(who) != rows:
        raise bad_predictions(
            f"found {rows} labels, scores {scores.shape} and {len(who)} subjects; "
            "expected scores (models, rows) and one subject a row"
        )
    if not np.isfinite(scores).all():
        raise bad_predictions("found scores that are not finite")
    kinds = (len(set(who[positive].tolist())), len(set(who[~positive].tolist())))
    if min(kinds) < 2:
        raise bad_predictions(
            f"found {kinds[0]} subjects with and {kinds[1]} without the class; expected two of each"
        )
