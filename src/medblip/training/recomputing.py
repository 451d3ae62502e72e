"""Whether a run computes its activations again in the backward pass."""

from __future__ import annotations

import warnings

import psutil
import torch

from medblip.model import MedBlipForConditionalGeneration
from medblip.model.recompute import recompute_share
from medblip.recipe import Recipe
from medblip.study.study import Study
from medblip.training.agreement import process_count
from medblip.training.comparing import compares_scans
from medblip.training.division import divide
from medblip.training.planning.batch import TextLengths
from medblip.training.planning.planner import CUDA_CONTEXT, FRAGMENTATION
from medblip.training.planning.shadow import Shadow

ROOM = 0.95  # share of the memory that a plan may fill


def recompute(
    model: MedBlipForConditionalGeneration, recipe: Recipe, study: Study, device: torch.device
) -> None:
    """Make a model compute its layers again in the backward pass, as far as the recipe says."""
    share = recomputed_share(recipe, study, device)
    if share == 1:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # the name before transformers 5.23
            model.gradient_checkpointing_enable()
    elif share > 0:
        for tower in (model.vision_model, model.language_model):
            recompute_share(tower, share)


def recomputed_share(recipe: Recipe, study: Study, device: torch.device) -> float:
    """Of the layers; ``auto`` plans a step of each stage against the device: all or none.

    Where the study's questions compare two scans, every sample is planned with two.

    On Apple's MPS, which shares the machine's memory, and on a CPU the memory that is free now
    counts.
    """
    asked = recipe.model.gradient_checkpointing
    if asked != "auto":
        return float(asked)
    limit = ROOM * free_bytes(device)
    most = 2 if compares_scans(recipe, study) else 1
    running = {name: stage for name, stage in recipe.stages().items() if stage.runs}
    return float(
        any(
            step_bytes(recipe, name, device, most if stage.questions != "diagnosis" else 1) > limit
            for name, stage in running.items()
        )
    )


def step_bytes(recipe: Recipe, stage: str, device: torch.device, prefixes: int = 1) -> float:
    """Planned peak of a step that keeps its activations, with so many scans in each prompt."""
    section = recipe.stages()[stage]
    samples = divide(section, process_count()).micro_batch
    cuda = device.type == "cuda"
    more = (prefixes - 1) * recipe.model.qformer.num_query_tokens
    lengths = TextLengths(prompt=TextLengths.prompt + more, prefixes=prefixes)
    shadow = Shadow(recipe, section, lengths, "cuda" if cuda else "cpu")
    peak = shadow.training_peak(samples, checkpointing=False).total
    return peak * (1 + FRAGMENTATION) + CUDA_CONTEXT if cuda else peak


def free_bytes(device: torch.device) -> int:
    """Memory that a run may take."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    return psutil.virtual_memory().available
