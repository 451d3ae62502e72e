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
from medblip.simulate.individual import Sides
from medblip.simulate.scanner import MM_PER_SEVERITY, atrophy_mm

LATENTS = ("severity", "age_deviation")


@dataclass(frozen=True, slots=True)
class _State:
    severity: float
    age_deviation: float


def region_matrix(states: Sequence[Mapping[str, str]]) -> pd.DataFrame:
    """Largest displacement in mm of each region: float ``(states, regions or region sides)``.

    Args:
        states: rows of a simulation's ground truth, one a scan, with the columns `LATENTS`. Where
            people differ in where they lose tissue, it tells both sides of each region too.

    Raises:
        InputError: a row lacks a column or holds no number.
    """
    rows = []
    for line, row in enumerate(states):
        try:
            rows.append(_change(row))
        except (KeyError, ValueError) as error:
            raise InputError(
                f"ground truth, row {line}",
                f"found no number in {error}; expected {' and '.join(LATENTS)}",
                "use the ground truth that `medblip simulate` wrote",
                code="bad-ground-truth",
            ) from error
    return pd.DataFrame(rows, dtype=float)


def _change(row: Mapping[str, str]) -> dict[str, float]:
    state = _State(*(float(row[name]) for name in LATENTS))
    sides = [f"{region}_{side}_max_mm" for region in MM_PER_SEVERITY for side in Sides._fields]
    regions = [f"{region}_max_mm" for region in MM_PER_SEVERITY]
    for told in (sides, regions):
        if told[0] in row:
            return {name: float(row[name]) for name in told}
    return atrophy_mm(state)


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
