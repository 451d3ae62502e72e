"""LoRA added into the language model's own weights."""

from __future__ import annotations

from typing import Any

from peft.tuners.lora import LoraLayer

from medblip.errors import UsageError
from medblip.model.modeling_medblip import MedBlipForConditionalGeneration


def merge_lora(model: MedBlipForConditionalGeneration) -> None:
    """Add LoRA into the language model, in place; it answers as before, to rounding.

    The language model is its recorded base no more, so ``save_pretrained`` writes its weights.

    Raises:
        UsageError: there is no LoRA, or the language model is stored in fewer bits than LoRA needs.
    """
    language_model = model.language_model
    layers: list[tuple[str, Any]] = [
        (name, m) for name, m in language_model.named_modules() if isinstance(m, LoraLayer)
    ]
    if not layers:
        raise UsageError(
            "merge_lora",
            "this checkpoint holds no LoRA: its language model is as it was",
            "export it without --merge-lora",
            code="no-lora",
        )
    if not all(layer.get_base_layer().weight.is_floating_point() for _, layer in layers):
        fix = "load it without quantization_config"
        raise UsageError("merge_lora", "the language model is quantised", fix, code="quantised")
    for name, layer in layers:
        layer.merge(safe_merge=True)
        language_model.set_submodule(name, layer.get_base_layer())
    language_model._hf_peft_config_loaded = False
    del language_model.peft_config
    model.config.lora = None
    model.config.language_base = None
    model.base_identities = {r: i for r, i in model.base_identities.items() if r != "language"}


__all__ = ["merge_lora"]
