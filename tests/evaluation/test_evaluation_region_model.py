"""The bound from true regional change: from a simulation's own truth, by the usual model."""

from __future__ import annotations

import numpy as np
import pytest

from medblip.errors import InputError
from medblip.evaluation.region_model import fit_region_model, region_matrix
from medblip.evaluation.simple_models import FeatureTable
from medblip.simulate.scanner import MM_PER_AGE, MM_PER_SEVERITY


def states(generator: np.random.Generator, labels: list[int]) -> list[dict[str, str]]:
    severity = np.array([0.0, 0.75, 2.2])[labels] + 0.35 * generator.normal(size=len(labels))
    return [
        {"severity": f"{s:.4f}", "age_deviation": f"{a:.4f}", "status": "?"}
        for s, a in zip(severity, generator.normal(size=len(labels)), strict=True)
    ]


def features(generator: np.random.Generator, name: str, rows: int) -> FeatureTable:
    labels = np.arange(rows) % 3
    regions = region_matrix(states(generator, labels.tolist()))
    return FeatureTable(regions, labels, [f"{name}{i}" for i in range(rows)])


def test_regions_are_millimetres_of_the_simulator() -> None:
    matrix = region_matrix([{"severity": "2", "age_deviation": "-1"}])
    assert matrix.to_dict("records") == [
        {name: pytest.approx(2 * MM_PER_SEVERITY[name] - MM_PER_AGE[name]) for name in MM_PER_AGE}
    ]


def test_true_regions_tell_the_labels_apart_as_far_as_they_can() -> None:
    generator = np.random.default_rng(0)
    result = fit_region_model(features(generator, "train", 240), features(generator, "test", 240))
    right = result.probabilities.argmax(axis=1) == np.arange(240) % 3
    assert result.title == "Logistic regression: true regional change"
    assert "ventricles" in result.description
    # NC and MCI lie 0.75 / 0.35 = 2.1 sd apart, AD far off: at best 1 - 2/3 Phi(-1.07) = 90%.
    assert 0.82 < right.mean() < 0.97


def test_a_truth_without_the_columns_is_refused() -> None:
    for row in ({"severity": "1"}, {"severity": "n/a", "age_deviation": "0"}):
        with pytest.raises(InputError) as error:
            region_matrix([row])
        assert error.value.code == "bad-ground-truth"
