"""The tables at tiny size: all three kinds of language model with random weights, to run the code.

No package index serves a small pretrained T5 or GPT-2 type model under a permissive licence, so
these rows cannot be run with real weights beside SmolLM2. Here they run with weights made on the
spot, in the format of real checkpoints: what breaks in one kind is seen in minutes, and no number
means anything.
"""

from __future__ import annotations

from pathlib import Path

import yaml

from medblip.experiments.matrix import EMBEDDED, SIZES, RecipeSize, Size, row_titles
from medblip.experiments.paper_tables import CONDITIONS, FULL, PAPER_TABLES
from medblip.experiments.simple_controls import MODEL_CONTROLS
from medblip.experiments.tiny_towers import TOWERS, VISION, write_tower
from medblip.storage import cache_folder, write_text

NUMBERS_MEAN_NOTHING = "random weights, tiny: a check that the code runs, the numbers mean nothing"
MARK = "random weights, tiny"
VERSION = "1"  # of what is written: another one is written beside it
FAMILIES = {
    "tiny-t5": "T5 type (encoder-decoder)",
    "tiny-gpt2": "GPT-2 type (decoder-only)",
    "tiny-llama": "Llama type (decoder-only)",
}
MAIN = "tiny-gpt2"
# Our family -> the paper's language model of that kind.
PAPER_MODELS = {"tiny-t5": "flan-t5", "tiny-gpt2": "biomedlm"}


def size_named(name: RecipeSize) -> Size:
    """A size of the tables, by its name."""
    return tiny_size() if name == "tiny" else SIZES[name]


def tiny_size(folder: Path | None = None) -> Size:
    """The tiny size; its weights and recipes are written where they are not there yet.

    Args:
        folder: that they lie in; the user's cache by default.

    Raises:
        OSError: the folder cannot be written.
    """
    root = (folder or cache_folder() / "tiny") / VERSION
    towers = {name: write_tower(root / name, name) for name in TOWERS}
    return Size(
        name="tiny",
        models={model: str(_recipe(root, model, towers)) for model in FAMILIES},
        main=MAIN,
        titles=_titles(),
        contrast_only=EMBEDDED.contrast_only,
        entry=EMBEDDED.entry,
        stand_ins={
            f"{model}.{how}": f"{paper}.{how}"
            for model, paper in PAPER_MODELS.items()
            for how in CONDITIONS
        },
        means_nothing=NUMBERS_MEAN_NOTHING,
    )


def _titles() -> dict[str, str]:
    """Every row that a language model or an encoder answers says what it is made of."""
    published = {row.key: row.title for n in (4, 5, 6) for row in PAPER_TABLES[n].rows}
    ours = {**published, FULL: "Full model", **row_titles(FAMILIES), **MODEL_CONTROLS}
    return {key: f"{title} ({MARK})" for key, title in ours.items()}


def _recipe(root: Path, model: str, towers: dict[str, Path]) -> Path:
    path = root / f"{model}.yaml"
    values = {"extends": "embedded", "name": model, **_values(model, towers)}
    write_text(path, f"# {NUMBERS_MEAN_NOTHING}\n{yaml.safe_dump(values, sort_keys=False)}")
    return path


def _values(model: str, towers: dict[str, Path]) -> dict[str, object]:
    stage = {"steps": 2, "batch_size": 4, "evaluate_every": 2, "evaluate_sessions": 12}
    return {
        "precision": "float32",
        "model": {
            "vision": str(towers[VISION]),
            "vision_architecture": None,
            "language": str(towers[model]),
            "language_architecture": None,
            "qformer": {
                "num_query_tokens": 2,
                "hidden_size": 32,
                "num_hidden_layers": 2,
                "num_attention_heads": 2,
                "intermediate_size": 32,
            },
            "lora": {"r": 2, "lora_alpha": 4},
        },
        "align": stage,
        "tune": {**stage, "save_every": 2},
    }


__all__ = ["FAMILIES", "MARK", "NUMBERS_MEAN_NOTHING", "size_named", "tiny_size"]
