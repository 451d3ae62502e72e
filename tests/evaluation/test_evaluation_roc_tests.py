"""DeLong's variance against the double sum it stands for, and what the test promises."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from medblip.errors import InputError
from medblip.evaluation.roc_tests import auc_covariance, auc_interval, delong_test, macro_auc

CLOSE = 1e-12


def scores(seed: int, rows: int = 60) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Labels and two models' scores in few steps, so that many are equal."""
    generator = np.random.default_rng(seed)
    positive = generator.random(rows) < 0.4
    shared = generator.normal(size=rows) + 1.2 * positive
    return positive, np.round(shared + generator.normal(size=(2, rows)), 0)


def double_sum(positive: NDArray[np.bool_], given: NDArray[np.float64]) -> NDArray[np.float64]:
    """DeLong's covariance by its definition, one pair of rows at a time."""
    up, down = given[:, positive], given[:, ~positive]
    won = np.zeros((len(given), up.shape[1], down.shape[1]))
    for model in range(len(given)):
        for i, x in enumerate(up[model]):
            for j, y in enumerate(down[model]):
                won[model, i, j] = 1.0 if x > y else 0.5 if x == y else 0.0
    return np.cov(won.mean(axis=2)) / up.shape[1] + np.cov(won.mean(axis=1)) / down.shape[1]


@pytest.mark.parametrize("seed", range(5))
def test_areas_and_covariance_are_delongs(seed: int) -> None:
    positive, given = scores(seed)
    areas, covariance = auc_covariance(positive, given)
    expected = [roc_auc_score(positive, row) for row in given]
    assert areas == pytest.approx(expected, abs=CLOSE)
    assert covariance == pytest.approx(double_sum(positive, given), abs=CLOSE)


def test_rows_given_twice_to_each_subject_teach_nothing() -> None:
    positive, given = scores(1)
    _, once = auc_covariance(positive, given)
    twice = (np.tile(positive, 2), np.tile(given, 2))
    _, clustered = auc_covariance(*twice, subjects=np.tile(np.arange(60), 2))
    _, as_if_new = auc_covariance(*twice)
    assert clustered == pytest.approx(once, abs=CLOSE)
    assert np.all(np.diag(as_if_new) < 0.6 * np.diag(once))


def test_subjects_with_rows_of_both_kinds_count_once() -> None:
    """Every subject brings one row of each kind: against the spread over drawn populations."""
    generator = np.random.default_rng(0)
    found, estimated = [], []
    for _ in range(400):
        person = np.repeat(generator.normal(size=40), 2)  # high or low in both rows
        positive = np.tile([True, False], 40)
        given = person + 0.5 * generator.normal(size=80) + positive
        areas, covariance = auc_covariance(positive, given[None], np.repeat(np.arange(40), 2))
        found.append(areas[0])
        estimated.append(covariance[0, 0])
    # The sd of a variance from 400 draws is 7%.
    assert np.mean(estimated) == pytest.approx(np.var(found), rel=0.2)


def test_p_values_are_uniform_where_models_are_alike() -> None:
    generator = np.random.default_rng(0)
    small = 0
    for _ in range(400):
        positive = np.arange(80) < 40
        shared = generator.normal(size=80) + positive
        a, b = shared + generator.normal(size=(2, 80))
        small += delong_test(positive, a, b).p < 0.1
    assert 0.06 < small / 400 < 0.15  # binomial sd 0.015


def test_the_same_scores_differ_in_nothing() -> None:
    positive, (a, _) = scores(2)
    same = delong_test(positive, a, 2 * a + 1)
    assert (same.difference.value, same.p) == (0.0, 1.0)
    assert np.isnan(same.z)
    assert same.a == auc_interval(positive, a)


def test_a_better_model_is_seen_and_turning_the_question_turns_the_answer() -> None:
    generator = np.random.default_rng(0)
    positive = np.arange(200) < 100
    good = generator.normal(size=200) + 2 * positive
    poor = generator.normal(size=200)
    there, back = delong_test(positive, good, poor), delong_test(positive, poor, good)
    assert there.difference.low > 0
    assert there.p == back.p < 1e-6
    assert there.difference.low == pytest.approx(-back.difference.high)


def test_a_perfect_area_has_no_interval() -> None:
    area = auc_interval([True] * 5 + [False] * 5, np.arange(10)[::-1])
    assert area.value == 1.0
    assert np.isnan(area.low)


def test_macro_area_of_many_answers_is_scikit_learns_of_each() -> None:
    generator = np.random.default_rng(0)
    labels = np.arange(90) % 3
    given = generator.dirichlet([1, 1, 1], (4, 90)).round(1)
    given[..., 0] = 1 - given[..., 1:].sum(axis=-1)
    expected = [np.mean([roc_auc_score(labels == c, one[:, c]) for c in range(3)]) for one in given]
    assert macro_auc(labels, given) == pytest.approx(expected, abs=CLOSE)
    assert np.isnan(macro_auc(labels % 2, given)).all()


@pytest.mark.parametrize(
    ("positive", "given", "subjects"),
    [
        ([True, False, True], [[1.0, 2.0]], None),
        ([True, True, False], [[1.0, 2.0, 3.0]], None),
        ([True, True, False, False], [[1.0, 2.0, 3.0, np.nan]], None),
        ([True, True, False, False], [[1.0, 2.0, 3.0, 4.0]], ["a", "a", "b", "c"]),
        ([True, True, False, False], [[1.0, 2.0, 3.0, 4.0]], ["a", "b"]),
    ],
)
def test_what_has_no_area_is_refused(positive: object, given: object, subjects: object) -> None:
    with pytest.raises(InputError) as error:
        auc_covariance(positive, given, subjects)
    assert error.value.code == "bad-predictions"
