"""A run's folder: what lies in it, whose it is, and the model that is kept."""

from __future__ import annotations

import json
import platform
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import peft
import torch
import transformers

from medblip import __version__
from medblip.errors import UsageError
from medblip.model import MedBlipForConditionalGeneration
from medblip.recipe import Recipe
from medblip.storage import write_json
from medblip.study.study import Study

RECIPE_FILE = "recipe.yaml"
ENVIRONMENT_FILE = "environment.json"
METRICS_FILE = "metrics.jsonl"
DONE_FILE = "done.json"
MODEL_FOLDER = "model"
BEST_FILE = "best.json"


@dataclass(frozen=True)
class Run:
    """A finished run: its folder, the checkpoint inside, and what it measured on the way."""

    folder: Path
    model: Path
    metrics: list[dict[str, Any]]


def claim(out: Path, recipe: Recipe, study: Study) -> None:
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


def save_model(model: MedBlipForConditionalGeneration, folder: Path, facts: dict[str, Any]) -> None:
    """Write a whole checkpoint folder beside, then swap it in; ``best.json`` comes last."""
    fresh = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    model.save_pretrained(fresh)
    write_json(fresh / BEST_FILE, facts)
    shutil.rmtree(folder, ignore_errors=True)
    fresh.rename(folder)


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
        loss: float = facts["validation_log_loss"]
        return loss
