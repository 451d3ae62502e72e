"""Whether a run computes its activations again in the backward pass."""

from __future__ import annotations

import psutil
import torch

from medblip.recipe import Recipe
from medblip.training.planning.batch import TextLengths
from medblip.training.planning.planner import CUDA_CONTEXT, FRAGMENTATION
from medblip.training.planning.shadow import Shadow

ROOM = 0.95  # share of the memory that a plan may fill


def recomputes(recipe: Recipe, device: torch.device) -> bool:
    """``model.gradient_checkpointing``; ``auto`` plans a step of each stage against the device.

    On Apple's MPS, which shares the machine's memory, and on a CPU the memory that is free now
    counts.
    """
    asked = recipe.model.gradient_checkpointing
    if asked != "auto":
        return asked
    limit = ROOM * free_bytes(device)
    return any(
        step_bytes(recipe, name, device) > limit
        for name, stage in recipe.stages().items()
        if stage.runs
    )


def step_bytes(recipe: Recipe, stage: str, device: torch.device) -> float:
    """Planned peak of a step that keeps its activations."""
    section = recipe.stages()[stage]
    samples = section.micro_batch_size or section.batch_size
    cuda = device.type == "cuda"
    shadow = Shadow(recipe, section, TextLengths(), "cuda" if cuda else "cpu")
    peak = shadow.training_peak(samples, checkpointing=False).total
    return peak * (1 + FRAGMENTATION) + CUDA_CONTEXT if cuda else peak


def free_bytes(device: torch.device) -> int:
    """Memory that a run may take."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    return psutil.virtual_memory().available
