"""Frozen bases: where they come from, and proof that they are the ones trained with."""

from __future__ import annotations

import hashlib
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
from medblip.model.pretrained import embedded_files
from medblip.model.vision import tower_of
from medblip.model.weight_files import load_whole, safetensors_files
from medblip.storage import sha256_of_file

EMBEDDED = {"embedded:vision": "vision", "embedded:language": "language"}
_FILES = ["*.json", "*.safetensors", "*.txt", "*.model", "*.jinja"]


def resolve_base(source: str, revision: str | None = None) -> Path:
    """The local folder of a base.

    Args:
        source: ``embedded:vision``, ``embedded:language``, a local folder, or a hub id.
        revision: commit or tag of a hub id.

    Raises:
        InputError: it is none of these, or cannot be fetched.
    """
    if source in EMBEDDED:
        folder: Path = getattr(embedded_files(), EMBEDDED[source])
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
        return Path(snapshot_download(source, revision=revision, allow_patterns=_FILES))
    except Exception as error:
        raise InputError(
            source,
            f"the base weights cannot be fetched from the model hub ({type(error).__name__})",
            "give a local folder, or run with the hub reachable",
            code="base-missing",
        ) from error


def weights_sha256(folder: Path) -> str:
    """One hash over all safetensors files of a folder, by name and content.

    Raises:
        InputError: there is none; weights in pickle are never read.
    """
    digest = hashlib.sha256()
    for file in safetensors_files(folder):
        digest.update(f"{file.name}:{sha256_of_file(file)}\n".encode())
    return digest.hexdigest()


def describe_base(source: str, revision: str | None = None) -> dict[str, Any]:
    """What the configuration keeps of a base: source, revision and hash of its weights."""
    folder = resolve_base(source, revision)
    return {"source": source, "revision": revision, "sha256": weights_sha256(folder)}


def verify_base(base: dict[str, Any], folder: Path, role: str) -> None:
    """Raise InputError if the weights in ``folder`` are not those ``base`` names."""
    found = weights_sha256(folder)
    if found != base["sha256"]:
        raise InputError(
            f"{role} base {base['source']}",
            f"its weights have the hash {found[:12]}, the checkpoint was trained on "
            f"{base['sha256'][:12]}",
            "load it on the base it was trained on",
            code="other-base",
        )


def load_vision(folder: Path, dtype: torch.dtype | None = None, **kwargs: Any) -> PreTrainedModel:
    """A vision tower from a folder, whole or not at all."""
    model_class = tower_of(_read_config(folder)).model_class
    return load_whole(model_class.from_pretrained, folder, dtype=dtype or torch.float32, **kwargs)


def load_language(folder: Path, dtype: torch.dtype | None = None, **kwargs: Any) -> PreTrainedModel:
    """A language model from a folder, whole or not at all."""
    auto = _language_class(_read_config(folder))
    return load_whole(auto.from_pretrained, folder, dtype=dtype or torch.float32, **kwargs)


def new_vision(config: PreTrainedConfig) -> PreTrainedModel:
    """A vision tower with random weights."""
    return tower_of(config).model_class._from_config(config)


def new_language(config: PreTrainedConfig) -> PreTrainedModel:
    """A language model with random weights."""
    model: PreTrainedModel = _language_class(config).from_config(config)
    return model


def _language_class(config: PreTrainedConfig) -> Any:
    return AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM


def _read_config(folder: Path) -> PreTrainedConfig:
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
