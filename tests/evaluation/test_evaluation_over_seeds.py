"""Intervals over subjects and seeds: what they cover, and what must move together."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import expit

from medblip.errors import InputError
from medblip.evaluation.intervals import paired_difference
from medblip.evaluation.over_seeds import (
    Cell,
    SeededAnswers,
    contrast,
    difference,
    mean_difference,
)

A, B = Cell("a", "x"), Cell("b", "x")


def runs(correct: NDArray[np.bool_], per_subject: int = 1) -> SeededAnswers:
    subjects = tuple(f"s{i // per_subject}" for i in range(correct.shape[1]))
    return SeededAnswers(correct, subjects, tuple(range(len(correct))))


def drawn(
    generator: np.random.Generator, seeds: int, rows: int, mean: float, between_seeds: float
) -> SeededAnswers:
    """Runs whose own accuracies scatter by ``between_seeds``."""
    chance = mean + between_seeds * generator.normal(size=(seeds, 1))
    return runs(generator.random((seeds, rows)) < chance)


def test_one_seed_is_the_paired_bootstrap_over_subjects() -> None:
    generator = np.random.default_rng(0)
    a, b = generator.random((1, 120)) < 0.8, generator.random((1, 120)) < 0.6
    ours = contrast({A: runs(a, 2), B: runs(b, 2)}, difference(A, B), n_resamples=4000)
    plain = paired_difference(a[0], b[0], np.arange(120) // 2, n_resamples=4000)
    assert ours.estimate.value == pytest.approx(plain.difference.value)
    assert ours.estimate.low == pytest.approx(plain.difference.low, abs=0.02)
    assert ours.estimate.high == pytest.approx(plain.difference.high, abs=0.02)
    assert ours.n_seeds == 1


def test_the_interval_covers_new_seeds_and_subjects_which_one_seed_does_not() -> None:
    """Five seeds that scatter by 6 points, as much as the subjects do."""
    generator = np.random.default_rng(1)
    trials, covered, alone = 300, 0, 0
    for _ in range(trials):
        given = drawn(generator, 5, 60, 0.7, 0.06)
        one = SeededAnswers(given.correct[:1], given.subjects, (0,))
        for answers, counts in ((given, "all"), (one, "one")):
            interval = contrast({A: answers}, {A: 1.0}, n_resamples=300).estimate
            inside = not interval.excludes(0.7)
            covered += inside and counts == "all"
            alone += inside and counts == "one"
    # Binomial sd 0.013. With answers drawn anew by each seed the rows count five times over.
    assert 0.90 <= covered / trials <= 0.995
    assert alone / trials < 0.90


def test_the_spread_between_seeds_is_not_drawn_too_small() -> None:
    """Rows that are all alike leave nothing but seeds: their variance is s^2 / S, without bias."""
    accuracies = np.array([0, 1, 1, 0, 1], dtype=bool)
    correct = np.repeat(accuracies[:, None], 30, axis=1)
    interval = contrast({A: runs(correct)}, {A: 1.0}, n_resamples=20_000, confidence=0.68).estimate
    expected = accuracies.std(ddof=1) / 5**0.5
    assert (interval.high - interval.low) / 2 == pytest.approx(expected, abs=0.13)  # a coarse grid


def test_a_seed_is_drawn_for_all_test_sets_at_once() -> None:
    """A seed good on x and as bad on y: its mean over both never moves."""
    good = np.repeat([[True], [False]], 40, axis=1)
    answers = {Cell("a", "x"): runs(good), Cell("a", "y"): runs(~good)}
    mean = contrast(answers, {Cell("a", "x"): 0.5, Cell("a", "y"): 0.5}).estimate
    assert (mean.low, mean.value, mean.high) == (0.5, 0.5, 0.5)
    apart = contrast(answers, {Cell("a", "x"): 1.0}).estimate
    assert (apart.low, apart.high) == (0.0, 1.0)


def test_seeds_of_two_models_are_drawn_apart() -> None:
    """Seed 0 of one model has nothing to do with seed 0 of another."""
    either = np.repeat([[True], [False]], 40, axis=1)
    found = contrast({A: runs(either), B: runs(either)}, difference(A, B))
    assert (found.estimate.low, found.estimate.high) == (-1.0, 1.0)


def test_subjects_of_two_test_sets_are_drawn_apart() -> None:
    """Were both drawn alike, sets with the same answers would never differ."""
    right = np.random.default_rng(0).random((1, 80)) < 0.5
    answers = {Cell("a", "x"): runs(right), Cell("a", "y"): runs(right)}
    found = contrast(answers, {Cell("a", "x"): 1.0, Cell("a", "y"): -1.0})
    assert found.estimate.value == 0.0
    assert found.estimate.high - found.estimate.low > 0.2
    assert found.p > 0.5


def test_models_on_one_test_set_are_paired_by_subject() -> None:
    right = np.random.default_rng(0).random((1, 80)) < 0.5
    same = contrast({A: runs(right), B: runs(right)}, difference(A, B))
    assert (same.estimate.low, same.estimate.high, same.p) == (0.0, 0.0, 1.0)


@pytest.mark.parametrize(("seeds", "least", "most"), [(1, 0.2, 0.5), (2, 0.0, 0.1), (4, 0.0, 0.1)])
def test_false_alarms_need_more_than_one_seed_to_be_rare(
    seeds: int, least: float, most: float
) -> None:
    """Alike models: hard subjects are hard for both, and runs scatter by some points.

    At p < 0.1, one run each raises three alarms for each that is allowed; more runs too few.
    """
    generator = np.random.default_rng(4)
    small, trials = 0, 200
    for _ in range(trials):
        difficulty = 0.8 + 2 * generator.normal(size=150)
        answers = {
            cell: runs(
                generator.random((seeds, 150))
                < expit(difficulty + 0.3 * generator.normal(size=(seeds, 1)))
            )
            for cell in (A, B)
        }
        small += contrast(answers, difference(A, B), n_resamples=200).p < 0.1
    assert least <= small / trials <= most


def test_mean_difference_weighs_columns_alike() -> None:
    weights = mean_difference("b", "a", ["x", "y"])
    assert weights == {
        Cell("b", "x"): 0.5,
        Cell("b", "y"): 0.5,
        Cell("a", "x"): -0.5,
        Cell("a", "y"): -0.5,
    }


def test_repeats_by_seed() -> None:
    given = {A: drawn(np.random.default_rng(0), 3, 50, 0.6, 0.1)}
    first, again, other = (contrast(given, {A: 1.0}, seed=s) for s in (0, 0, 1))
    assert first == again != other


def test_what_cannot_be_compared_is_refused() -> None:
    right = np.ones((1, 4), dtype=bool)
    other = SeededAnswers(right, ("s0", "s1", "s3", "s2"), (0,))
    with pytest.raises(InputError, match="other subjects"):
        contrast({A: runs(right), B: other}, difference(A, B))
    with pytest.raises(InputError, match="no answers of b on x"):
        contrast({A: runs(right)}, difference(A, B))
    with pytest.raises(InputError, match="no answers"):
        contrast({A: runs(right)}, {})
    with pytest.raises(InputError, match="a seed twice"):
        SeededAnswers(np.ones((2, 1), dtype=bool), ("s",), (1, 1))
    with pytest.raises(InputError, match="seeds, rows"):
        SeededAnswers(right, ("s0",), (0,))


@pytest.mark.parametrize("right", [False, True])
def test_an_accuracy_of_none_or_all_has_the_width_of_so_few_subjects(right: bool) -> None:
    """30 scans of 4 subjects: the exact interval is that of 4."""
    found = contrast({A: runs(np.full((3, 32), right), 8)}, {A: 1.0}, n_resamples=200).estimate
    far = found.low if right else 1 - found.high
    assert far == pytest.approx(0.025 ** (1 / 4))
    assert found.value == float(right)


@pytest.mark.parametrize("differing", [1, 3, 6])
def test_p_is_not_below_that_of_a_sign_test_over_the_subjects_that_differ(differing: int) -> None:
    """Many scans a subject, and the rest alike: resamples alone would say p < 0.01 or so."""
    a, b = np.ones((1, 64), dtype=bool), np.ones((1, 64), dtype=bool)
    b[:, : 8 * differing] = False
    found = contrast({A: runs(a, 8), B: runs(b, 8)}, difference(A, B), n_resamples=5000)
    assert found.p >= min(1.0, 2.0 ** (1 - differing))
    assert found.p <= 1.0
