"""LoRA on query and value of every attention block of the language model."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from peft import LoraConfig
from peft.tuners.tuners_utils import cast_adapter_dtype
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from medblip.errors import UsageError

# Names of the query and value maps across transformers' language models. GPT-2 fuses them with
# the key in one map, `c_attn`.
QUERY_VALUE_NAMES = (("q_proj", "v_proj"), ("q", "v"), ("query", "value"), ("c_attn",), ("qkv",))
ADAPTER = "default"  # PEFT's name for the only one
EVERY_LINEAR = "all-linear"  # PEFT's own word


def linear_names(language_model: nn.Module) -> list[str]:
    """Last names of the linear maps of ``language_model``: what LoRA can be put on."""
    maps = (nn.Linear, Conv1D)  # the latter is GPT-2's
    return sorted(
        {n.rsplit(".", 1)[-1] for n, m in language_model.named_modules() if isinstance(m, maps)}
    )


def query_value_modules(language_model: PreTrainedModel) -> list[str]:
    """Names of the query and value maps of ``language_model``.

    Raises:
        UsageError: none of the known names occurs; lists the names of its linear maps.
    """
    found = set(linear_names(language_model))
    for names in QUERY_VALUE_NAMES:
        if found.issuperset(names):
            return list(names)
    raise _no_target(language_model, f"no query and value maps by the names {QUERY_VALUE_NAMES}")


def add_lora(language_model: PreTrainedModel, settings: dict[str, Any]) -> None:
    """Put LoRA into ``language_model`` in place; only its matrices then want gradients.

    Args:
        settings: keyword arguments of ``peft.LoraConfig``; ``target_modules`` are the query and
            value maps by default.

    Raises:
        UsageError: a target is no module of ``language_model``; lists its linear maps.
    """
    options = dict(settings)
    if options.get("target_modules") is None:
        options["target_modules"] = query_value_modules(language_model)
    _check_targets(language_model, options["target_modules"])
    options.setdefault("bias", "none")
    if language_model.config.model_type == "gpt2":
        options.setdefault("fan_in_fan_out", True)  # GPT-2 keeps its matrices transposed
    language_model.add_adapter(LoraConfig(**options))
    cast_adapter_dtype(language_model, ADAPTER)  # learned in float32, whatever the base is kept in


def _check_targets(language_model: PreTrainedModel, targets: str | Sequence[str]) -> None:
    """PEFT is content if one name of a list matches; a misspelled one must not pass."""
    names = [name for name, _ in language_model.named_modules()]
    if isinstance(targets, str):
        matched = targets == EVERY_LINEAR or any(re.fullmatch(targets, name) for name in names)
        absent = [] if matched else [targets]
    else:
        absent = [t for t in targets if not any(n == t or n.endswith(f".{t}") for n in names)]
    if absent or not targets:
        raise _no_target(language_model, f"{absent} match no module")


def _no_target(language_model: PreTrainedModel, problem: str) -> UsageError:
    return UsageError(
        "lora.target_modules",
        f"{problem} of {language_model.config.model_type}",
        f"its linear maps are called {linear_names(language_model)}: name some of them",
        code="no-lora-target",
    )
