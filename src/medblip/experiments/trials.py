"""What the experiments train: a setting is one way to train and to read the answers out.

A trial is a setting under a seed, in a row of a table. Rows of several tables may be one setting,
which is then trained once: the run is named by its resolved recipe.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from medblip.experiments.paper_tables import table_name
from medblip.recipe import STAGE_NAMES, Recipe, load_recipe
from medblip.study.study import Study

Readout = Literal["image_and_record", "record", "image_tokens", "queries", "questions"]
QUESTIONS: Readout = "questions"

_KEY_LENGTH = 12
# Keys of a recipe, or of its stages, that were not there from the first: at these values they leave
# a run's name alone, so that what was finished before stays finished.
_UNSAID = {"train_share": 1.0}
_UNSAID_OF_STAGES = {"choices_shown": 0.5, "closed_first": 0.0, "itc_choices": 0.0}


@dataclass(frozen=True)
class Setting:
    """One way to train a model, and where its answers come from.

    Attributes:
        recipe: shipped recipe that it starts from.
        lengths: values that a caller's own overrides may change again: steps, batch sizes.
        changes: values that make this setting what it is; they come last.
        readout: ``image_and_record`` and ``record`` are likelihood answers of the language model;
            ``image_tokens`` and ``queries`` those of a linear head on what the vision encoder or
            the MedQFormer makes of the image; ``questions`` those to the questions of a study.
        controls: whether the model is scored with inputs withheld and exchanged too.
        minutes: training and scoring on two cores at embedded size; None where not known.
        most: so many questions of each kind are asked; None for all.
    """

    recipe: str
    changes: tuple[str, ...] = ()
    readout: Readout = "image_and_record"
    lengths: tuple[str, ...] = ()
    controls: bool = False
    minutes: float | None = None
    most: int | None = None

    @property
    def kept_as(self) -> str:
        """Part of the names of files of its answers."""
        return self.readout if self.most is None else f"{self.readout}.most-{self.most}"


@dataclass(frozen=True)
class Trial:
    """A setting under a seed, in a row of a table.

    Attributes:
        table: of the paper, or `medblip.experiments.paper_tables.LOW_DATA`.
        row: key; see `medblip.experiments.records.RunRecord`.
        setting: what is trained.
        seed: of the recipe.
        overrides: the caller's recipe values, for all trials alike.
    """

    table: int
    row: str
    setting: Setting
    seed: int
    overrides: tuple[str, ...] = ()

    @cached_property
    def recipe(self) -> Recipe:
        """As resolved.

        Raises:
            InputError, UsageError: see `medblip.recipe.load_recipe`.
        """
        s = self.setting
        values = [*s.lengths, *self.overrides, *s.changes, f"seed={self.seed}"]
        return load_recipe(s.recipe, values)

    def study(self, prepared: Study) -> Study:
        """What it is trained and tested on: a study, without the fields that its recipe drops."""
        return prepared.dropping_label_defining_fields(
            self.recipe.record.drop_label_defining_fields
        )

    @cached_property
    def run(self) -> str:
        """Name of its run: a hash of the resolved recipe, seed included."""
        told = _said(self.recipe.model_dump(mode="json"), _UNSAID)
        told |= {stage: _said(told[stage], _UNSAID_OF_STAGES) for stage in STAGE_NAMES}
        text = json.dumps(told, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:_KEY_LENGTH]

    @property
    def key(self) -> tuple[str, Readout]:
        """Equal for trials of one training whose answers are read out alike."""
        return self.run, self.setting.readout

    @property
    def title(self) -> str:
        return f"{table_name(self.table)}, {self.row}, seed {self.seed}"


def _said(values: Mapping[str, Any], unsaid: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if (key, value) not in unsaid.items()}


def distinct(trials: Sequence[Trial]) -> list[Trial]:
    """The first trial of each key, in order."""
    first: dict[tuple[str, Readout], Trial] = {}
    for trial in trials:
        first.setdefault(trial.key, trial)
    return list(first.values())
