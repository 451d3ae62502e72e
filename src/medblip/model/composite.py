"""One tower out of a checkpoint of several: the vision model of BLIP-2, MedGemma's text model."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from transformers import PreTrainedConfig

from medblip.errors import InputError
from medblip.model.vision import TOWERS
from medblip.model.weight_files import opened, safetensors_files

Role = Literal["vision", "language"]

# Names of a tower's weights in a whole checkpoint -> in the tower's own model (regular expressions,
# as `from_pretrained(key_mapping=...)` takes them).
RENAMED: Mapping[Role, dict[str, str]] = {
    "vision": {r"^(?:model\.)?(?:vision_tower\.|vision_model\.)+": ""},
    "language": {
        r"^model\.language_model\.": "model.",
        r"^language_model\.": "",
        r"^lm_head\.": "lm_head.",
    },
}


def vision_part(config: PreTrainedConfig) -> PreTrainedConfig:
    """The vision tower's configuration: ``config`` itself, or the one inside it.

    Raises:
        InputError: neither is a vision tower that is known.
    """
    inner = getattr(config, "vision_config", None)
    for candidate in (config, inner):
        if candidate is not None and candidate.model_type in TOWERS:
            return candidate
    raise InputError(
        "config.json",
        f"model_type {config.model_type!r} holds no vision tower that is known",
        f"use a model of one of these types, or one that holds one: {sorted(TOWERS)}",
        code="bad-config",
    )


def language_part(config: PreTrainedConfig) -> PreTrainedConfig:
    """The language model's configuration: ``config`` itself, or the one inside it."""
    inner: PreTrainedConfig | None = getattr(config, "text_config", None)
    return config if inner is None else inner


def loading_of_part(folder: Path, role: Role) -> dict[str, Any]:
    """Arguments of ``load_whole`` that take one tower out of a whole model's folder."""
    own = re.compile("|".join(RENAMED[role]))
    others = []
    for file in safetensors_files(folder):
        with opened(file) as weights:
            others += [name for name in weights.keys() if not own.match(name)]  # noqa: SIM118
    return {"key_mapping": dict(RENAMED[role]), "ignored": others}


__all__ = ["RENAMED", "Role", "language_part", "loading_of_part", "vision_part"]
