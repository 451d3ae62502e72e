"""Logistic regression on the true change of brain regions: simulated data's own upper bound.

What regional volumes would give whoever segments a scan without a mistake. No real cohort comes
with such a truth; there, coarse voxels stand for the image (`medblip.evaluation.simple_models`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from medblip.errors import InputError
from medblip.evaluation.simple_models import FeatureTable, SimpleResult, fit_simple_models
from medblip.simulate.scanner import atrophy_mm

LATENTS = ("severity", "age_deviation")


@dataclass(frozen=True, slots=True)
class _State:
    severity: float
    age_deviation: float


def region_matrix(states: Sequence[Mapping[str, str]]) -> pd.DataFrame:
    """Largest displacement in mm of each region: float ``(states, regions)``.

    Args:
        states: rows of a simulation's ground truth, one a scan, with the columns `LATENTS`.

    Raises:
        InputError: a row lacks a column or holds no number.
    """
    rows = []
    for line, row in enumerate(states):
        try:
            state = _State(*(float(row[name]) for name in LATENTS))
        except (KeyError, ValueError) as error:
            raise InputError(
                f"ground truth, row {line}",
                f"found no number in {error}; expected {' and '.join(LATENTS)}",
                "use the ground truth that `medblip simulate` wrote",
                code="bad-ground-truth",
            ) from error
        rows.append(atrophy_mm(state))
    return pd.DataFrame(rows, dtype=float)


def fit_region_model(
    train: FeatureTable, test: FeatureTable, seed: int = 0, *, n_classes: int = 3
) -> SimpleResult:
    """Fit on training subjects and answer the test set, as the other simple models do.

    Args:
        train, test: with `region_matrix` in the place of ``fields``.

    Raises:
        InputError: see `fit_simple_models`.
    """
    fitted = fit_simple_models(train, test, seed, n_classes=n_classes)["fields"]
    return replace(fitted, title="Logistic regression: true regional change")
