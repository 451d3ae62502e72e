"""Whether a run computes its activations again in the backward pass."""

from __future__ import annotations

import warnings

import psutil
import torch

from medblip.model import MedBlipForConditionalGeneration
from medblip.model.recompute import recompute_share
from medblip.recipe import Recipe
from medblip.training.agreement import process_count
from medblip.training.division import divide
from medblip.training.planning.batch import TextLengths
from medblip.training.planning.planner import CUDA_CONTEXT, FRAGMENTATION
from medblip.training.planning.shadow import Shadow

ROOM = 0.95  # share of the memory that a plan may fill


def recompute(model: MedBlipForConditionalGeneration, recipe: Recipe, device: torch.device) -> None:
    """Make a model compute its layers again in the backward pass, as far as the recipe says."""
    share = recomputed_share(recipe, device)
    if share == 1:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # the name before transformers 5.23
            model.gradient_checkpointing_enable()
    elif share > 0:
        for tower in (model.vision_model, model.language_model):
            recompute_share(tower, share)


def recomputed_share(recipe: Recipe, device: torch.device) -> float:
    """Of the layers; ``auto`` plans a step of each stage against the device: all or none.

    On Apple's MPS, which shares the machine's memory, and on a CPU the memory that is free now
    counts.
    """
    asked = recipe.model.gradient_checkpointing
    if asked != "auto":
        return float(asked)
    limit = ROOM * free_bytes(device)
    running = [name for name, stage in recipe.stages().items() if stage.runs]
    return float(any(step_bytes(recipe, name, device) > limit for name in running))


def step_bytes(recipe: Recipe, stage: str, device: torch.device) -> float:
    """Planned peak of a step that keeps its activations."""
    section = recipe.stages()[stage]
    samples = divide(section, process_count()).micro_batch
    cuda = device.type == "cuda"
    shadow = Shadow(recipe, section, TextLengths(), "cuda" if cuda else "cpu")
    peak = shadow.training_peak(samples, checkpointing=False).total
    return peak * (1 + FRAGMENTATION) + CUDA_CONTEXT if cuda else peak


def free_bytes(device: torch.device) -> int:
    """Memory that a run may take."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    return psutil.virtual_memory().available
