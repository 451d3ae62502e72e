"""Wrong-image partners: another subject, the label asked for, each scan used about once."""

from __future__ import annotations

import numpy as np
import pytest

from medblip.errors import InputError
from medblip.evaluation.pairing import PairRule, partners

rule_of = pytest.mark.parametrize("rule", ["same_label", "other_label"])


@rule_of
@pytest.mark.parametrize("seed", range(5))
def test_partners_are_other_subjects_of_the_right_label(rule: PairRule, seed: int) -> None:
    generator = np.random.default_rng(seed)
    labels = generator.choice(["NC", "MCI", "AD"], 90, p=[0.45, 0.3, 0.25])
    subjects = [f"s{i}" for i in generator.integers(0, 60, 90)]  # labels change within subjects
    chosen = partners(list(labels), subjects, rule, seed)
    assert all(subjects[i] != subjects[j] for i, j in enumerate(chosen))
    assert np.all((labels == labels[chosen]) == (rule == "same_label"))
    assert len(np.unique(chosen)) > 75
    assert np.array_equal(chosen, partners(list(labels), subjects, rule, seed))
    assert not np.array_equal(chosen, partners(list(labels), subjects, rule, seed + 100))


@rule_of
def test_with_one_row_a_subject_each_scan_is_used_once(rule: PairRule) -> None:
    labels = ["NC"] * 15 + ["MCI"] * 10 + ["AD"] * 5
    chosen = partners(labels, [str(i) for i in range(30)], rule, 0)
    assert sorted(chosen) == list(range(30))


def test_a_label_with_over_half_of_the_rows_uses_others_again() -> None:
    labels = ["NC"] * 20 + ["AD"] * 4
    chosen = partners(labels, [str(i) for i in range(24)], "other_label", 0)
    assert all(labels[i] != labels[j] for i, j in enumerate(chosen))


@pytest.mark.parametrize(
    ("labels", "subjects", "rule"),
    [
        (["NC", "NC", "AD"], ["a", "b", "c"], "same_label"),
        (["NC", "NC"], ["a", "b"], "other_label"),
        (["NC", "AD"], ["a", "a"], "other_label"),
    ],
)
def test_a_row_without_partner_is_refused(
    labels: list[str], subjects: list[str], rule: PairRule
) -> None:
    with pytest.raises(InputError) as error:
        partners(labels, subjects, rule, 0)
    assert error.value.code == "no-partner"


def test_lengths_that_differ_are_refused() -> None:
    with pytest.raises(InputError, match="labels"):
        partners(["NC"], ["a", "b"], "same_label", 0)
