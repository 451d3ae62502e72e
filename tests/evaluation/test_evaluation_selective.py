"""Risk against coverage by brute force, its bounds, ties and intervals."""

from __future__ import annotations

import json

import numpy as np
import pytest
from numpy.typing import NDArray

from medblip.errors import InputError
from medblip.evaluation.figures import to_svg
from medblip.evaluation.selective import selective_accuracy, selective_figure


def example(
    seed: int, rows: int = 150
) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.int64]]:
    generator = np.random.default_rng(seed)
    sure = generator.uniform(0.4, 1, rows)
    return sure, generator.random(rows) < sure, np.arange(rows) // 2


def test_the_curve_is_that_of_counting() -> None:
    sure, right, who = example(0)
    curve = selective_accuracy(sure, right, who, (0.02, 0.2, 0.5, 1.0), n_resamples=20)
    ranked = right[np.argsort(-sure)]
    for point, rows in zip(curve.points, (3, 30, 75, 150), strict=True):
        assert point.rows == rows
        assert point.accuracy.value == pytest.approx(ranked[:rows].mean())
        assert point.threshold == np.sort(sure)[::-1][rows - 1]
    by_hand = np.mean([1 - ranked[:k].mean() for k in range(1, 151)])
    assert curve.aurc.value == pytest.approx(by_hand)
    assert curve.aurc_at_random == pytest.approx(1 - right.mean())
    assert curve.aurc_at_best < curve.aurc.value < curve.aurc_at_random
    json.dumps(curve.as_dict(), allow_nan=False)


def test_a_model_that_knows_when_it_is_wrong_reaches_the_best() -> None:
    _, right, who = example(1)
    curve = selective_accuracy(right + np.linspace(0, 0.1, 150), right, who, n_resamples=20)
    assert curve.aurc.value == pytest.approx(curve.aurc_at_best)


def test_equal_confidences_say_nothing_whatever_their_order() -> None:
    _, right, who = example(2)
    flat = np.full(150, 0.7)
    curve = selective_accuracy(flat, right, who, n_resamples=20)
    assert [p.accuracy.value for p in curve.points] == pytest.approx([right.mean()] * 20)
    assert curve.aurc.value == pytest.approx(curve.aurc_at_random)
    sure = np.round(example(2)[0], 1)
    order = np.random.default_rng(0).permutation(150)
    one = selective_accuracy(sure, right, who, n_resamples=1)
    other = selective_accuracy(sure[order], right[order], who[order], n_resamples=1)
    assert one.aurc.value == pytest.approx(other.aurc.value)


def test_intervals_cover_the_curve_of_many_answers() -> None:
    generator = np.random.default_rng(3)
    sure = generator.uniform(0.4, 1, 200_000)
    right = generator.random(200_000) < sure
    truth = right[sure > np.quantile(sure, 0.7)].mean()  # 0.91
    trials, covered = 100, 0
    for trial in range(trials):
        rows = slice(200 * trial, 200 * (trial + 1))
        curve = selective_accuracy(
            sure[rows], right[rows], np.arange(200), (0.3, 1.0), n_resamples=100
        )
        covered += not curve.points[0].accuracy.excludes(truth)
    assert covered / trials >= 0.86  # binomial sd 0.025


def test_the_figure_draws_curve_and_baseline() -> None:
    curve = selective_accuracy(*example(4), n_resamples=50)
    figure = selective_figure(curve)
    dashed, line = figure.axes[0].lines
    assert dashed.get_ydata()[0] == pytest.approx(1 - curve.aurc_at_random)
    drawn = [p for p in curve.points if p.rows >= 10]
    assert 0 < len(drawn) < len(curve.points), "what stands for a handful is not drawn"
    assert list(line.get_xdata()) == [p.coverage for p in drawn]
    assert "Share answered" in to_svg(figure, "selective", "accuracy against coverage")


def test_what_has_no_curve_is_refused() -> None:
    sure, right, who = example(0)
    for bad in ((sure[:3], right, who), (sure * np.nan, right, who), ([], [], [])):
        with pytest.raises(InputError, match="rows"):
            selective_accuracy(*bad)
    for coverages in ((), (0.0, 1.0), (0.5, 1.1)):
        with pytest.raises(InputError, match="coverages"):
            selective_accuracy(sure, right, who, coverages)
