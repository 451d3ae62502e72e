"""A study of a few invented subjects, and the recipe values that make every trial tiny."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from medblip.study.study import STUDY_FILE
from study.study_maker import make_sessions, write_study
from training.tiny_run import SIZE, say_size, write_cubes


def make_study(root: Path) -> Path:
    """Below ``root``, with a cohort that is only tested on and cubes of noise."""
    sessions = pd.concat([make_sessions(30), make_sessions(6, "SIM-Z", seed=1)], ignore_index=True)
    folder = write_study(root / "study", sessions, zero_shot=["SIM-Z"])
    say_size(folder / STUDY_FILE)
    write_cubes(root / "cubes", sessions)
    return folder


def tiny_values(world: Path) -> list[str]:
    """Overrides over the embedded recipe."""
    qformer = {
        "num_query_tokens": 2,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 32,
    }
    return [
        "precision=float32",
        f"model.vision={world / 'vision'}",
        "model.vision_architecture=null",
        f"model.language={world / 'language'}",
        "model.language_architecture=null",
        f"model.volume_size={SIZE}",
        "model.volume_patch_size=16",
        *(f"model.qformer.{name}={value}" for name, value in qformer.items()),
        *("align.steps=2", "align.batch_size=3", "align.evaluate_every=2"),
        *("tune.steps=2", "tune.batch_size=3", "tune.evaluate_every=2", "tune.save_every=1"),
    ]
