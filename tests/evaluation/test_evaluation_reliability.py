"""Calibration errors by hand, against chance, and with intervals that cover."""

from __future__ import annotations

import json

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import log_softmax, softmax
from sklearn.metrics import log_loss

from medblip.errors import InputError
from medblip.evaluation.metrics import classification_metrics, reliability
from medblip.evaluation.reliability import (
    calibrate_and_compare,
    calibration_error,
    calibration_quality,
    ece_interval,
    equal_width_bins,
    errors_if_calibrated,
)


def drawn(
    generator: np.random.Generator, rows: int, sharpening: float
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Labels drawn from true probabilities, and log-probabilities sharper than those."""
    logits = 1.5 * generator.normal(size=(rows, 3))
    truth = softmax(logits, axis=1)
    labels = (generator.random((rows, 1)) > truth.cumsum(axis=1)).sum(axis=1)
    return labels, log_softmax(sharpening * logits, axis=1)


def test_equal_width_bins_by_hand() -> None:
    top = np.array([0.55, 0.6, 0.95, 1.0])
    bins = equal_width_bins([0, 1, 0, 0], np.column_stack([top, 1 - top]), n_bins=10)
    assert [(b.rows, b.accuracy) for b in bins] == [(2, 0.5), (2, 1.0)]
    assert [b.confidence for b in bins] == pytest.approx([0.575, 0.975])
    assert calibration_error(bins) == pytest.approx(0.5 * 0.075 + 0.5 * 0.025)


def test_bins_of_either_kind_hold_all_rows() -> None:
    generator = np.random.default_rng(0)
    labels, scores = drawn(generator, 333, 1.0)
    for bins in (equal_width_bins(labels, np.exp(scores)), reliability(labels, np.exp(scores))):
        assert sum(b.rows for b in bins) == 333
        assert np.all(np.diff([b.confidence for b in bins]) > 0)


def test_numbers_are_those_of_the_other_modules() -> None:
    labels, scores = drawn(np.random.default_rng(1), 240, 1.5)
    given, who = np.exp(scores), np.arange(240)
    ours = calibration_quality(labels, given, who, n_resamples=50)
    theirs = classification_metrics(labels, given, who, ("NC", "MCI", "AD"), n_resamples=10)
    assert ours.ece.value == pytest.approx(theirs.ece)
    assert ours.brier == pytest.approx(theirs.brier.value)
    assert ours.log_loss == pytest.approx(log_loss(labels, given))
    json.dumps(ours.as_dict(), allow_nan=False)


def test_chance_alone_is_what_calibrated_models_show() -> None:
    generator = np.random.default_rng(2)
    _, scores = drawn(generator, 200, 1.0)
    given = np.exp(scores)
    seen = [
        calibration_error(reliability([generator.choice(3, p=p) for p in given], given))
        for _ in range(150)
    ]
    expected = errors_if_calibrated(given, 2000)
    assert expected.mean() == pytest.approx(np.mean(seen), abs=0.004)  # sd of the mean 0.0013
    assert expected.std() == pytest.approx(np.std(seen), rel=0.25)


@pytest.mark.parametrize(("sharpening", "calibrated"), [(1.0, True), (2.5, False)])
def test_temperature_scaling_mends_overconfidence(sharpening: float, calibrated: bool) -> None:
    generator = np.random.default_rng(3)
    validation, test = drawn(generator, 400, sharpening), drawn(generator, 400, sharpening)
    temperature, before, after = calibrate_and_compare(
        validation[1], validation[0], test[1], test[0], np.arange(400), n_resamples=200
    )
    assert temperature.value == pytest.approx(sharpening, rel=0.15)
    assert (before.p_calibrated > 0.05) is calibrated
    assert after.p_calibrated > 0.05
    if not calibrated:
        assert after.ece.value < before.ece.value / 2
        assert after.ece_equal_width < before.ece_equal_width / 2
        assert after.brier < before.brier
        assert before.ece.low > before.ece_if_calibrated


@pytest.mark.parametrize("sharpening", [1.0, 2.0])
def test_the_interval_covers_the_error_of_many_rows(sharpening: float) -> None:
    """250 rows a set against the error of 100,000 rows: next to none, and overconfidence."""
    generator = np.random.default_rng(4)
    labels, scores = drawn(generator, 100_000, sharpening)
    truth = calibration_error(reliability(labels, np.exp(scores)))
    trials, covered, found = 30, 0, 0.0
    for trial in range(trials):
        rows = slice(250 * trial, 250 * (trial + 1))
        interval = ece_interval(labels[rows], np.exp(scores[rows]), np.arange(250), n_resamples=60)
        covered += not interval.excludes(truth)
        found += interval.value / trials
    assert covered / trials >= 0.7  # 0.85 to 0.97 with more resamples; binomial sd 0.06
    assert found > truth, "what is found is too much"


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InputError, match="expected"):
        calibration_quality([0, 1], np.full((3, 2), 0.5), ["a", "b", "c"])
