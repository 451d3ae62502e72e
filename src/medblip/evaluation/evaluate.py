"""``evaluate``: a trained run on held-out subjects, with its controls, as numbers and a page."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from medblip.errors import InputError
from medblip.evaluation.calibration import Temperature, fit_temperature
from medblip.evaluation.content import PaperSubset
from medblip.evaluation.controls import CONTROLS, Condition, Scorer
from medblip.evaluation.intervals import PairedDifference, paired_difference
from medblip.evaluation.kept_scores import KeptScores
from medblip.evaluation.metrics import ClassificationMetrics, classification_metrics
from medblip.evaluation.paper_subsets import evaluate_subsets, subset_as_dict, subset_tasks
from medblip.evaluation.simple_models import (
    FeatureTable,
    downsample_cube,
    field_matrix,
    fit_simple_models,
)
from medblip.model import MedBlipForConditionalGeneration, MedBlipProcessor
from medblip.recipe import Recipe, load_recipe
from medblip.storage import write_json, write_text
from medblip.study.labels import LABELS
from medblip.study.splits import SplitName
from medblip.study.study import Example, Study
from medblip.training.card import write_card
from medblip.training.card_facts import CardFacts, ResultFacts
from medblip.training.precision import pick_device, resolve_precision
from medblip.training.run_folder import DONE_FILE, MODEL_FOLDER, RECIPE_FILE
from medblip.training.token_cache import TokenCache
from medblip.training.train_share import training_examples
from medblip.volumes import map_cube_array

RESULTS_FILE = "results.json"
PREDICTIONS_FILE = "predictions.tsv"
SCORES_FOLDER = "scores"
EVALUATED: tuple[SplitName, ...] = ("validation", "test", "zero_shot")


@dataclass(frozen=True)
class Scored:
    """Predictions for one set of examples under one condition or simple model."""

    title: str
    explanation: str
    withholds: Any
    probabilities: NDArray[np.float64]

    def correct(self, labels: NDArray[np.int64]) -> NDArray[np.bool_]:
        right: NDArray[np.bool_] = self.probabilities.argmax(1) == labels
        return right


@dataclass(frozen=True)
class Measured:
    """Predictions with their numbers: own metrics, and accuracy against the full model's."""

    scored: Scored
    metrics: ClassificationMetrics
    against_full: PairedDifference


@dataclass(frozen=True)
class Evaluation:
    """All that the report is drawn from.

    Attributes:
        examples: test subjects, one session each; zero_shot those of cohorts never trained on.
        scores: raw log-probabilities of the full model on the test subjects.
        conditions: full model and controls, calibrated; keyed as in :data:`CONTROLS`.
        simple: simple models by name.
        zero_shot_full: the full model on ``zero_shot``.
        subsets: the paper's named subsets, where the study has their cohorts.
    """

    recipe: Recipe
    examples: list[Example]
    zero_shot: list[Example]
    temperature: Temperature
    scores: NDArray[np.float32]
    conditions: Mapping[Condition, Scored]
    simple: Mapping[str, Scored]
    zero_shot_full: Scored
    subsets: tuple[PaperSubset, ...] = ()

    @property
    def labels(self) -> NDArray[np.int64]:
        return label_array(self.examples)

    @property
    def subjects(self) -> list[str]:
        return [e.participant_id for e in self.examples]

    @cached_property
    def measured(self) -> dict[str, Measured]:
        """Every condition and simple model by its key, bootstrapped once for all readers."""
        labels, subjects = self.labels, self.subjects
        full = self.conditions["full"].correct(labels)
        return {
            name: Measured(
                scored,
                classification_metrics(labels, scored.probabilities, subjects, LABELS),
                paired_difference(scored.correct(labels), full, subjects),
            )
            for name, scored in (*self.conditions.items(), *self.simple.items())
        }


def label_array(examples: Sequence[Example]) -> NDArray[np.int64]:
    return np.array([LABELS.index(e.label) for e in examples], dtype=np.int64)


def evaluate(
    run: Path, study: Study, *, cubes: Path, tokens: Path, progress: bool = True
) -> Evaluation:
    """Evaluate the model of a run folder on the study's test and zero-shot subjects.

    One session a subject, the first; and the paper's named subsets of the study. Writes
    ``results.json``, ``predictions.tsv`` and the temperature (beside the checkpoint). Scores are
    kept per condition, so that an interrupted evaluation goes on where it stopped.

    Raises:
        InputError: the run is not finished, its checkpoint is damaged, or the named subsets do
            not fit the study.
    """
    recipe = finished_recipe(run)
    study = study.dropping_label_defining_fields(recipe.record.drop_label_defining_fields)
    scorer = load_scorer(run, recipe, cubes, tokens)
    splits = {n: study.examples(n, "first") for n in EVALUATED}
    named = subset_tasks(study)
    everyone = [*splits.values(), *(task.examples for task in named)]
    scorer.cache.fill([e.cube for examples in everyone for e in examples], progress=progress)
    kept = KeptScores(run / SCORES_FOLDER, scorer, progress)

    validation = splits["validation"]
    temperature = Temperature()
    if validation:
        held_out = kept.scores("validation", validation, "full")
        temperature = fit_temperature(held_out, label_array(validation))
    temperature.save(run / MODEL_FOLDER)

    test = splits["test"]
    raw = {name: kept.scores("test", test, name) for name in CONTROLS}
    conditions = {name: _scored(name, temperature, scores) for name, scores in raw.items()}
    zero_shot = kept.scores("zero_shot", splits["zero_shot"], "full")
    evaluation = Evaluation(
        recipe=recipe,
        examples=test,
        zero_shot=splits["zero_shot"],
        temperature=temperature,
        scores=raw["full"],
        conditions=conditions,
        simple=_simple_models(study, test, scorer.cache, cubes, recipe, progress),
        zero_shot_full=_scored("full", temperature, zero_shot),
        subsets=tuple(evaluate_subsets(named, kept, temperature)),
    )
    measured = results(evaluation)
    write_json(run / RESULTS_FILE, measured)
    facts = CardFacts.of_checkpoint(run / MODEL_FOLDER)
    write_card(run / MODEL_FOLDER, facts.model_copy(update={"results": ResultFacts.of(measured)}))
    write_text(run / PREDICTIONS_FILE, _predictions(evaluation))
    return evaluation


def finished_recipe(run: Path) -> Recipe:
    """The recipe of a run.

    Raises:
        InputError: the folder holds no finished one.
    """
    if not (run / DONE_FILE).exists():
        raise InputError(
            str(run),
            "this folder holds no finished run",
            "run `medblip train` with --out set to it; an interrupted run goes on",
            code="run-not-finished",
        )
    return load_recipe(run / RECIPE_FILE)


def load_scorer(run: Path, recipe: Recipe, cubes: Path, tokens: Path) -> Scorer:
    """The model of a finished run, with all it needs to score study examples."""
    device = pick_device()
    precision = resolve_precision(recipe.precision, device)
    model = MedBlipForConditionalGeneration.from_pretrained(run / MODEL_FOLDER)
    model.to(device).eval()  # type: ignore[arg-type]
    processor = MedBlipProcessor.from_pretrained(run / MODEL_FOLDER)
    cache = TokenCache(model, cubes, tokens, precision)
    return Scorer(model, processor, cache, recipe.record.form)


def _scored(name: Condition, temperature: Temperature, scores: NDArray[np.float32]) -> Scored:
    text = CONTROLS[name]
    return Scored(text.title, text.explanation, text.withholds, temperature.probabilities(scores))


def _simple_models(
    study: Study,
    test: Sequence[Example],
    cache: TokenCache,
    cubes: Path,
    recipe: Recipe,
    progress: bool,
) -> dict[str, Scored]:
    train = training_examples(study, recipe)
    bar = tqdm(total=2, desc="Simple models beside ours", unit="step", disable=not progress)
    with bar:
        tables = [_features(rows, cache, cubes, recipe) for rows in (train, test)]
        bar.update()
        fitted = fit_simple_models(tables[0], tables[1], recipe.seed)
        bar.update()
    return {
        name: Scored(result.title, result.description, "", result.probabilities)
        for name, result in fitted.items()
    }


def _features(
    examples: Sequence[Example], cache: TokenCache, cubes: Path, recipe: Recipe
) -> FeatureTable:
    voxels = [downsample_cube(map_cube_array(cubes / e.cube)).ravel() for e in examples]
    tokens = [cache.tokens(e.cube).mean(0) for e in examples]
    return FeatureTable(
        fields=field_matrix(examples, recipe.record.fields),
        labels=label_array(examples),
        subjects=[e.participant_id for e in examples],
        voxels=np.stack(voxels),
        tokens=np.stack(tokens),
    )


def results(evaluation: Evaluation) -> dict[str, Any]:
    """The numbers of the report as JSON."""

    def entry(name: str) -> dict[str, Any]:
        measured = evaluation.measured[name]
        return {
            "title": measured.scored.title,
            "metrics": measured.metrics.as_dict(),
            "accuracy_minus_full": measured.against_full.difference.as_dict(),
            "p": measured.against_full.p,
        }

    zero_shot = evaluation.zero_shot
    return {
        "schema": "medblip-results/1",
        "created": datetime.now(UTC).date().isoformat(),
        "test_subjects": len(set(evaluation.subjects)),
        "temperature": evaluation.temperature.value,
        "conditions": {name: entry(name) for name in evaluation.conditions},
        "simple_models": {name: entry(name) for name in evaluation.simple},
        "zero_shot": classification_metrics(
            label_array(zero_shot),
            evaluation.zero_shot_full.probabilities,
            [e.participant_id for e in zero_shot],
            LABELS,
        ).as_dict()
        if zero_shot
        else None,
        "subsets": [subset_as_dict(subset) for subset in evaluation.subsets],
    }


def _predictions(evaluation: Evaluation) -> str:
    rows = []
    for i, example in enumerate(evaluation.examples):
        row: dict[str, Any] = {
            "participant_id": example.participant_id,
            "session_id": example.session_id,
            "label": example.label,
        }
        for name, scored in evaluation.conditions.items():
            row[name] = LABELS[int(scored.probabilities[i].argmax())]
        for label, p in zip(LABELS, evaluation.conditions["full"].probabilities[i], strict=True):
            row[f"p_{label}"] = f"{p:.4f}"
        rows.append(row)
    return pd.DataFrame(rows).to_csv(sep="\t", index=False)


def load_results(run: Path) -> dict[str, Any]:
    """``results.json`` of an evaluated run."""
    loaded: dict[str, Any] = json.loads((run / RESULTS_FILE).read_text(encoding="utf-8"))
    return loaded
