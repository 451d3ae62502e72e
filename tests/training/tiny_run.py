"""A whole small training on disk in a second: towers, study, cubes and a recipe."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from safetensors.numpy import save_file

import tiny_world
from medblip.recipe import Recipe
from medblip.study.info import PreprocessingInfo, StudyInfo
from medblip.study.study import STUDY_FILE, Study
from medblip.volumes import Preprocessing
from study.study_maker import make_images, make_sessions, write_study

SIZE = 32
COMMAND = "import sys; from medblip.cli import main; sys.argv[0] = 'medblip'; main()"


@dataclass(frozen=True)
class TinyRun:
    """Folders and recipe of a training that takes seconds."""

    root: Path
    recipe: Recipe

    @property
    def study(self) -> Study:
        return Study.load(self.root / "study")

    @property
    def places(self) -> dict[str, Path]:
        return {"cubes": self.root / "cubes", "tokens": self.root / "cache" / "tokens"}

    def command(self, out: Path, *more: str) -> list[str]:
        """Arguments of a fresh process that trains into ``out``."""
        recipe = self.root / "recipe.yaml"
        self.recipe.write(recipe)
        folders = ["--study", str(self.root / "study"), "--cache", str(self.places["cubes"])]
        return medblip("train", str(recipe), *folders, "--out", str(out), *more)

    def start(self, command: list[str], **options: object) -> subprocess.Popen[str]:
        """Run a command of `command` or `medblip` with this run's caches."""
        own = {"MEDBLIP_CACHE": str(self.root / "cache"), "OMP_NUM_THREADS": "1"}
        environment = {**os.environ, **own}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen(command, env=environment, **(pipes | options))  # type: ignore[call-overload, no-any-return]


def medblip(*arguments: str) -> list[str]:
    """A command line in this Python."""
    return [sys.executable, "-c", COMMAND, *arguments]


def make_run(root: Path, **tune: object) -> TinyRun:
    """Write all that a training reads into ``root``."""
    tiny_world.write_vision(root / "vision")
    tiny_world.write_language(root / "language")
    sessions = make_sessions(24)
    write_study(root / "study", sessions)
    say_size(root / "study" / STUDY_FILE)
    write_cubes(root / "cubes", sessions)
    return TinyRun(root, make_recipe(root, **tune))


def write_cubes(folder: Path, sessions: pd.DataFrame) -> None:
    """A cube of noise for each session's image."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name in make_images(sessions)["cube"]:
        cube = rng.integers(1, 256, (SIZE,) * 3).astype(np.uint8)
        save_file({"array": cube}, folder / name)


def say_size(file: Path) -> None:
    """Say in ``study.json`` that its cubes have the size of `write_cubes`."""
    info = StudyInfo.read(file)
    parameters = asdict(Preprocessing(size=SIZE))
    made = PreprocessingInfo(fingerprint="1", parameters=parameters)
    info.model_copy(update={"preprocessing": made}).write(file)


def make_recipe(root: Path, **tune: object) -> Recipe:
    """Dropout, a moving average, patience and micro-batches; saves every other step."""
    stage = {
        "batch_size": 4,
        "micro_batch_size": 2,
        "ema_decay": 0.9,
        "evaluate_every": 3,
        "save_every": 2,
    }
    queries = {"num_query_tokens": 4, "hidden_size": 32, "num_hidden_layers": 2}
    queries |= {"num_attention_heads": 2, "intermediate_size": 64}
    return Recipe.model_validate(
        {
            "name": "tiny",
            "precision": "float32",
            "model": {
                "vision": str(root / "vision"),
                "language": str(root / "language"),
                "volume_size": SIZE,
                "volume_patch_size": 8,
                "qformer": queries,
                "lora": {"r": 2, "lora_alpha": 4, "lora_dropout": 0.1},
            },
            "align": {**stage, "steps": 4, "language": 0.0},
            "tune": {**stage, "steps": 9, "patience": 2, "without_image": 0.2, **tune},
        }
    )


def kept_step(run: Path) -> int:
    """The step of the model that a finished run kept."""
    step: int = json.loads((run / "model" / "best.json").read_text())["step"]
    return step
