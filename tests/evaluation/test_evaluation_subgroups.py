"""Who is counted where, who is not printed, and gaps that are more than chance."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from medblip.errors import InputError
from medblip.evaluation.metrics import classification_metrics
from medblip.evaluation.subgroups import (
    SubgroupTable,
    age_band,
    nominal_field,
    session_attributes,
    subgroup_table,
)

CLASSES = ("NC", "AD")


def answers(labels: NDArray[np.int64], right: NDArray[np.bool_]) -> NDArray[np.float64]:
    given = np.where(right, labels, 1 - labels)
    return 0.1 + 0.8 * np.eye(2)[given]


def table(
    groups: list[str], labels: NDArray[np.int64], right: NDArray[np.bool_], **settings: int
) -> SubgroupTable:
    who = np.arange(len(groups))
    options = {"n_resamples": 20, "n_permutations": 99, **settings}
    return subgroup_table("sex", groups, labels, answers(labels, right), who, CLASSES, **options)


def test_numbers_are_those_of_the_group_alone() -> None:
    generator = np.random.default_rng(0)
    groups = list(generator.choice(["F", "M"], 120))
    labels, right = generator.integers(0, 2, 120), generator.random(120) < 0.8
    ours = table(groups, labels, right)
    assert [row.name for row in ours.rows] == ["F", "M"]
    for row in ours.rows:
        inside = np.array(groups) == row.name
        alone = classification_metrics(
            labels[inside],
            answers(labels, right)[inside],
            np.flatnonzero(inside),
            CLASSES,
            n_resamples=20,
        )
        assert row.n_subjects == row.n_rows == inside.sum()
        assert row.accuracy == alone.accuracy
        assert row.balanced_accuracy == alone.balanced_accuracy
    assert ours.gap is not None
    accuracies = [row.accuracy.value for row in ours.rows]
    assert ours.gap.difference == pytest.approx(max(accuracies) - min(accuracies))
    json.dumps(ours.as_dict(), allow_nan=False)


def test_small_groups_are_counted_and_not_printed() -> None:
    groups = ["A"] * 30 + ["B"] * 9 + ["C"] * 3 + [""] * 12
    labels = np.arange(54) % 2
    right = np.ones(54, dtype=bool)
    right[30:42] = False  # the small groups would make the largest gap
    ours = table(groups, labels, right)
    assert [row.name for row in ours.rows] == ["A", "not stated"]
    assert (ours.hidden_groups, ours.hidden_subjects) == (2, 12)
    assert ours.note == "2 groups of under 10 subjects not shown (12 subjects)"
    assert ours.gap is not None
    assert ours.gap.difference == 0.0
    assert ours.gap.p == 1.0
    assert '"B"' not in json.dumps(ours.as_dict())
    alone = table(["A"] * 30, labels[:30], right[:30])
    assert alone.gap is None
    assert alone.note == ""


def test_a_subject_counts_once_in_the_group_of_the_first_row() -> None:
    who = np.repeat(np.arange(20), 3)
    groups = ["60 to 69", "70 to 79", "70 to 79"] * 20
    labels = np.zeros(60, dtype=int)
    ours = subgroup_table(
        "age", groups, labels, answers(labels, labels == 0), who, CLASSES, n_resamples=5
    )
    (row,) = ours.rows
    assert (row.name, row.n_rows, row.n_subjects) == ("60 to 69", 60, 20)
    few = subgroup_table(
        "age", groups[:27], labels[:27], answers(labels, labels == 0)[:27], who[:27], CLASSES
    )
    assert few.rows == (), "27 rows of 9 subjects are under 10 subjects"


@pytest.mark.parametrize("unfair", [0, 1])
def test_a_real_gap_is_found_in_whichever_label_it_is(unfair: int) -> None:
    generator = np.random.default_rng(1)
    groups, labels = ["F", "M"] * 100, generator.integers(0, 2, 200)
    worse = (np.array(groups) == "M") & (labels == unfair)
    right = generator.random(200) < np.where(worse, 0.4, 0.95)
    gap = table(groups, labels, right, n_permutations=499).gap
    assert gap is not None
    assert (gap.best, gap.worst) == ("F", "M")
    assert gap.p < 0.01


def test_a_group_with_more_of_the_harder_label_is_not_a_gap() -> None:
    """AD is hard, and site B has most of it: within labels the sites are alike."""
    generator = np.random.default_rng(2)
    small, raw = 0, 0
    for _ in range(60):
        site = np.repeat(["A", "B"], 75)
        labels = (generator.random(150) < np.where(site == "A", 0.2, 0.8)).astype(int)
        right = generator.random(150) < np.where(labels == 1, 0.5, 0.95)
        gap = table(list(site), labels, right, n_resamples=2).gap
        assert gap is not None
        small += gap.p < 0.1
        raw += gap.difference > 0.15
    assert small / 60 < 0.25  # binomial sd 0.04
    assert raw / 60 > 0.7, "the accuracies themselves do differ"


def test_attributes_of_sessions() -> None:
    rows = pd.DataFrame(
        {
            "sex": ["F", ""],
            "age": ["71.3", ""],
            "cohort": ["ADNI", "AIBL"],
            "site": ["7", ""],
            "field_strength_t": ["2.8936", ""],
        }
    )
    assert session_attributes(rows) == {
        "sex": ["F", ""],
        "age": ["70 to 79", ""],
        "cohort": ["ADNI", "AIBL"],
        "site": ["ADNI, 7", ""],
        "field strength": ["3 T", ""],
    }
    bands = ["59.9", "60", "69.9", "80", "101"]
    assert [age_band(age) for age in bands] == [
        "under 60",
        "60 to 69",
        "60 to 69",
        "80 and over",
        "80 and over",
    ]
    assert [nominal_field(t) for t in ("1.494", "1.5", "3", "")] == ["1.5 T", "1.5 T", "3 T", ""]


def test_lengths_that_differ_are_refused() -> None:
    with pytest.raises(InputError, match="groups"):
        subgroup_table("sex", ["F"], [0, 1], np.full((2, 2), 0.5), ["a", "b"], CLASSES)
