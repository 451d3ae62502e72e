"""Frozen towers: no gradient for their weights, no dropout, and still recomputable.

Gradients flow through a frozen tower to what is learned before it (the patch embedding before the
vision tower, prefix and LoRA before the language model), so its activations are kept, or
recomputed. transformers recomputes a layer only in training mode, which a frozen tower never is
in: here the layer alone is put into it, not the dropout modules inside.
"""

from __future__ import annotations

from torch import nn
from transformers.modeling_layers import GradientCheckpointingLayer

# Dropout that a layer's own forward applies as a function (BioGPT, OPT), not through a module.
_LAYER_DROPOUTS = ("dropout", "activation_dropout")


def freeze(tower: nn.Module) -> None:
    """No gradient for the weights, no dropout; gradients still flow through."""
    tower.requires_grad_(False)
    tower.eval()
    for layer in _layers(tower):
        for name in _LAYER_DROPOUTS:
            if isinstance(getattr(layer, name, None), float | int):
                setattr(layer, name, 0.0)


def allow_recomputing(tower: nn.Module, training: bool) -> None:
    """Let ``gradient_checkpointing_enable`` work in a tower that is in evaluation mode."""
    for layer in _layers(tower):
        layer.training = training


def _layers(tower: nn.Module) -> list[GradientCheckpointingLayer]:
    return [m for m in tower.modules() if isinstance(m, GradientCheckpointingLayer)]
