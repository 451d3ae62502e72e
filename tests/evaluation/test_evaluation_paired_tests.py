"""Permutation tests against all permutations, and Holm against the closed test it shortens."""

from __future__ import annotations

from itertools import combinations, product

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import balanced_accuracy_score

from medblip.errors import InputError
from medblip.evaluation.decision_metrics import balanced_accuracy
from medblip.evaluation.paired_tests import holm, paired_permutation
from medblip.evaluation.roc_tests import macro_auc


def answers(
    generator: np.random.Generator, labels: NDArray[np.int64], skill: float
) -> NDArray[np.float64]:
    raw = generator.random((len(labels), 3)) + skill * np.eye(3)[labels]
    return raw / raw.sum(axis=1, keepdims=True)


def test_the_drawn_p_nears_that_of_all_permutations() -> None:
    generator = np.random.default_rng(1)
    labels, subjects = np.arange(16) % 3, np.arange(16) // 2  # 8 subjects of 2 rows: 256 swaps
    a, b = answers(generator, labels, 0.8), answers(generator, labels, 0.2)

    def gap(swapped: NDArray[np.bool_]) -> float:
        first, second = (
            np.where(swapped[subjects, None], *pair).argmax(axis=1) for pair in ((b, a), (a, b))
        )
        return float(
            balanced_accuracy_score(labels, first) - balanced_accuracy_score(labels, second)
        )

    every = [gap(np.array(s)) for s in product([False, True], repeat=8)]
    exact = np.mean(np.abs(every) >= abs(every[0]) - 1e-9)
    ours = paired_permutation(balanced_accuracy, labels, a, b, subjects, n_permutations=4000)
    assert ours.difference == pytest.approx(every[0])
    assert ours.n_subjects == 8
    assert ours.p == pytest.approx(exact, abs=0.03)  # 4 binomial sd
    assert 0.02 < exact < 0.9, "the example tells apart right from wrong"


@pytest.mark.parametrize("statistic", [balanced_accuracy, macro_auc])
def test_alike_models_are_told_apart_as_often_as_stated(statistic: object) -> None:
    generator = np.random.default_rng(2)
    labels = np.arange(60) % 3
    small = 0
    for _ in range(200):
        a, b = answers(generator, labels, 0.5), answers(generator, labels, 0.5)
        small += (
            paired_permutation(statistic, labels, a, b, np.arange(60), n_permutations=99).p <= 0.1
        )
    assert 0.03 < small / 200 < 0.18  # binomial sd 0.02


def test_a_better_model_is_seen_whichever_way_one_asks() -> None:
    generator = np.random.default_rng(3)
    labels = np.arange(150) % 3
    good, poor = answers(generator, labels, 2.0), answers(generator, labels, 0.0)
    there = paired_permutation(macro_auc, labels, good, poor, np.arange(150), n_permutations=500)
    back = paired_permutation(macro_auc, labels, poor, good, np.arange(150), n_permutations=500)
    assert there.p == back.p == pytest.approx(1 / 501)
    assert there.difference == pytest.approx(-back.difference)
    assert paired_permutation(macro_auc, labels, good, good, np.arange(150)).p == 1.0


def test_a_subject_swaps_with_all_rows() -> None:
    """One subject with 20 rows can only swap as a whole: no evidence, however large the gap."""
    labels = np.arange(20) % 2
    right, wrong = np.eye(2)[labels], np.eye(2)[1 - labels]
    assert paired_permutation(balanced_accuracy, labels, right, wrong, ["a"] * 20).p == 1.0


def test_a_gap_within_one_subject_is_no_evidence() -> None:
    """Four subjects of 8 rows, and all that differs is one of them: any swap has the same gap."""
    labels = np.arange(32) % 2
    right, wrong = np.eye(2)[labels], np.eye(2)[1 - labels]
    other = np.where(np.arange(32)[:, None] < 8, wrong, right)
    assert paired_permutation(balanced_accuracy, labels, right, other, np.arange(32) // 8).p == 1.0


def test_undefined_and_unequal_are_refused() -> None:
    labels, given = np.zeros(4, dtype=int), np.full((4, 2), 0.5)
    with pytest.raises(InputError, match="not defined"):
        paired_permutation(macro_auc, labels, given, given, list("abcd"))
    for bad in (given[:3], np.full((4, 3), 1 / 3), given[0]):
        with pytest.raises(InputError, match="expected"):
            paired_permutation(balanced_accuracy, labels, given, bad, list("abcd"))


def test_holm_is_the_closed_test_of_bonferroni() -> None:
    """Adjusted p of one test: the largest Bonferroni p of any family of nulls that holds it."""
    generator = np.random.default_rng(0)
    for size in range(1, 7):
        values = dict(zip("abcdef"[:size], generator.random(size) ** 3, strict=True))
        adjusted = holm(values)
        for name in values:
            closed = max(
                min(1.0, len(family) * min(values[other] for other in family))
                for k in range(1, size + 1)
                for family in combinations(values, k)
                if name in family
            )
            assert adjusted[name] == pytest.approx(closed)
        assert list(adjusted) == list(values)
    assert holm({}) == {}
