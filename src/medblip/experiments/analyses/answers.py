"""What the full model's runs answered to every column, read again from what they kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from medblip.evaluation.calibration import Temperature, fit_temperature
from medblip.evaluation.controls import Condition
from medblip.evaluation.evaluate import SCORES_FOLDER, label_array, load_scorer
from medblip.evaluation.intervals import Floats
from medblip.evaluation.kept_scores import KeptScores
from medblip.experiments.columns import ColumnSet, everyone
from medblip.experiments.scoring import WITHHELD, Caches, file_name
from medblip.experiments.trials import Trial
from medblip.study.labels import LABELS
from medblip.study.study import Example, Study

FULL = "full"
CONDITIONS: dict[str, Condition] = {FULL: "full", **WITHHELD}


@dataclass(frozen=True)
class ColumnAnswers:
    """One column, answered by every run.

    Attributes:
        column: the test set.
        scores: row key -> log-probabilities ``(runs, examples, column.labels)``.
    """

    column: ColumnSet
    scores: Mapping[str, Floats]

    @property
    def truth(self) -> NDArray[np.int64]:
        """``(examples,)``, index into ``column.labels``."""
        names = [self.column.labels.index(e.label) for e in self.column.examples]
        return np.array(names, dtype=np.int64)

    def probabilities(self, row: str = FULL) -> Floats:
        """``(runs, examples, column.labels)``, not calibrated."""
        given: Floats = softmax(self.scores[row], axis=-1)
        return given


@dataclass(frozen=True)
class Answers:
    """Everything that several analyses start from.

    Attributes:
        seeds: of the runs.
        columns: in order.
        temperatures: of each run, fitted on validation subjects; the identity without any.
    """

    seeds: tuple[int, ...]
    columns: tuple[ColumnAnswers, ...]
    temperatures: tuple[Temperature, ...]

    @property
    def calibrated(self) -> bool:
        return all(temperature.calibrated for temperature in self.temperatures)

    def confidences(self, column: ColumnAnswers) -> Floats:
        """``(runs, examples, column.labels)``: probabilities after temperature scaling."""
        by_run = zip(self.temperatures, column.scores[FULL], strict=True)
        return np.stack([t.probabilities(scores) for t, scores in by_run])


@dataclass(frozen=True)
class ScoredRun:
    """A finished run of the full model.

    Attributes:
        trial: that it was trained for.
        folder: of the run.
    """

    trial: Trial
    folder: Path


def read_answers(
    runs: Sequence[ScoredRun],
    study: Study,
    columns: Sequence[ColumnSet],
    caches: Caches,
    *,
    progress: bool,
) -> Answers:
    """Scores of every column under every condition, and a temperature for each run.

    What the runs did not keep, as the validation split, is scored now and kept with the rest.

    Raises:
        InputError: a model cannot be read.
    """
    held_out = study.examples("validation", "first")
    read = [_read(run, columns, held_out, caches, progress) for run in runs]
    by_run = [scores for scores, _ in read]
    return Answers(
        tuple(run.trial.seed for run in runs),
        tuple(
            ColumnAnswers(
                column, {row: np.stack([s[column.name, row] for s in by_run]) for row in CONDITIONS}
            )
            for column in columns
        ),
        tuple(temperature for _, temperature in read),
    )


def _read(
    run: ScoredRun,
    columns: Sequence[ColumnSet],
    held_out: Sequence[Example],
    caches: Caches,
    progress: bool,
) -> tuple[dict[tuple[str, str], Floats], Temperature]:
    scorer = load_scorer(run.folder, run.trial.recipe, caches.cubes, caches.tokens)
    scorer.cache.fill([e.cube for e in (*everyone(columns), *held_out)], progress=progress)
    kept = KeptScores(run.folder / SCORES_FOLDER, scorer, progress)
    scores = {
        (column.name, row): _asked(
            column, kept.scores(file_name(column.name), column.examples, condition)
        )
        for column in columns
        for row, condition in CONDITIONS.items()
    }
    if not held_out:
        return scores, Temperature()
    validation = kept.scores("validation", held_out, "full")
    return scores, fit_temperature(validation, label_array(held_out))


def _asked(column: ColumnSet, scores: NDArray[np.float32]) -> Floats:
    """Scores of the column's labels alone."""
    return scores[:, [LABELS.index(label) for label in column.labels]].astype(np.float64)
