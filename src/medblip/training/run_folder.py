"""A run's folder: what lies in it, and the model that is kept."""

from __future__ import annotations

import json
import platform
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import accelerate
import peft
import torch
import transformers

from medblip import __version__
from medblip.model import MedBlipForConditionalGeneration
from medblip.storage import remove_leftovers, write_json
from medblip.training.agreement import process_count
from medblip.training.checkpoints import newest_complete, step_of
from medblip.training.claim import RECIPE_FILE as RECIPE_FILE
from medblip.training.disk import require_space, saving
from medblip.training.folders import beside, replace_folder, settle

ENVIRONMENT_FILE = "environment.json"
METRICS_FILE = "metrics.jsonl"
DONE_FILE = "done.json"
MODEL_FOLDER = "model"
FINAL_FOLDER = "final"  # the model at the end of a stage, below the stage's folder
BEST_FILE = "best.json"
FINISHED = "finished"  # marks a stage's folder


@dataclass(frozen=True)
class Run:
    """A finished run: its folder, the checkpoint inside, and what it measured on the way."""

    folder: Path
    model: Path
    metrics: list[dict[str, Any]]


def environment(device: torch.device, precision: str) -> dict[str, Any]:
    """Versions and machine, as far as results depend on them; no host or user name."""
    return {
        "medblip": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "peft": peft.__version__,
        "accelerate": accelerate.__version__,
        "device": device.type,
        "precision": precision,
        "processes": process_count(),
        "threads": torch.get_num_threads(),
        "machine": platform.machine(),
    }


def reached(out: Path, stages: Iterable[str]) -> tuple[str, int] | None:
    """The stage and step that a run would go on from; None where nothing is kept yet."""
    last: tuple[str, int] | None = None
    for stage in stages:
        checkpoint = newest_complete(out / stage)
        if checkpoint or (out / stage / FINISHED).exists():
            last = stage, step_of(checkpoint) if checkpoint else 0
    return last


def settle_models(out: Path) -> None:
    """Put right what a run that was killed while it replaced a kept model has left."""
    for stage in (path for path in out.iterdir() if path.is_dir()):
        settle(stage / FINAL_FOLDER)
    settle(out / MODEL_FOLDER)
    remove_leftovers(out)


def save_model(model: MedBlipForConditionalGeneration, folder: Path, facts: dict[str, Any]) -> None:
    """Write a whole checkpoint folder beside, then swap it in.

    Raises:
        CannotSaveError: it does not fit or could not be written; the one that was there stays.
    """
    fresh = beside(folder)
    expected = sum(tensor.nbytes for tensor in model.learned_state().values())
    folder.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(fresh, ignore_errors=True)
    try:
        with saving(folder.parent, expected):
            require_space(folder.parent, expected)
            model.save_pretrained(fresh)
            write_json(fresh / BEST_FILE, facts)
            replace_folder(fresh, folder)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


class Keeper:
    """Keeps the model with the lowest validation log loss so far in ``folder``."""

    def __init__(self, model: MedBlipForConditionalGeneration, stage: str, folder: Path) -> None:
        self.model = model
        self.stage = stage
        self.folder = folder

    def keep(self, step: int, measured: dict[str, float]) -> None:
        """Keep the model of ``step`` if it is the best."""
        before = self._best(step)
        if before is None or measured["validation_log_loss"] < before:
            save_model(self.model, self.folder, {"stage": self.stage, "step": step, **measured})

    def _best(self, step: int) -> float | None:
        """Log loss of the kept model, unless a killed run kept it at ``step`` or later."""
        file = self.folder / BEST_FILE
        if not file.exists():
            return None
        facts = json.loads(file.read_text(encoding="utf-8"))
        if facts["step"] >= step:
            return None
        loss: float | None = facts.get("validation_log_loss")
        return loss
