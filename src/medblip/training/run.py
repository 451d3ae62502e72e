"""A training run: a folder that can be left at any instant and entered again."""

from __future__ import annotations

import json
import platform
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import peft
import torch
import transformers
from transformers import set_seed

from medblip import __version__
from medblip.errors import UsageError
from medblip.model import MedBlipForConditionalGeneration, MedBlipProcessor
from medblip.recipe import Recipe, StageSection
from medblip.storage import write_json
from medblip.study.soundness import require_sound
from medblip.study.study import Example, Study
from medblip.training.building import build
from medblip.training.card import write_card
from medblip.training.card_facts import facts_of_training
from medblip.training.data import Collator, StageDataset
from medblip.training.precision import pick_device, resolve_precision
from medblip.training.token_cache import LiveTokens, TokenCache
from medblip.training.trainer import (
    MetricsFile,
    Progress,
    Record,
    StageTrainer,
    newest_complete,
    stage_arguments,
)
from medblip.training.validation import Validation

RECIPE_FILE = "recipe.yaml"
ENVIRONMENT_FILE = "environment.json"
METRICS_FILE = "metrics.jsonl"
DONE_FILE = "done.json"
MODEL_FOLDER = "model"
BEST_FILE = "best.json"
STAGES = {"align": "Aligning image and text", "tune": "Tuning the answers"}


@dataclass(frozen=True)
class Run:
    """A finished run: its folder, the checkpoint inside, and what it measured on the way."""

    folder: Path
    model: Path
    metrics: list[dict[str, Any]]


def train(
    recipe: Recipe,
    study: Study,
    out: Path,
    *,
    cubes: Path,
    tokens: Path,
    accept_audit: Sequence[str] = (),
    progress: bool = True,
) -> Run:
    """Train ``recipe`` on ``study`` into the run folder ``out``, going on where it stopped.

    Args:
        cubes: the volume cache's folder.
        tokens: where token caches live.
        accept_audit: codes of audit errors to train in spite of.

    Returns:
        The finished run; at once where ``out`` holds it already.

    Raises:
        UsageError: ``out`` holds a run of another recipe or study.
        InputError: the audit of the study has an error, such as one scan on both sides.
        TrainingDivergedError: the loss stopped being a number.
    """
    require_sound(study, accept_audit)
    study = study.dropping_label_defining_fields(recipe.record.drop_label_defining_fields)
    out.mkdir(parents=True, exist_ok=True)
    _claim(out, recipe, study)
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
    if recipe.model.gradient_checkpointing:
        model.gradient_checkpointing_enable()
    cache = LiveTokens(model, cubes, precision)
    if not recipe.model.train_patch_embedding:
        # Cached tokens are valid only while what made them stays as it is.
        model.patch_embedding.requires_grad_(False)
        cache = TokenCache(model, cubes, tokens, precision)
    session = _Session(recipe, study, out, model, processor, cache)
    if isinstance(cache, TokenCache):
        both = [e.cube for s in ("train", "validation") for e in session.examples(s)]
        cache.fill(both, progress=progress)
    for number, name in enumerate(STAGES):
        session.run_stage(name, number)
    processor.save_pretrained(run.model)
    kept = json.loads((run.model / BEST_FILE).read_text(encoding="utf-8"))
    write_card(run.model, facts_of_training(recipe, study, surroundings, kept))
    write_json(out / DONE_FILE, {"version": __version__, "model": MODEL_FOLDER})
    return Run(out, run.model, MetricsFile(out / METRICS_FILE).read())


def _claim(out: Path, recipe: Recipe, study: Study) -> None:
    """Refuse to go on with a run of something else."""
    file = out / RECIPE_FILE
    if file.exists() and file.read_text(encoding="utf-8") != recipe.to_yaml():
        raise UsageError(
            str(file),
            "this run folder was started with another recipe",
            "choose another --out, or delete this folder",
            code="other-recipe",
        )
    splits = study.splits
    wanted = {"seed": splits.seed, "train": len(splits.subjects["train"])}
    claimed = out / "study.json"
    if claimed.exists() and json.loads(claimed.read_text(encoding="utf-8")) != wanted:
        raise UsageError(
            str(claimed),
            "this run folder was started on another study or split",
            "choose another --out, or delete this folder",
            code="other-study",
        )
    recipe.write(file)
    write_json(claimed, wanted)


def environment(device: torch.device, precision: str) -> dict[str, Any]:
    """Versions and machine, as far as results depend on them; no host or user name."""
    return {
        "medblip": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "peft": peft.__version__,
        "device": device.type,
        "precision": precision,
        "threads": torch.get_num_threads(),
        "machine": platform.machine(),
    }


class _Session:
    """One process's work on a run: the model as it goes through the stages."""

    def __init__(
        self,
        recipe: Recipe,
        study: Study,
        out: Path,
        model: MedBlipForConditionalGeneration,
        processor: MedBlipProcessor,
        cache: LiveTokens,
    ) -> None:
        self.recipe = recipe
        self.study = study
        self.out = out
        self.model = model
        self.processor = processor
        self.cache = cache
        self.rows = MetricsFile(out / METRICS_FILE)

    def examples(self, split: Any) -> list[Example]:
        sessions = self.recipe.sessions if split == "train" else "first"
        return self.study.examples(split, sessions)

    def run_stage(self, name: str, number: int) -> None:
        stage: StageSection = getattr(self.recipe, name).resolved(len(self.examples("train")))
        last = number == len(STAGES) - 1
        folder = self.out / name
        final = self.out / MODEL_FOLDER if last else folder / "final"
        if (final / BEST_FILE).exists() and (folder / "finished").exists():
            self.model.load_learned(final)
            return
        self.model.config.loss_weights = {
            "itc_record": stage.itc_record,
            "itc_answer": stage.itc_answer,
            "language": stage.language,
        }
        if stage.steps:
            self._fit(name, stage, number, folder, final if last else None)
        if not (last and (final / BEST_FILE).exists()):
            self.save(final, {"stage": name, "step": stage.steps})
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "finished").touch()

    def _fit(
        self, name: str, stage: StageSection, number: int, folder: Path, best: Path | None
    ) -> None:
        prompts = self.processor.prompts
        form = self.recipe.record.form
        seed = self.recipe.seed * len(STAGES) + number
        dataset = StageDataset(self.examples("train"), form, self.cache, prompts, stage, seed)
        held_out = self.examples("validation")
        validation = (
            Validation(held_out, form, self.cache, prompts, stage.language > 0)
            if held_out
            else None
        )
        keep = None if best is None else self._keeper(name, best)
        record = Record(name, stage, self.rows, validation, keep)
        trainer = StageTrainer(
            model=self.model,
            args=stage_arguments(
                folder, stage, seed, self.cache.precision, self.model.query_tokens.device
            ),
            train_dataset=dataset,
            data_collator=Collator(
                self.processor.tokenizer.pad_token_id, self.model.config.is_encoder_decoder
            ),
            stage=stage,
            callbacks=[record],
        )
        trainer.remove_callback(transformers.ProgressCallback)
        trainer.remove_callback(transformers.PrinterCallback)
        trainer.add_callback(Progress(STAGES[name]))
        checkpoint = newest_complete(folder)
        step = int(checkpoint.name.split("-")[1]) if checkpoint else 0
        self.rows.rewind(name, step)
        _drop_incomplete(folder)
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)

    def _keeper(self, name: str, folder: Path) -> Any:
        """A function that keeps the model with the lowest validation log loss so far."""

        def keep(step: int, measured: dict[str, float]) -> None:
            before = _best(folder, step)
            if before is None or measured["validation_log_loss"] < before:
                self.save(folder, {"stage": name, "step": step, **measured})

        return keep

    def save(self, folder: Path, facts: dict[str, Any]) -> None:
        """Write a whole checkpoint folder beside, then swap it in; ``best.json`` comes last."""
        fresh = folder.with_name(f".{folder.name}.new")
        shutil.rmtree(fresh, ignore_errors=True)
        self.model.save_pretrained(fresh)
        write_json(fresh / BEST_FILE, facts)
        shutil.rmtree(folder, ignore_errors=True)
        fresh.rename(folder)


def _best(folder: Path, step: int) -> float | None:
    """Validation log loss of the kept model, unless a killed run kept it later than ``step``."""
    file = folder / BEST_FILE
    if not file.exists():
        return None
    facts = json.loads(file.read_text(encoding="utf-8"))
    if facts["step"] >= step:
        return None
    loss: float = facts["validation_log_loss"]
    return loss


def _drop_incomplete(folder: Path) -> None:
    complete = newest_complete(folder)
    for path in folder.glob("checkpoint-*"):
        if complete is None or int(path.name.split("-")[1]) > int(complete.name.split("-")[1]):
            shutil.rmtree(path)
