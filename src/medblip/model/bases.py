"""Frozen bases: where they come from, and towers with or without their weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    PreTrainedConfig,
    PreTrainedModel,
)

from medblip.errors import InputError
from medblip.model.composite import language_part, loading_of_part, vision_part
from medblip.model.pretrained import embedded_files
from medblip.model.vision import tower_of
from medblip.model.weight_files import load_whole

EMBEDDED = {"embedded:vision": "vision", "embedded:language": "language"}
_FILES = ["*.json", "*.safetensors", "*.txt", "*.model", "*.jinja"]


def resolve_base(
    source: str, revision: str | None = None, *, verify: bool = True, **hub: Any
) -> Path:
    """The local folder of a base.

    Args:
        source: ``embedded:vision``, ``embedded:language``, a local folder, or a hub id.
        revision: commit or tag of a hub id.
        verify: hash the files of an embedded base; needless where its weights are hashed next.
        hub: for ``huggingface_hub.snapshot_download``: ``cache_dir``, ``token`` ...

    Raises:
        InputError: it is none of these, or cannot be fetched.
    """
    if source in EMBEDDED:
        folder: Path = getattr(embedded_files(verify=verify), EMBEDDED[source])
        return folder
    if Path(source).is_dir():
        return Path(source)
    if source.count("/") > 1 or source.startswith((".", "~", "embedded:")):
        raise InputError(
            source,
            "this base is not a folder here",
            f"use a folder, a hub id such as google/flan-t5-xl, or one of {sorted(EMBEDDED)}",
            code="base-missing",
        )
    try:
        return Path(snapshot_download(source, revision=revision, allow_patterns=_FILES, **hub))
    except Exception as error:
        raise InputError(
            source,
            f"the base weights cannot be fetched from the model hub ({type(error).__name__})",
            "give a local folder, or run with the hub reachable",
            code="base-missing",
        ) from error


def load_vision(folder: Path, dtype: torch.dtype | None = None, **kwargs: Any) -> PreTrainedModel:
    """A vision tower from its own folder or from a whole model's, whole or not at all."""
    config = read_config(folder)
    part = vision_part(config)
    if part is not config:
        kwargs |= {"config": part, **loading_of_part(folder, "vision")}
    load = tower_of(part).model_class.from_pretrained
    return load_whole(load, folder, dtype=dtype or torch.float32, **kwargs)


def load_language(folder: Path, dtype: torch.dtype | None = None, **kwargs: Any) -> PreTrainedModel:
    """A language model from its own folder or from a whole model's, whole or not at all."""
    config = read_config(folder)
    part = language_part(config)
    if part is not config:
        kwargs |= {"config": part, **loading_of_part(folder, "language")}
    load = _language_class(part).from_pretrained
    return load_whole(load, folder, dtype=dtype or torch.float32, **kwargs)


def new_vision(config: PreTrainedConfig, dtype: torch.dtype | None = None) -> PreTrainedModel:
    """A vision tower with random weights."""
    return tower_of(config).model_class._from_config(config, dtype=dtype)


def new_language(config: PreTrainedConfig, dtype: torch.dtype | None = None) -> PreTrainedModel:
    """A language model with random weights."""
    model: PreTrainedModel = _language_class(config).from_config(config, dtype=dtype)
    return model


def _language_class(config: PreTrainedConfig) -> Any:
    return AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM


def read_config(folder: Path) -> PreTrainedConfig:
    """A folder's ``config.json``; raise InputError if transformers cannot use it."""
    try:
        config: PreTrainedConfig = AutoConfig.from_pretrained(folder)
    except (OSError, ValueError) as error:
        raise InputError(
            folder.name,
            f"its config.json cannot be used ({error})",
            "name a folder that `save_pretrained` wrote",
            code="bad-config",
        ) from error
    return config
