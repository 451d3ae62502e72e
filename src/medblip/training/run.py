"""A training run: a folder that can be left at any instant and entered again."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm
from transformers import set_seed

from medblip import __version__
from medblip.model import MedBlipForConditionalGeneration, MedBlipProcessor
from medblip.model.cpu_linear import use_onednn
from medblip.recipe import Recipe, load_recipe
from medblip.storage import write_json
from medblip.study.soundness import require_sound
from medblip.study.study import Study
from medblip.training.agreement import by_first_process, process_count
from medblip.training.building import build
from medblip.training.card import write_card
from medblip.training.card_facts import facts_of_training
from medblip.training.claim import (
    RECIPE_FILE,
    changes_since,
    check_kinds,
    new_claim,
    note_changes,
    require_accepted,
    write_claim,
)
from medblip.training.disk import disk_errors_explained, require_writable
from medblip.training.division import divide
from medblip.training.entering import Start, alone
from medblip.training.interrupts import stop_if_asked, watching
from medblip.training.metrics_file import MetricsFile
from medblip.training.out_of_memory import loading
from medblip.training.precision import (
    Precision,
    pick_device,
    resolve_precision,
    set_matrix_precision,
)
from medblip.training.processes import in_turn, join
from medblip.training.recomputing import recompute
from medblip.training.run_folder import (
    BEST_FILE,
    DONE_FILE,
    ENVIRONMENT_FILE,
    METRICS_FILE,
    MODEL_FOLDER,
    Run,
    environment,
    reached,
    settle_models,
)
from medblip.training.session import Places, Session
from medblip.training.sharding import everywhere, shard_towers, sharding_is_wanted
from medblip.training.trackers import require_trackers


def train(
    recipe: Recipe,
    study: Study,
    out: Path,
    *,
    cubes: Path,
    tokens: Path,
    accept_audit: Sequence[str] = (),
    accept_changes: Sequence[str] = (),
    trackers: Sequence[str] = (),
    progress: bool = True,
) -> Run:
    """Train ``recipe`` on ``study`` into the run folder ``out``, going on where it stopped.

    Args:
        cubes: the volume cache's folder.
        tokens: where token caches live.
        accept_audit: codes of audit errors to train in spite of.
        accept_changes: what may differ from how the run in ``out`` was started: ``recipe``,
            ``data``, ``code``.
        trackers: experiment trackers to log to: ``tensorboard``, ``trackio``, ``mlflow``.
        progress: show bars.

    Returns:
        The finished run; at once where ``out`` holds it already.

    Raises:
        UsageError: ``out`` cannot be written to, is in use, or holds a run of another recipe,
            study or code that was not accepted.
        InputError: the audit of the study has an error, such as one scan on both sides.
        TrainingDivergedError: the loss or its gradient stopped being a number.
        OutOfMemoryError: a step does not fit.
        CannotSaveError: the disk is full or read-only; the last checkpoint stays.
        StoppedError: a signal came; the running step was finished and saved.
    """
    check_kinds(accept_changes)
    require_trackers(trackers)
    require_sound(study, accept_audit)
    finished = (out / DONE_FILE).exists()
    if not finished:
        require_writable(out)
    start = Start(
        study=study.folder,
        cubes=cubes,
        tokens=tokens,
        accept_audit=tuple(accept_audit),
        trackers=tuple(trackers),
    )
    study = study.dropping_label_defining_fields(recipe.record.drop_label_defining_fields)
    with nullcontext() if finished else alone(out), watching(out), disk_errors_explained(out):
        return _train(recipe, study, out, start, accept_changes, progress)


def resume(
    out: Path,
    *,
    overrides: Sequence[str] = (),
    study: Path | None = None,
    cubes: Path | None = None,
    accept_audit: Sequence[str] = (),
    accept_changes: Sequence[str] = (),
    trackers: Sequence[str] = (),
    progress: bool = True,
) -> Run:
    """Go on with the run in ``out``, which remembers how it was started.

    Args:
        overrides: recipe values to change, with ``recipe`` in ``accept_changes``.
        study, cubes: where these folders are now, if they were moved.
        accept_audit, trackers: more of them.

    Raises:
        UsageError: ``out`` holds no run; else as `train`.
    """
    start = Start.read(out)
    return train(
        load_recipe(out / RECIPE_FILE, overrides),
        Study.load(study or start.study),
        out,
        cubes=cubes or start.cubes,
        tokens=start.tokens,
        accept_audit=[*dict.fromkeys((*start.accept_audit, *accept_audit))],
        accept_changes=accept_changes,
        trackers=[*dict.fromkeys((*start.trackers, *trackers))],
        progress=progress,
    )


def _train(
    recipe: Recipe,
    study: Study,
    out: Path,
    start: Start,
    accept_changes: Sequence[str],
    progress: bool,
) -> Run:
    device = pick_device()
    precision = resolve_precision(recipe.precision, device)
    set_matrix_precision(precision)
    surroundings = environment(device, precision)
    for stage in recipe.stages().values():
        divide(stage, process_count())
    join(device)
    by_first_process(lambda: _claim(recipe, study, out, surroundings, accept_changes))
    run = Run(out, out / MODEL_FOLDER, MetricsFile(out / METRICS_FILE).read())
    if (out / DONE_FILE).exists():
        return run
    by_first_process(lambda: _begin(out, start, surroundings))
    with loading(str(out)):
        model, processor = _model(recipe, study, device, precision)
    stop_if_asked()
    session = Session(
        recipe,
        study,
        Places(out, start.cubes, start.tokens),
        model,
        processor,
        precision,
        trackers=start.trackers,
        progress=progress,
    )
    session.run_stages()
    by_first_process(lambda: _finish(run, recipe, study, surroundings, processor))
    return Run(out, run.model, MetricsFile(out / METRICS_FILE).read())


def _begin(out: Path, start: Start, surroundings: dict[str, Any]) -> None:
    start.write(out)
    write_json(out / ENVIRONMENT_FILE, surroundings)
    settle_models(out)


def _finish(
    run: Run,
    recipe: Recipe,
    study: Study,
    surroundings: dict[str, Any],
    processor: MedBlipProcessor,
) -> None:
    processor.save_pretrained(run.model)
    kept = json.loads((run.model / BEST_FILE).read_text(encoding="utf-8"))
    write_card(run.model, facts_of_training(recipe, study, surroundings, kept))
    write_json(run.folder / DONE_FILE, {"version": __version__, "model": MODEL_FOLDER})


def _claim(
    recipe: Recipe, study: Study, out: Path, surroundings: dict[str, Any], accepted: Sequence[str]
) -> None:
    """Make the run folder this run's, or refuse; write down and tell what has changed."""
    claim = new_claim(study, surroundings, questions=recipe.asks_questions)
    changes = changes_since(out, recipe, claim)
    finished = (out / DONE_FILE).exists()
    if place := reached(out, recipe.stages()):  # else there is nothing yet that could be spoilt
        require_accepted(out, changes, accepted, finished=finished)
        if changes and not finished:
            note_changes(out, changes, *place)
        if told := changes.get("surroundings"):
            message = f"{out}: {', '.join(told)}; results may differ in their last bits"
            tqdm.write(message, file=sys.stderr)
    if not finished:
        write_claim(out, recipe, claim)


def _model(
    recipe: Recipe, study: Study, device: torch.device, precision: Precision
) -> tuple[MedBlipForConditionalGeneration, MedBlipProcessor]:
    set_seed(recipe.seed)
    live = all(recipe.learns_entry(name) for name, s in recipe.stages().items() if s.runs)
    mesh = everywhere(device) if sharding_is_wanted() else None
    with nullcontext() if mesh is None else in_turn():
        model, processor = build(recipe, study)
        if mesh is not None:
            shard_towers(model, mesh, vision=live)
        model.to(device)  # type: ignore[arg-type]
    if device.type == "cpu" and precision == "float32":
        use_onednn(model)
    recompute(model, recipe, study, device)
    return model, processor
