"""Numbers against scikit-learn and brute force; intervals against what they promise."""

from __future__ import annotations

import json

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binomtest
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    confusion_matrix,
    f1_score,
    recall_score,
    roc_auc_score,
)

from medblip.errors import InputError
from medblip.evaluation.metrics import (
    bootstrap_over_subjects,
    classification_metrics,
    paired_difference,
    reliability,
)

CLASSES = ("NC", "MCI", "AD")
CLOSE = 1e-12  # two orders of summation of at most some hundred numbers


def predictions(
    seed: int, rows: int = 240
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.str_]]:
    """Labels, probabilities with many ties, and subjects of one to three rows."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 3, rows)
    counts = generator.integers(1, 6, (rows, 3)) + 3 * np.eye(3, dtype=int)[labels]
    subjects = np.array([f"s{i}" for i in generator.integers(0, rows // 2, rows)])
    return labels, counts / counts.sum(axis=1, keepdims=True), subjects


@pytest.mark.parametrize("seed", range(5))
def test_values_agree_with_scikit_learn(seed: int) -> None:
    labels, probabilities, subjects = predictions(seed)
    answers = probabilities.argmax(axis=1)
    ours = classification_metrics(labels, probabilities, subjects, CLASSES, n_resamples=10)

    expected = {
        "accuracy": accuracy_score(labels, answers),
        "balanced_accuracy": balanced_accuracy_score(labels, answers),
        "macro_auc": roc_auc_score(labels, probabilities, multi_class="ovr"),
        "macro_f1": f1_score(labels, answers, average="macro"),
        "brier": np.mean(
            [((probabilities[i] - np.eye(3)[y]) ** 2).sum() for i, y in enumerate(labels)]
        ),
    }
    for name, value in expected.items():
        assert getattr(ours, name).value == pytest.approx(value, abs=CLOSE), name
    assert ours.confusion == tuple(map(tuple, confusion_matrix(labels, answers)))
    for c in range(3):
        one, other = labels == c, answers == c
        assert ours.sensitivity[c].value == pytest.approx(recall_score(one, other), abs=CLOSE)
        assert ours.specificity[c].value == pytest.approx(recall_score(~one, ~other), abs=CLOSE)
    assert ours.nc_ad_swaps == np.sum(np.abs(labels - answers) == 2)
    assert ours.n_subjects == len(set(subjects))


@pytest.mark.parametrize(
    ("name", "statistic"),
    [
        ("accuracy", lambda y, p: accuracy_score(y, p.argmax(1))),
        ("balanced_accuracy", lambda y, p: balanced_accuracy_score(y, p.argmax(1))),
        ("macro_f1", lambda y, p: f1_score(y, p.argmax(1), average="macro")),
        ("macro_auc", lambda y, p: roc_auc_score(y, p, multi_class="ovr")),
    ],
)
def test_weights_equal_drawn_rows(name: str, statistic: object) -> None:
    """The loop-free intervals are those of scikit-learn's numbers on the rows drawn."""
    labels, probabilities, subjects = predictions(3)
    loop = bootstrap_over_subjects(
        statistic, subjects, labels, probabilities, n_resamples=100, seed=7
    )
    fast = classification_metrics(labels, probabilities, subjects, CLASSES, n_resamples=100, seed=7)
    ours = getattr(fast, name)
    assert (ours.low, ours.high) == pytest.approx((loop.low, loop.high), abs=CLOSE)


def test_rows_of_a_subject_move_together() -> None:
    subjects = np.repeat(["a", "b", "c", "d"], [1, 2, 3, 5])
    sizes = dict(zip(*np.unique(subjects, return_counts=True), strict=True))

    def whole_subjects(drawn: NDArray[np.str_]) -> float:
        names, counts = np.unique(drawn, return_counts=True)
        draws = [count / sizes[name] for name, count in zip(names, counts, strict=True)]
        return float(sum(draws) == 4 and all(d == int(d) for d in draws))

    assert bootstrap_over_subjects(whole_subjects, subjects, subjects, n_resamples=200).low == 1.0


def test_intervals_repeat_by_seed() -> None:
    labels, probabilities, subjects = predictions(1)
    runs = [
        classification_metrics(labels, probabilities, subjects, CLASSES, n_resamples=50, seed=s)
        for s in (0, 0, 1)
    ]
    assert runs[0] == runs[1]
    assert runs[0].accuracy != runs[2].accuracy


def test_intervals_cover_and_need_the_clusters() -> None:
    """60 subjects with 4 equal rows each: 95% intervals cover; rows taken as independent do not."""
    generator = np.random.default_rng(0)
    truth, trials = 0.7, 200
    covered = {"subjects": 0, "rows": 0}
    for _ in range(trials):
        right = np.repeat(generator.random(60) < truth, 4).astype(float)
        for unit, who in (("subjects", np.arange(240) // 4), ("rows", np.arange(240))):
            interval = paired_difference(right, np.zeros(240), who, n_resamples=200).difference
            covered[unit] += not interval.excludes(truth)
    # Binomial sd of a coverage of 0.94 in 200 trials is 0.017; the naive one is near 0.67.
    assert 0.88 <= covered["subjects"] / trials <= 0.99
    assert covered["rows"] / trials < 0.8


def test_all_right_gets_the_exact_interval() -> None:
    labels = np.arange(20) % 2
    perfect = classification_metrics(
        labels, np.eye(2)[labels], np.arange(20), ("NC", "AD"), n_resamples=50
    )
    assert perfect.accuracy.low == pytest.approx(0.025 ** (1 / 20))
    assert perfect.accuracy.high == 1.0
    assert perfect.sensitivity[0].low == pytest.approx(0.025 ** (1 / 10))
    assert np.isnan(perfect.macro_auc.low), "no draw differed: the bootstrap knows no width"


def test_absent_class_is_undefined_not_wrong() -> None:
    labels, probabilities, subjects = predictions(2)
    kept = labels != 1
    ours = classification_metrics(
        labels[kept], probabilities[kept], subjects[kept], CLASSES, n_resamples=20
    ).as_dict()
    assert ours["macro_auc"] == {"value": None, "low": None, "high": None}
    assert ours["by_class"]["MCI"]["sensitivity"]["value"] is None
    assert ours["by_class"]["MCI"]["specificity"]["value"] is not None
    assert 0 < ours["balanced_accuracy"]["value"] < 1
    json.dumps(ours, allow_nan=False)


def test_swaps_need_both_classes() -> None:
    two = classification_metrics(
        [0, 1, 1], [[0.9, 0.1], [0.6, 0.4], [0.1, 0.9]], ["a", "b", "c"], ("NC", "MCI")
    )
    assert two.nc_ad_swaps is None


def test_calibration_error_by_hand() -> None:
    """Half the answers at 0.9 with 8 of 10 right, half at 0.6 with 7 of 10: mean of 0.1, 0.1."""
    confidence = np.repeat([0.9, 0.6], 10)
    labels = np.array([0] * 8 + [1] * 2 + [0] * 7 + [1] * 3)
    probabilities = np.column_stack([confidence, 1 - confidence])
    ours = classification_metrics(labels, probabilities, np.arange(20), ("NC", "AD"))
    assert ours.ece == pytest.approx(0.1)
    assert [(b.rows, b.accuracy) for b in reliability(labels, probabilities)] == [
        (10, 0.7),
        (10, 0.8),
    ]


def test_reliability_bins_hold_all_rows_in_equal_parts() -> None:
    generator = np.random.default_rng(0)
    top = generator.uniform(0.5, 1, 300)
    bins = reliability(generator.integers(0, 2, 300), np.column_stack([top, 1 - top]))
    assert [b.rows for b in bins] == [20] * 15
    assert np.all(np.diff([b.confidence for b in bins]) > 0)


def test_paired_difference_is_mcnemar_with_one_row_each() -> None:
    generator = np.random.default_rng(0)
    a, b = generator.random(100) < 0.8, generator.random(100) < 0.6
    ours = paired_difference(a, b, np.arange(100), seed=3)
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    assert (ours.a_better, ours.b_better) == (only_a, only_b)
    assert ours.p == pytest.approx(binomtest(only_a, only_a + only_b).pvalue)
    assert ours.difference.value == pytest.approx(a.mean() - b.mean())
    loop = bootstrap_over_subjects(lambda x, y: x.mean() - y.mean(), np.arange(100), a, b, seed=3)
    assert (ours.difference.low, ours.difference.high) == pytest.approx((loop.low, loop.high))
    back = paired_difference(b, a, np.arange(100), seed=3)
    assert back.p == ours.p
    assert back.difference.low == pytest.approx(-ours.difference.high)


def test_paired_p_counts_subjects_not_rows() -> None:
    a, b = np.ones(40), np.zeros(40)
    assert paired_difference(a, b, np.arange(40) // 10).p == pytest.approx(2 / 2**4)
    assert paired_difference(a, a, np.arange(40)).p == 1.0


@pytest.mark.parametrize(
    ("labels", "probabilities", "subjects"),
    [
        ([], np.empty((0, 3)), []),
        ([0], [[0.5, 0.5]], ["a"]),
        ([3], [[0.2, 0.3, 0.5]], ["a"]),
        ([-1], [[0.2, 0.3, 0.5]], ["a"]),
        ([0.5], [[0.2, 0.3, 0.5]], ["a"]),
        ([0], [[0.2, 0.3, 0.6]], ["a"]),
        ([0], [[0.2, np.nan, 0.8]], ["a"]),
        ([0], [[-0.2, 0.7, 0.5]], ["a"]),
        ([0], [[0.2, 0.3, 0.5]], ["a", "b"]),
    ],
)
def test_what_are_no_predictions_is_refused(
    labels: object, probabilities: object, subjects: object
) -> None:
    with pytest.raises(InputError) as error:
        classification_metrics(labels, probabilities, subjects, CLASSES)
    assert error.value.code == "bad-predictions"


def test_lengths_that_differ_are_refused() -> None:
    with pytest.raises(InputError, match="rows"):
        paired_difference([1, 0], [1], ["a", "b"])
    with pytest.raises(InputError, match="rows"):
        bootstrap_over_subjects(np.mean, ["a", "b"], np.ones(3))
