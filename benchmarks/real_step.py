"""One real step or answer and its peak memory, for the benchmarks that hold a plan against it.

On a CPU the peak is the process's resident memory (``VmHWM`` of ``/proc/self/status``, reset
before the step) less what it held before the model was built. To make that the tensors' memory:

- a small step of the same kind runs first, so that libraries and their compiled kernels are there;
- glibc is told to give every freed block back at once (``ALLOCATOR`` below, in the environment of
  a new process), so that the peak is not the sum of peaks at different times.
"""

from __future__ import annotations

import gc
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch

from medblip.model import MedBlipForConditionalGeneration
from medblip.recipe import Recipe
from medblip.training.planning.batch import (
    TextLengths,
    image_inputs,
    prompt_ids,
    training_batch,
)
from medblip.training.planning.model import new_model
from medblip.training.planning.shadow import Device, Peak, Shadow
from medblip.training.planning.steps import Autocast, answering, new_optimizer, training_step
from medblip.training.precision import autocast, resolve_precision

KINDS = ("training", "recomputing", "answering")
ALLOCATOR = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": "131072",
    "MALLOC_TRIM_THRESHOLD_": "0",
}
LENGTHS = TextLengths()
# Sizes under which a tower of each kind is small, to warm up with.
SMALL: dict[str, dict[str, int]] = {
    "dinov2": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2},
    "blip_2_vision_model": {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
    },
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 2},
    "t5": {"d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 2, "num_decoder_layers": 2},
}


@dataclass(frozen=True)
class Real:
    """What was measured.

    Attributes:
        peak_bytes: at the step, less what the process held before the model was built.
        value: the loss, or the mean log-probability of the answers.
        with_gradient, learned: names of the parameters that got one, and that should.
    """

    peak_bytes: int
    value: float
    build_seconds: float
    step_seconds: float
    with_gradient: frozenset[str]
    learned: frozenset[str]


def planned_peak(recipe: Recipe, batch: int, kind: str, device: str) -> Peak:
    """What the plan says of what :func:`run_real` measures."""
    shadow = Shadow(recipe, recipe.tune, LENGTHS, cast(Device, device))
    if kind == "answering":
        return shadow.answering_peak(batch)
    return shadow.training_peak(batch, kind == "recomputing")


def run_real(recipe: Recipe, batch: int, kind: str, device: str) -> Real:
    """Build the recipe's model with random weights and run ``batch`` samples through it.

    Args:
        kind: one of ``KINDS``.
    """
    _measure(_small(recipe), 2, kind, device)
    gc.collect()
    before = status_bytes("VmRSS") if device == "cpu" else 0
    measured = _measure(recipe, batch, kind, device)
    return replace(measured, peak_bytes=measured.peak_bytes - before)


def in_new_process(
    script: str, *arguments: str, environment: Mapping[str, str] = ALLOCATOR
) -> dict[str, Any]:
    """The JSON document that a benchmark's own script prints last."""
    run = subprocess.run(
        [sys.executable, "-W", "ignore", script, *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    if run.returncode:
        raise SystemExit(run.stderr)
    found: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    return found


def _measure(recipe: Recipe, batch: int, kind: str, device: str) -> Real:
    torch.manual_seed(0)
    started = time.perf_counter()
    model = new_model(recipe, recipe.tune, MedBlipForConditionalGeneration).to(device)
    found: set[str] = set()
    prepare = _prepare_answer if kind == "answering" else _prepare_training
    run = prepare(model, recipe, batch, kind, device, found)
    built = time.perf_counter()
    reset_peak(device)
    value = run()
    return Real(
        peak_bytes=_peak(device),
        value=float(value.mean()),
        build_seconds=built - started,
        step_seconds=time.perf_counter() - built,
        with_gradient=frozenset(found),
        learned=frozenset(n for n, p in model.named_parameters() if p.requires_grad),
    )


def _prepare_training(
    model: MedBlipForConditionalGeneration,
    recipe: Recipe,
    batch: int,
    kind: str,
    device: str,
    found: set[str],
) -> Callable[[], torch.Tensor]:
    if kind == "recomputing":
        model.gradient_checkpointing_enable()
    optimizer = new_optimizer(model, recipe.tune, foreach=device == "cuda")
    optimizer.register_step_pre_hook(lambda *_: found.update(_with_gradient(model)))
    pixels = recipe.model.train_patch_embedding
    drawn = training_batch(model.config, recipe.tune, batch, LENGTHS, pixels)
    inputs = {name: tensor.to(device) for name, tensor in drawn.items()}
    return lambda: training_step(model, optimizer, inputs, _autocast(recipe, device))


def _prepare_answer(
    model: MedBlipForConditionalGeneration,
    recipe: Recipe,
    batch: int,
    kind: str,
    device: str,
    found: set[str],
) -> Callable[[], torch.Tensor]:
    model.eval()
    image = {k: v.to(device) for k, v in image_inputs(model.config, batch).items()}
    prompts = prompt_ids(model.config, batch, LENGTHS).to(device)
    return lambda: answering(model, prompts, image, LENGTHS, _autocast(recipe, device))


def _autocast(recipe: Recipe, device: str) -> Autocast:
    place = torch.device(device)
    precision = resolve_precision(recipe.precision, place)
    return lambda: autocast(place, precision)


def _with_gradient(model: torch.nn.Module) -> list[str]:
    return [name for name, p in model.named_parameters() if p.grad is not None]


def _small(recipe: Recipe) -> Recipe:
    section = recipe.model
    qformer = section.qformer.model_copy(
        update={
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "intermediate_size": 64,
        }
    )
    small = {
        "vision_architecture": _shrunk(section.vision_architecture),
        "language_architecture": _shrunk(section.language_architecture),
        "volume_size": 2 * section.volume_patch_size,
        "qformer": qformer,
    }
    return recipe.model_copy(update={"model": section.model_copy(update=small)})


def _shrunk(architecture: dict[str, Any] | None) -> dict[str, Any]:
    if architecture is None:
        raise SystemExit("this benchmark needs a recipe that states both architectures")
    return {**architecture, **SMALL[architecture["model_type"]]}


def reset_peak(device: str) -> None:
    """Count the peak from here."""
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    else:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def _peak(device: str) -> int:
    return torch.cuda.max_memory_allocated() if device == "cuda" else status_bytes("VmHWM")


def status_bytes(field: str) -> int:
    """Bytes of a field of this process's status."""
    text = Path("/proc/self/status").read_text(encoding="ascii")
    match = re.search(rf"^{field}:\s+(\d+) kB$", text, re.MULTILINE)
    if match is None:
        raise SystemExit(f"/proc/self/status has no {field}: this benchmark runs on Linux")
    return int(match[1]) * 1024
