"""A tower's configuration: as a recipe states it, or as its weights say."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

from huggingface_hub.errors import StrictDataclassError
from transformers import AutoConfig, PreTrainedConfig

from medblip.errors import InputError
from medblip.model.bases import read_config, resolve_base
from medblip.model.composite import language_part, vision_part
from medblip.model.configuration_medblip import MedBlipConfig
from medblip.recipe import ModelSection, Recipe

# Of a model without weights; those that come with weights go by the weights' own.
TOKEN_IDS = ("bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id")


def config_of(recipe: Recipe) -> MedBlipConfig:
    """The model a recipe describes, without any weights where it states both architectures.

    Raises:
        InputError: an architecture is not stated and its base cannot be found, or a stated one is
            not one that transformers knows.
    """
    section = recipe.model
    vision = section.vision_architecture
    language = section.language_architecture
    return combine(
        section,
        stated(vision, "model.vision_architecture")
        if vision
        else vision_part(read_config(resolve_base(section.vision, section.vision_revision))),
        stated(language, "model.language_architecture")
        if language
        else language_part(read_config(resolve_base(section.language, section.language_revision))),
    )


def combine(
    section: ModelSection, vision: PreTrainedConfig, language: PreTrainedConfig, **bases: Any
) -> MedBlipConfig:
    """The recipe's settings round two tower configurations."""
    names = (
        "volume_size",
        "volume_patch_size",
        "patch_init",
        "skip_background",
        "itc_hidden_size",
        "itc_temperature",
        "itc_label_smoothing",
        "itc_targets",
        "prompt_order",
        "base_dtype",
    )
    lora = section.lora
    return MedBlipConfig(
        vision_config=vision,
        text_config=language,
        qformer_config=section.qformer.model_dump(),
        lora=None if lora is None else lora.model_dump(mode="json", exclude_none=True),
        **{name: getattr(section, name) for name in names},
        **bases,
    )


def stated(architecture: dict[str, Any], key: str) -> PreTrainedConfig:
    """A configuration from ``model_type`` and the values a recipe gives.

    Raises:
        InputError: transformers knows no such type, or refuses a value.
    """
    values = dict(architecture)
    kind = values.pop("model_type", None)
    try:
        known = {*AutoConfig.for_model(str(kind)).to_dict(), *TOKEN_IDS}
        config: PreTrainedConfig = AutoConfig.for_model(str(kind), **values)
    except (ValueError, TypeError, KeyError, StrictDataclassError) as error:
        raise InputError(key, f"is no architecture ({error})", code="bad-recipe") from error
    for name in sorted(values.keys() - known):  # transformers would keep it and not use it
        nearest = difflib.get_close_matches(name, known, n=1)
        hint = f"; did you mean `{nearest[0]}`?" if nearest else ""
        raise InputError(key, f"{kind} has no `{name}`{hint}", code="bad-recipe")
    return config


def check_architecture(
    found: PreTrainedConfig, architecture: dict[str, Any] | None, key: str, source: str | Path
) -> None:
    """Raise InputError if the weights' configuration is not what the recipe relies on."""
    if architecture is None:
        return
    actual = found.to_dict()
    differing = [
        f"{name} is {actual.get(name)!r}, the recipe says {value!r}"
        for name, value in architecture.items()
        if name not in TOKEN_IDS and actual.get(name) != value
    ]
    if differing:
        raise InputError(
            f"{key}, {Path(source).name}",
            f"the weights are of another architecture: {'; '.join(differing)}",
            f"name the weights the recipe was written for, or change model.{key}_architecture",
            code="other-architecture",
        )


__all__ = ["check_architecture", "combine", "config_of", "stated"]
