"""Recompute a share of a tower's layers in the backward pass: as much memory as is short, no more.

``gradient_checkpointing_enable`` recomputes every layer. Each recomputed one costs another forward
pass of it and gives back what it would have kept, so that recomputing half of them costs half.
"""

from __future__ import annotations

from functools import partial

from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers.modeling_layers import GradientCheckpointingLayer


def recompute_share(tower: nn.Module, share: float) -> int:
    """Recompute the first layers of a tower, and only those.

    Args:
        tower: whose layers are transformers'.
        share: of its layers, from 0 to 1.

    Returns:
        How many layers are recomputed.

    Raises:
        ValueError: ``share`` lies outside.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share is {share}; expected 0 to 1")
    layers = [m for m in tower.modules() if isinstance(m, GradientCheckpointingLayer)]
    count = round(share * len(layers))
    for place, layer in enumerate(layers):
        layer.gradient_checkpointing = place < count
        # Past nn.Module's typed attributes: it is a function, no tensor and no module.
        again = partial(checkpoint, use_reentrant=False)
        object.__setattr__(layer, "_gradient_checkpointing_func", again)
    return count


__all__ = ["recompute_share"]
