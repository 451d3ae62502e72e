"""Probabilities of the study's simple models, fitted once more: the tables keep right and wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from medblip.evaluation.intervals import Floats
from medblip.experiments.columns import ColumnSet, everyone, rows_among
from medblip.experiments.study_controls import fitted_controls
from medblip.recipe import RecordSection
from medblip.study.labels import LABELS
from medblip.study.study import Study

LEAST = 1e-9  # probability of a label that a model rules out


def simple_answers(
    study: Study, columns: Sequence[ColumnSet], cubes: Path, record: RecordSection
) -> Mapping[str, Mapping[str, Floats]]:
    """Column -> control -> probabilities ``(examples, labels of the column)``.

    Args:
        record: see `medblip.experiments.study_controls.study_controls`.

    Raises:
        InputError: see `fitted_controls`.
    """
    tested = everyone(columns)
    results, _ = fitted_controls(study, tested, cubes, record)
    answers: dict[str, dict[str, Floats]] = {}
    for column, rows in zip(columns, rows_among(tested, columns), strict=True):
        asked = [LABELS.index(label) for label in column.labels]
        answers[column.name] = {
            key: _among(result.probabilities[np.ix_(rows, asked)])
            for key, result in results.items()
        }
    return answers


def _among(probabilities: Floats) -> Floats:
    """Rows that sum to one over the labels that are asked for."""
    there = probabilities.clip(min=LEAST)
    shares: Floats = there / there.sum(axis=1, keepdims=True)
    return shares
