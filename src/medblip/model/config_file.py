"""A ``config.json`` of one kind of transformers model, or an error."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TypeVar

from huggingface_hub.errors import StrictDataclassError
from transformers import PreTrainedConfig

from medblip.errors import InputError

Config = TypeVar("Config", bound=PreTrainedConfig)


def read_config(path: Path, config_class: type[Config], fix: str) -> Config:
    """The configuration in a folder or file; transformers would take any other with a warning.

    Raises:
        InputError: it is absent, cannot be read or is of another ``model_type``.
    """
    file = path / "config.json" if path.is_dir() else path
    try:
        kind = json.loads(file.read_text(encoding="utf-8")).get("model_type")
        if kind != config_class.model_type:
            raise ValueError(f"model_type is {kind!r}, expected {config_class.model_type!r}")
        config: Config = config_class.from_pretrained(file)
    except (OSError, ValueError, TypeError, AttributeError, StrictDataclassError) as error:
        raise InputError(
            f"{path.name}/{file.name}" if path.is_dir() else path.name,
            f"is not a configuration of {config_class.model_type} ({error})",
            fix,
            code="bad-config",
        ) from error
    return config
