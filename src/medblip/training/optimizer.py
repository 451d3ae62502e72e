"""AdamW as the stage says: matrices decay, norms, biases, queries and positions do not."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from medblip.model.modeling_medblip import MedBlipForConditionalGeneration
from medblip.recipe import StageSection

# Weight decay would pull these towards a size they have no reason to take.
NO_DECAY = ("query_tokens", "positions", "temperature", "prefix_scale", "cls_token")


def new_optimizer(model: MedBlipForConditionalGeneration, stage: StageSection) -> torch.optim.AdamW:
    """AdamW over what the stage learns; one fused kernel where the device has it."""
    fused = next(model.parameters()).device.type in ("cpu", "cuda")
    return torch.optim.AdamW(parameter_groups(model, stage), betas=stage.betas, fused=fused)


def parameter_groups(
    model: MedBlipForConditionalGeneration, stage: StageSection
) -> list[dict[str, Any]]:
    """AdamW groups: matrices with decay, the rest without; prefix map and LoRA at their rates."""
    rates = {
        "decayed": stage.learning_rate,
        "plain": stage.learning_rate,
        "prefix": stage.prefix_learning_rate,
        "lora": stage.lora_learning_rate,
    }
    members: dict[str, list[nn.Parameter]] = {name: [] for name in rates}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            members[_group_of(name, parameter)].append(parameter)
    return [
        {
            "params": parameters,
            "lr": rates[name],
            "weight_decay": stage.weight_decay if name == "decayed" else 0.0,
        }
        for name, parameters in members.items()
        if parameters
    ]


def _group_of(name: str, parameter: nn.Parameter) -> str:
    if "lora_" in name:
        return "lora"
    if name.startswith("prefix_"):
        return "prefix"
    if parameter.ndim < 2 or any(part in name for part in NO_DECAY):
        return "plain"
    return "decayed"
