"""How well a plain classifier tells the label of held-out subjects, and how far that is luck."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict

FOLDS = 5
CONFIDENCE = 0.95
_DRAWS = 4000


class Measured(NamedTuple):
    """Balanced accuracy of held-out predictions.

    Attributes:
        accuracy: mean of the recalls of the labels, 0 to 1.
        low, high: 95 % interval (each recall a Jeffreys posterior, labels independent).
        expected: mean of the same when the labels are shuffled within their strata.
        p: chance of at least this accuracy after such a shuffle (one-sided, normal).
    """

    accuracy: float
    low: float
    high: float
    expected: float
    p: float


def predict_held_out(features: Any, labels: NDArray[np.str_]) -> NDArray[np.str_]:
    """Each row's label by a logistic regression that saw the other folds only.

    Args:
        features: dense or sparse ``(subjects, columns)``, about unit scale, made without labels.
        labels: of at least two kinds, each at least twice.
    """
    smallest = int(np.unique(labels, return_counts=True)[1].min())
    folds = StratifiedKFold(min(FOLDS, smallest), shuffle=True, random_state=0)
    model = LogisticRegression(class_weight="balanced", max_iter=300, tol=1e-3)
    predicted: NDArray[np.str_] = cross_val_predict(model, features, labels, cv=folds)
    return predicted


def measure(
    labels: NDArray[np.str_], predicted: NDArray[np.str_], strata: NDArray[np.str_]
) -> Measured:
    """Judge predictions.

    Args:
        labels, predicted: of each subject.
        strata: within which labels are shuffled for ``expected`` and ``p``; the cohort, so that
            what it tells by itself is not counted again.
    """
    names, kind = np.unique(labels, return_inverse=True)
    counts = np.bincount(kind)
    hits = np.bincount(kind[labels == predicted], minlength=len(names))
    low, high = _interval(hits, counts)
    accuracy = float((hits / counts).mean())
    expected, deviation = _under_shuffling(names, labels, predicted, strata)
    distance = (accuracy - expected) / deviation if deviation else 0.0
    return Measured(accuracy, low, high, expected, float(norm.sf(distance)))


def _interval(hits: NDArray[np.intp], counts: NDArray[np.intp]) -> tuple[float, float]:
    draws = np.random.default_rng(0).beta(
        hits + 0.5, counts - hits + 0.5, size=(_DRAWS, len(counts))
    )
    low, high = np.quantile(draws.mean(axis=1), [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def _under_shuffling(
    names: NDArray[np.str_],
    labels: NDArray[np.str_],
    predicted: NDArray[np.str_],
    strata: NDArray[np.str_],
) -> tuple[float, float]:
    """Mean and deviation of the balanced accuracy over all shuffles of labels within strata.

    The count of hits of a label is hypergeometric in each stratum, so no shuffle has to be made.
    """
    weight = 1 / np.array([(labels == name).sum() for name in names]) / len(names)
    mean = variance = 0.0
    for stratum in np.unique(strata):
        inside = strata == stratum
        size = int(inside.sum())
        true = np.array([(labels[inside] == name).sum() for name in names]) * weight
        said = np.array([(predicted[inside] == name).sum() for name in names])
        mean += float(true @ said) / size
        if size > 1:
            alone = true * (size * weight - true) * said * (size - said)
            together = np.outer(true * said, true * said)
            variance += (alone.sum() + together.sum() - np.trace(together)) / (size**2 * (size - 1))
    return mean, float(np.sqrt(variance))
