"""LoRA on query and value of every attention block of the language model."""

from __future__ import annotations

from typing import Any

from peft import LoraConfig
from transformers import PreTrainedModel

# Names of the query and value maps across transformers' language models. GPT-2 fuses them with
# the key in one map, `c_attn`.
QUERY_VALUE_NAMES = (("q_proj", "v_proj"), ("q", "v"), ("query", "value"), ("c_attn",), ("qkv",))


def query_value_modules(language_model: PreTrainedModel) -> list[str]:
    """Names of the query and value maps of ``language_model``.

    Raises:
        ValueError: none of the known names occurs; lists the attention's linear layers.
    """
    leaves = {name.rsplit(".", 1)[-1] for name, _ in language_model.named_modules()}
    for names in QUERY_VALUE_NAMES:
        if leaves.issuperset(names):
            return list(names)
    attention = sorted(
        {n.rsplit(".", 1)[-1] for n, _ in language_model.named_modules() if "att" in n.lower()}
    )
    raise ValueError(
        f"{language_model.config.model_type}: no query and value maps by the names "
        f"{QUERY_VALUE_NAMES}; set `lora.target_modules` to some of {attention}"
    )


def add_lora(language_model: PreTrainedModel, settings: dict[str, Any]) -> None:
    """Put LoRA into ``language_model`` in place; only its matrices then want gradients."""
    options = dict(settings)
    if options.get("target_modules") is None:
        options["target_modules"] = query_value_modules(language_model)
    _check_targets(language_model, options["target_modules"])
    options.setdefault("bias", "none")
    if language_model.config.model_type == "gpt2":
        options.setdefault("fan_in_fan_out", True)  # GPT-2 keeps its matrices transposed
    language_model.add_adapter(LoraConfig(**options))


def _check_targets(language_model: PreTrainedModel, targets: Any) -> None:
    """PEFT is content if one name of a list matches; a misspelled one must not pass."""
    if isinstance(targets, str):
        return  # a pattern, which PEFT checks as a whole
    names = [name for name, _ in language_model.named_modules()]
    absent = [t for t in targets if not any(n == t or n.endswith(f".{t}") for n in names)]
    if absent:
        raise ValueError(
            f"lora.target_modules: {absent} are no modules of {language_model.config.model_type}"
        )
