"""The statistics behind the audit's leakage numbers, against plain simulation and scipy."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import kruskal
from study_maker import make_images, make_sessions

from medblip.study.balance import compare
from medblip.study.comparisons import (
    Grouping,
    _holm,
    compare_kinds,
    compare_numbers,
    compare_shares,
)
from medblip.study.held_out import measure, predict_held_out
from medblip.study.label_defining import label_defining, without_label_defining
from medblip.study.leakage import predictability
from medblip.study.splits import make_splits


def balanced(labels: np.ndarray, predicted: np.ndarray) -> float:
    return float(np.mean([(predicted[labels == n] == n).mean() for n in np.unique(labels)]))


def test_expected_accuracy_and_p_are_those_of_shuffled_labels() -> None:
    rng = np.random.default_rng(1)
    labels = rng.choice(["AD", "MCI", "NC"], 200, p=[0.5, 0.3, 0.2])
    strata = rng.choice(["x", "y"], 200)
    lean = np.where(strata == "x", 0.34, 0.8)
    predicted = np.where(rng.random(200) < lean, "NC", rng.choice(["AD", "MCI"], 200))
    shuffled = []
    for _ in range(4000):
        other = labels.copy()
        for name in "xy":
            inside = np.flatnonzero(strata == name)
            other[inside] = labels[rng.permutation(inside)]
        shuffled.append(balanced(other, predicted))
    result = measure(labels, predicted, strata)
    assert result.accuracy == pytest.approx(balanced(labels, predicted))
    # the standard error of 4,000 shuffles is 0.0005
    assert result.expected == pytest.approx(np.mean(shuffled), abs=0.002)
    assert result.p == pytest.approx(np.mean(np.array(shuffled) >= result.accuracy), abs=0.04)


def test_interval_covers_the_true_accuracy_about_95_times_in_100() -> None:
    rng = np.random.default_rng(2)
    covered, rounds = 0, 200
    for _ in range(rounds):
        labels = np.repeat(["AD", "NC"], [30, 60])
        right = rng.random(90) < np.where(labels == "AD", 0.6, 0.8)
        predicted = np.where(right, labels, np.where(labels == "AD", "NC", "AD"))
        result = measure(labels, predicted, np.zeros(90, dtype="U1"))
        covered += result.low <= 0.7 <= result.high
    assert 0.90 <= covered / rounds <= 0.99


def test_interval_of_a_perfect_score_is_not_a_point() -> None:
    labels = np.repeat(["AD", "NC"], 10)
    result = measure(labels, labels, np.zeros(20, dtype="U1"))
    assert result.accuracy == 1.0
    assert result.low < 0.98
    assert result.p < 1e-3


def test_predictions_are_of_held_out_rows() -> None:
    # One column a row: what was learnt of a row tells nothing of another.
    labels = np.array(["AD", "NC"] * 20)
    predicted = predict_held_out(np.eye(40), labels)
    assert balanced(labels, predicted) < 0.7
    assert balanced(labels, predict_held_out((labels == "AD")[:, None] * 1.0, labels)) == 1.0


def test_a_cohort_that_tells_the_label_is_not_told_again_by_what_it_implies() -> None:
    first = pd.concat(
        [
            make_sessions(150, "SIM-A", seed=1).query("diagnosis != 'AD'"),
            make_sessions(150, "SIM-B", seed=2).query("diagnosis != 'NC'"),
        ],
        ignore_index=True,
    )
    rows = first.merge(make_images(first), on=["participant_id", "session_id"])
    rows["voxel_mm"] = rows["cohort"].map({"SIM-A": "1x1x1", "SIM-B": "1x1x1.2"})
    measured = {entry.source: entry for entry in predictability(rows)}
    assert measured["site"].beyond_luck
    assert not measured["voxel size"].beyond_luck
    assert measured["voxel size"].expected > measured["voxel size"].chance + 0.05


def test_holm_adjusts_as_in_the_textbook() -> None:
    # Smallest times 4, next times 3 ..., never below the one before, at most 1.
    adjusted = _holm(np.array([0.01, 0.04, 0.03, 0.005]))
    np.testing.assert_allclose(adjusted, [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(_holm(np.array([0.6, 0.9])), [1.0, 1.0])


def grouping(sizes: dict[str, int]) -> Grouping:
    names = np.repeat(list(sizes), list(sizes.values()))
    return Grouping("label", pd.Series(names), list(sizes))


def test_numbers_are_compared_between_large_groups_only() -> None:
    groups = grouping({"NC": 20, "MCI": 3, "AD": 20})
    values = pd.Series(np.r_[np.linspace(60, 70, 20), [0, 0, 0], np.linspace(66, 76, 20)])
    values.iloc[0] = np.nan
    found = compare_numbers("mean age", values, groups)
    assert found is not None
    assert found.groups == ("NC", "AD")
    known = values[~groups.group.eq("MCI")].dropna()
    assert found.size == pytest.approx((71 - values[:20].mean()) / known.std())
    assert found.p == pytest.approx(kruskal(values[1:20], values[23:]).pvalue)


def test_what_cannot_be_compared_is_left_out() -> None:
    few = grouping({"NC": 20, "AD": 3})
    same = grouping({"NC": 20, "AD": 20})
    assert compare_shares("women", pd.Series([True] * 23), few) is None
    assert compare_shares("women", pd.Series([True] * 40), same) is None
    assert compare_numbers("mean age", pd.Series([70.0] * 40), same) is None
    assert compare_kinds("diagnosis", pd.Series(["AD"] * 40), same) is None


def test_shares_and_kinds_have_their_effect_sizes() -> None:
    groups = grouping({"NC": 50, "AD": 50})
    holds = pd.Series([True] * 40 + [False] * 10 + [True] * 20 + [False] * 30)
    found = compare_shares("women", holds, groups)
    assert found is not None
    assert found.size == pytest.approx(0.4)
    assert found.differs(0.2) is False  # not adjusted yet: nothing is claimed
    kinds = compare_kinds("diagnosis", pd.Series(["a", "b"] * 50), groups)
    assert kinds is not None
    assert kinds.size == pytest.approx(0)
    together = compare_kinds("diagnosis", groups.group, groups)
    assert together is not None
    assert together.size == pytest.approx(1)


def test_zero_shot_cohorts_are_not_compared_with_the_drawn_splits() -> None:
    first = pd.concat([make_sessions(90, "SIM-A"), make_sessions(90, "SIM-B")], ignore_index=True)
    first.loc[first["cohort"] == "SIM-B", "age"] = "95"
    by_split = [
        c for c in compare(first, make_splits(first, zero_shot=["SIM-B"])) if c.by != "label"
    ]
    assert by_split
    assert all("zero_shot" not in comparison.groups for comparison in by_split)
    assert not any(comparison.differs(0) for comparison in by_split)


def test_fields_that_defined_the_label_are_emptied_row_by_row() -> None:
    sessions = make_sessions(4)
    sessions["label_defined_by"] = ["mmse, cdr_global", "cdr_global", "diagnosis", "mmse"]
    kept = without_label_defining(sessions)
    assert (kept["mmse"] == "").tolist() == [True, False, False, True]
    assert (kept["cdr_global"] == "").tolist() == [True, True, False, False]
    assert (sessions["mmse"] != "").all()
    untouched = [name for name in sessions if name not in ("mmse", "cdr_global")]
    pd.testing.assert_frame_equal(kept[untouched], sessions[untouched])
    assert label_defining("diagnosis,site") == ()
