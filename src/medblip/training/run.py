"""A training run: a folder that can be left at any instant and entered again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from transformers import set_seed

from medblip import __version__
from medblip.recipe import Recipe
from medblip.storage import write_json
from medblip.study.soundness import require_sound
from medblip.study.study import Study
from medblip.training.building import build
from medblip.training.card import write_card
from medblip.training.card_facts import facts_of_training
from medblip.training.metrics_file import MetricsFile
from medblip.training.precision import pick_device, resolve_precision
from medblip.training.recomputing import recomputes
from medblip.training.run_folder import (
    BEST_FILE,
    DONE_FILE,
    ENVIRONMENT_FILE,
    METRICS_FILE,
    MODEL_FOLDER,
    Run,
    claim,
    environment,
)
from medblip.training.session import Places, Session
from medblip.training.trackers import require_trackers


def train(
    recipe: Recipe,
    study: Study,
    out: Path,
    *,
    cubes: Path,
    tokens: Path,
    accept_audit: Sequence[str] = (),
    trackers: Sequence[str] = (),
    progress: bool = True,
) -> Run:
    """Train ``recipe`` on ``study`` into the run folder ``out``, going on where it stopped.

    Args:
        cubes: the volume cache's folder.
        tokens: where token caches live.
        accept_audit: codes of audit errors to train in spite of.
        trackers: experiment trackers to log to: ``tensorboard``, ``trackio``, ``mlflow``.
        progress: show bars.

    Returns:
        The finished run; at once where ``out`` holds it already.

    Raises:
        UsageError: ``out`` holds a run of another recipe or study.
        InputError: the audit of the study has an error, such as one scan on both sides.
        TrainingDivergedError: the loss stopped being a number.
    """
    require_trackers(trackers)
    require_sound(study, accept_audit)
    study = study.dropping_label_defining_fields(recipe.record.drop_label_defining_fields)
    out.mkdir(parents=True, exist_ok=True)
    claim(out, recipe, study)
    run = Run(out, out / MODEL_FOLDER, MetricsFile(out / METRICS_FILE).read())
    if (out / DONE_FILE).exists():
        return run
    device = pick_device()
    precision = resolve_precision(recipe.precision, device)
    surroundings = environment(device, precision)
    write_json(out / ENVIRONMENT_FILE, surroundings)
    set_seed(recipe.seed)
    model, processor = build(recipe, study)
    model.to(device)  # type: ignore[arg-type]
    if recomputes(recipe, device):
        model.gradient_checkpointing_enable()
    places = Places(out, cubes, tokens)
    session = Session(
        recipe, study, places, model, processor, precision, trackers=trackers, progress=progress
    )
    session.run_stages()
    processor.save_pretrained(run.model)
    kept = json.loads((run.model / BEST_FILE).read_text(encoding="utf-8"))
    write_card(run.model, facts_of_training(recipe, study, surroundings, kept))
    write_json(out / DONE_FILE, {"version": __version__, "model": MODEL_FOLDER})
    return Run(out, run.model, MetricsFile(out / METRICS_FILE).read())
