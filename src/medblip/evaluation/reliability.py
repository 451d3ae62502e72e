"""How far stated probabilities are from the share of right answers, before and after calibration.

The expected calibration error of the answer given (Guo et al. 2017) is never 0 on a finite set:
chance within bins passes for miscalibration. So each error stands beside what a perfectly
calibrated model with the same confidences would show on as many rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medblip.evaluation.calibration import Temperature, fit_temperature
from medblip.evaluation.intervals import (
    CHUNK_CELLS,
    Floats,
    Interval,
    Subjects,
    bad_predictions,
    bootstrap_over_subjects,
)
from medblip.evaluation.metrics import CALIBRATION_BINS, ReliabilityBin, reliability

Binning = Literal["equal_mass", "equal_width"]

TINY = 1e-12  # the least probability that a log loss counts


@dataclass(frozen=True)
class CalibrationQuality:
    """How good one set of probabilities is.

    Attributes:
        ece: error over bins of equal mass, with a bootstrap interval that takes the upward pull of
            resampling off again.
        ece_equal_width: over bins of equal width, as most papers print it.
        ece_if_calibrated: mean equal-mass error of a perfectly calibrated model with the same
            confidences: what chance alone shows.
        p_calibrated: share of such models with an error as large; small speaks against calibration.
        brier: mean squared error summed over classes, 0 to 2.
        log_loss: mean negative log-probability of the true class, in nats.
        bins: of equal mass, for `medblip.evaluation.figures.reliability_diagram`.
    """

    ece: Interval
    ece_equal_width: float
    ece_if_calibrated: float
    p_calibrated: float
    brier: float
    log_loss: float
    bins: tuple[ReliabilityBin, ...]

    def as_dict(self) -> dict[str, Any]:
        return {
            "ece": self.ece.as_dict(),
            "ece_equal_width": self.ece_equal_width,
            "ece_if_calibrated": self.ece_if_calibrated,
            "p_calibrated": self.p_calibrated,
            "brier": self.brier,
            "log_loss": self.log_loss,
            "bins": [[b.confidence, b.accuracy, b.rows] for b in self.bins],
        }


def calibrate_and_compare(
    validation_scores: NDArray[np.floating[Any]],
    validation_labels: NDArray[np.int64],
    test_scores: NDArray[np.floating[Any]],
    test_labels: NDArray[np.int64],
    test_subjects: Subjects,
    *,
    n_resamples: int = 1000,
    seed: int = 0,
) -> tuple[Temperature, CalibrationQuality, CalibrationQuality]:
    """A temperature fitted on validation, and the test set before and after it.

    Args:
        validation_scores, test_scores: log-probabilities ``(rows, classes)``.
        validation_labels, test_labels: ``(rows,)``.
        test_subjects: ``(rows,)``.
    """
    temperature = fit_temperature(validation_scores, validation_labels)
    before, after = (
        calibration_quality(
            test_labels,
            scaling.probabilities(test_scores),
            test_subjects,
            n_resamples=n_resamples,
            seed=seed,
        )
        for scaling in (Temperature(), temperature)
    )
    return temperature, before, after


def calibration_quality(
    labels: ArrayLike,
    probabilities: ArrayLike,
    subjects: Subjects,
    *,
    n_resamples: int = 1000,
    seed: int = 0,
) -> CalibrationQuality:
    """Every number of `CalibrationQuality`.

    Args:
        labels: integer ``(rows,)``.
        probabilities: ``(rows, classes)``, each row sums to one.
        subjects: ``(rows,)``.

    Raises:
        InputError: shapes that do not fit.
    """
    truth, given = np.asarray(labels), np.asarray(probabilities, dtype=float)
    if given.ndim != 2 or truth.shape != (len(given),) or len(subjects) != len(given):
        raise bad_predictions(
            f"found labels {truth.shape}, probabilities {given.shape}, {len(subjects)} subjects; "
            "expected (rows,), (rows, classes) and one subject a row"
        )
    bins = reliability(truth, given)
    by_chance = errors_if_calibrated(given, n_resamples, seed)
    of_truth = given[np.arange(len(truth)), truth]
    return CalibrationQuality(
        ece=ece_interval(truth, given, subjects, n_resamples=n_resamples, seed=seed),
        ece_equal_width=calibration_error(equal_width_bins(truth, given)),
        ece_if_calibrated=float(by_chance.mean()),
        p_calibrated=float((1 + (by_chance >= calibration_error(bins)).sum()) / (1 + n_resamples)),
        brier=float(((given - np.eye(given.shape[1])[truth]) ** 2).sum(axis=1).mean()),
        log_loss=float(-np.log(of_truth.clip(min=TINY)).mean()),
        bins=bins,
    )


def calibration_error(bins: Sequence[ReliabilityBin]) -> float:
    """Mean distance of confidence from share right, bins weighted by their rows."""
    rows = sum(b.rows for b in bins)
    return sum(b.rows * abs(b.accuracy - b.confidence) for b in bins) / rows


def equal_width_bins(
    labels: ArrayLike, probabilities: ArrayLike, n_bins: int = CALIBRATION_BINS
) -> tuple[ReliabilityBin, ...]:
    """Confidence in the top class against how often it is right; bins are ``(low, high]``.

    Bins without rows are left out. For bins of equal mass see
    `medblip.evaluation.metrics.reliability`.
    """
    given = np.asarray(probabilities, dtype=float)
    confidence, right = given.max(axis=1), given.argmax(axis=1) == np.asarray(labels)
    placed = np.ceil(confidence * n_bins).clip(1, n_bins).astype(int)
    return tuple(
        ReliabilityBin(
            float(confidence[inside].mean()), float(right[inside].mean()), int(inside.sum())
        )
        for inside in (placed == b for b in np.unique(placed))
    )


def ece_interval(
    labels: ArrayLike,
    probabilities: ArrayLike,
    subjects: Subjects,
    *,
    n_resamples: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
) -> Interval:
    """Equal-mass error with its interval over subjects.

    A resample has more chance in its bins than the set it came from, so its error is larger; the
    draws are reflected at the error found ("basic" bootstrap), which takes that off. The error
    found has the same upward pull: it may lie above its interval. Where a calibrated model would
    show as much, the interval begins at 0.

    On 300 rows a 95% interval held the true error (0.3%, 5.5% or 13.4%) in 97%, 91% and
    85% of 150 sets; the percentile interval in 0%, 0% and 88%.
    """

    def error(truth: NDArray[np.int64], given: Floats) -> float:
        return calibration_error(reliability(truth, given))

    drawn = bootstrap_over_subjects(
        error,
        subjects,
        np.asarray(labels),
        np.asarray(probabilities, dtype=float),
        n_resamples=n_resamples,
        seed=seed,
        confidence=confidence,
    )
    low, high = 2 * drawn.value - drawn.high, 2 * drawn.value - drawn.low
    by_chance = errors_if_calibrated(np.asarray(probabilities, dtype=float), n_resamples, seed)
    if (by_chance >= drawn.value).mean() > (1 - confidence) / 2:
        low = 0.0
    return Interval(drawn.value, max(low, 0.0), max(high, 0.0))


def errors_if_calibrated(probabilities: Floats, n_draws: int, seed: int = 0) -> Floats:
    """Equal-mass errors ``(n_draws,)`` of a model whose confidences hold: right with that chance.

    Rows are drawn one by one; where those of a subject go together, chance shows somewhat more.
    """
    confidence = probabilities.max(axis=1)
    # Which bin a row falls into follows from its confidence alone, so any labels will do.
    edges = np.cumsum([b.rows for b in reliability(np.zeros(len(confidence)), probabilities)])
    order = np.argsort(confidence, kind="stable")
    starts = np.concatenate([[0], edges[:-1]])
    generator = np.random.default_rng(seed)
    errors, chunk = [], max(1, CHUNK_CELLS // len(order))
    for start in range(0, n_draws, chunk):
        drawn = generator.random((min(chunk, n_draws - start), len(order))) < confidence[order]
        gaps = np.add.reduceat(drawn - confidence[order], starts, axis=1)
        errors.append(np.abs(gaps).sum(axis=1) / len(order))
    return np.concatenate(errors)
