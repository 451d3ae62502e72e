"""A trained model's answers to every column, and those of its controls, as records."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from medblip.errors import InputError
from medblip.evaluation.controls import Condition
from medblip.evaluation.evaluate import SCORES_FOLDER, load_scorer
from medblip.evaluation.kept_scores import KeptScores
from medblip.evaluation.pairing import PairRule, partners
from medblip.experiments.columns import ColumnSet, columns_of, everyone
from medblip.experiments.image_head import head_scores
from medblip.experiments.questions_scoring import question_records
from medblip.experiments.records import Role, RunRecord
from medblip.experiments.trials import QUESTIONS, Trial
from medblip.study.study import Example, Study
from medblip.training.train_share import training_examples

# The model with an input withheld or exchanged: row -> what it is shown.
WITHHELD: dict[str, Condition] = {
    "control.record": "record",
    "control.image": "image",
    "control.other_image": "other_image",
    "control.blank_image": "blank_image",
}
EXCHANGED: dict[str, PairRule] = {
    "control.other_image_same_label": "same_label",
    "control.other_image_other_label": "other_label",
}


@dataclass(frozen=True)
class Caches:
    """Folders of the volume cache and of token caches."""

    cubes: Path
    tokens: Path


def records_of(
    trial: Trial,
    run: Path,
    study: Study,
    caches: Caches,
    *,
    progress: bool = True,
) -> list[RunRecord]:
    """What the model of a finished run answers, and its controls where the setting wants them.

    Scores are kept in the run's folder, so that what was interrupted goes on.

    Args:
        study: as it was prepared; the trial is tested on what it was trained on.
    """
    study = trial.study(study)
    columns = columns_of(study)
    if trial.setting.readout in ("image_tokens", "queries"):
        return _by_head(trial, run, study, columns, caches, progress)
    if trial.setting.readout == QUESTIONS:
        cubes, tokens = caches.cubes, caches.tokens
        return question_records(trial, run, study, cubes, tokens, progress=progress)
    scorer = load_scorer(run, trial.recipe, caches.cubes, caches.tokens)
    if trial.setting.readout == "image_and_record":
        scorer.cache.fill([e.cube for e in everyone(columns)], progress=progress)
    kept = KeptScores(run / SCORES_FOLDER, scorer, progress)
    shown: Condition = "full" if trial.setting.readout == "image_and_record" else "record"
    records = []
    for column in columns:
        scores = kept.scores(file_name(column.name), column.examples, shown)
        records.append(_record(trial, trial.row, "model", column, column.right(scores)))
        if trial.setting.controls:
            records += _controls(trial, kept, column)
    return records


def file_name(column: str) -> str:
    """A column's name as part of a file's name."""
    return re.sub(r"\W+", "-", column).strip("-").lower()


def _record(
    trial: Trial, row: str, role: Role, column: ColumnSet, right: tuple[bool, ...]
) -> RunRecord:
    return RunRecord(trial.table, row, column.name, trial.seed, role, column.subjects, right)


def _controls(trial: Trial, kept: KeptScores, column: ColumnSet) -> Iterator[RunRecord]:
    name = file_name(column.name)
    for row, condition in WITHHELD.items():
        right = column.right(kept.scores(name, column.examples, condition))
        yield _record(trial, row, "control", column, right)
    for row, rule in EXCHANGED.items():
        exchanged = _exchanged(column, rule)
        if exchanged is not None:
            right = column.right(kept.scores(f"{name}.{rule}", exchanged, "full"))
            yield _record(trial, row, "control", column, right)


def _exchanged(column: ColumnSet, rule: PairRule) -> list[Example] | None:
    """Each record with the image of another subject; None where not everyone has a partner."""
    labels = [e.label for e in column.examples]
    try:
        chosen = partners(labels, column.subjects, rule, seed=0)
    except InputError as error:
        if error.code != "no-partner":
            raise
        return None
    images = [column.examples[row].cube for row in chosen]
    return [replace(e, cube=cube) for e, cube in zip(column.examples, images, strict=True)]


def _by_head(
    trial: Trial,
    run: Path,
    study: Study,
    columns: Sequence[ColumnSet],
    caches: Caches,
    progress: bool,
) -> list[RunRecord]:
    train = training_examples(study, trial.recipe)
    tested = everyone(columns)
    scores = head_scores(trial, run, train, tested, caches.cubes, progress=progress)
    row_of = {(e.participant_id, e.session_id, e.image): row for row, e in enumerate(tested)}
    records = []
    for column in columns:
        rows = [row_of[e.participant_id, e.session_id, e.image] for e in column.examples]
        records.append(_record(trial, trial.row, "model", column, column.right(scores[rows])))
    return records
