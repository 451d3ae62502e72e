"""Hard answers against scikit-learn, Wilson against scipy, and answers that are none."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    confusion_matrix,
    f1_score,
    recall_score,
)

from medblip.errors import InputError
from medblip.evaluation.decision_metrics import (
    UNPARSED,
    balanced_accuracy,
    decision_metrics,
    wilson,
)

CLASSES = ("NC", "MCI", "AD")
CLOSE = 1e-12


@pytest.mark.parametrize("seed", range(4))
def test_values_agree_with_scikit_learn(seed: int) -> None:
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 3, 200)
    answers = np.where(generator.random(200) < 0.6, labels, generator.integers(0, 3, 200))
    ours = decision_metrics(labels, answers, np.arange(200), CLASSES)
    assert ours.accuracy.value == pytest.approx(accuracy_score(labels, answers), abs=CLOSE)
    expected = balanced_accuracy_score(labels, answers)
    assert ours.balanced_accuracy == pytest.approx(expected, abs=CLOSE)
    assert ours.macro_f1 == pytest.approx(f1_score(labels, answers, average="macro"), abs=CLOSE)
    assert [row[:3] for row in ours.confusion] == [*map(tuple, confusion_matrix(labels, answers))]
    assert ours.swaps == int((np.abs(labels - answers) == 2).sum())
    assert ours.unparsed == 0
    for c in range(3):
        one, other = labels == c, answers == c
        assert ours.sensitivity[c].value == pytest.approx(recall_score(one, other), abs=CLOSE)
        assert ours.specificity[c].value == pytest.approx(recall_score(~one, ~other), abs=CLOSE)
    one_hot = np.eye(3)[np.stack([answers, labels])]
    assert balanced_accuracy(labels, one_hot) == pytest.approx([expected, 1.0], abs=CLOSE)


def test_an_answer_that_is_none_is_wrong_and_counted() -> None:
    ours = decision_metrics([0, 0, 2, 2], [0, UNPARSED, 2, UNPARSED], list("abcd"), CLASSES)
    assert ours.accuracy.value == 0.5
    assert ours.unparsed == 2
    assert ours.confusion == ((1, 0, 0, 1), (0, 0, 0, 0), (0, 0, 1, 1))
    assert ours.swaps == 0
    assert ours.balanced_accuracy == 0.5
    # Precision of NC is 1, its recall 1/2; AD the same; MCI neither occurs nor is answered.
    assert ours.macro_f1 == pytest.approx(2 / 3)
    assert np.isnan(ours.sensitivity[1].value)
    assert ours.specificity[0].value == 1.0, "what is not called NC is spared NC"
    json.dumps(ours.as_dict(), allow_nan=False)


@pytest.mark.parametrize(("right", "trials"), [(0, 10), (3, 10), (10, 10), (150, 200)])
def test_wilson_is_scipys(right: int, trials: int) -> None:
    expected = binomtest(right, trials).proportion_ci(method="wilson")
    ours = wilson(right / trials, trials)
    assert (ours.low, ours.high) == pytest.approx((expected.low, expected.high), abs=CLOSE)
    narrow = wilson(right / trials, trials, 0.5)
    assert narrow.high - narrow.low < ours.high - ours.low


def test_rows_of_one_subject_are_no_trials_of_their_own() -> None:
    labels, answers = np.zeros(40, dtype=int), np.repeat([0, 1], [30, 10])
    apart = decision_metrics(labels, answers, np.arange(40), CLASSES)
    together = decision_metrics(labels, answers, np.arange(40) // 4, CLASSES)
    assert together.accuracy == wilson(0.75, 10)
    assert together.accuracy.low < apart.accuracy.low


@pytest.mark.parametrize(
    ("labels", "answers"),
    [([], []), ([0], [3]), ([0], [-2]), ([3], [0]), ([-1], [0]), ([0.5], [0]), ([0], [0, 1])],
)
def test_what_are_no_answers_is_refused(labels: object, answers: object) -> None:
    with pytest.raises(InputError) as error:
        decision_metrics(labels, answers, ["s"] * len(np.asarray(labels)), CLASSES)
    assert error.value.code == "bad-predictions"
