"""A few examples with their cubes on disk, and a tiny model's token cache over them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file
from tiny import SIZE, build, tokenizer

from medblip.model.prompt import PromptBuilder
from medblip.recipe import StageSection
from medblip.study.labels import LABELS
from medblip.study.record import RecordForm
from medblip.study.study import Example
from medblip.training.data import StageDataset
from medblip.training.token_cache import LiveTokens, TokenCache


def stage(**values: object) -> StageSection:
    return StageSection.model_validate({"steps": 50, "batch_size": 8, **values})


def example(index: int, **changed: Any) -> Example:
    """Ages differ; every second one lacks the MMSE."""
    fields = {"age": str(60 + index), "sex": "F"} | ({"mmse": "27"} if index % 2 else {})
    known = {
        "participant_id": f"sub-{index}",
        "session_id": "ses-1",
        "cohort": "a",
        "site": "",
        "fields": fields,
        "label": LABELS[index % len(LABELS)],
        "cube": f"{index}.safetensors",
        "image": "",
    }
    return Example(**(known | changed))


def write_cubes(folder: Path, count: int) -> list[Example]:
    """``count`` examples; cube ``i`` has background in its first ``i`` planes."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for index in range(count):
        cube = rng.integers(1, 256, (SIZE,) * 3).astype(np.uint8)
        cube[:index] = 0
        save_file({"array": cube}, folder / f"{index}.safetensors")
    return [example(index) for index in range(count)]


def token_cache(root: Path) -> TokenCache:
    return TokenCache(build(), root / "cubes", root / "tokens")


def dataset(examples: list[Example], cache: LiveTokens, **values: object) -> StageDataset:
    """With the shortest prompts that a byte-level tokenizer allows."""
    prompts = PromptBuilder(tokenizer(), image_token_id=300, num_query_tokens=3)
    return StageDataset(examples, RecordForm(), cache, prompts, stage(**values), seed=1)
