"""The plan of a recipe: parameters, arithmetic and memory, without allocating any of it."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import cast, get_args

from medblip.errors import UsageError
from medblip.recipe import Recipe, StageSection
from medblip.training.planning.batch import TextLengths
from medblip.training.planning.fitting import largest_batch
from medblip.training.planning.flops import Flops
from medblip.training.planning.results import Assumptions, Memory, Plan, Work
from medblip.training.planning.shadow import Device, Peak, Shadow

PAPER_SCANS = 28_000
TFLOPS = 71.0  # bfloat16, dense, float32 sums: NVIDIA's figure for an RTX 3090 with 24 GB
UTILISATION = 0.35
CUDA_CONTEXT = 3 << 28  # 0.75 GiB: context and kernels about 0.5, workspaces of cuBLAS and cuDNN
FRAGMENTATION = 0.05


def plan(
    recipe: Recipe,
    *,
    memory: int,
    batch: int | None = None,
    device: str = "cuda",
    lengths: TextLengths | None = None,
    scans: int = PAPER_SCANS,
    tflops: float = TFLOPS,
    utilisation: float = UTILISATION,
) -> Plan:
    """What a recipe needs on a device, and the largest batch that fits.

    The recipe's own training step runs on tensors without memory, so the plan is made on any
    machine, in about a minute, and needs no weights.

    Args:
        memory: bytes of the device.
        batch: samples of a training step; the recipe's if None.
        device: ``cuda``, or ``cpu`` to follow this machine's processor.
        lengths: of the texts, in tokens, and how many scans a prompt shows.
        scans: of one epoch.
        tflops, utilisation: see :class:`Assumptions`.

    Raises:
        InputError: a tower's architecture is neither stated nor found.
        UsageError: the recipe trains nothing, or the device is neither, or two scans a prompt are
            planned for a recipe that asks for the diagnosis alone.
    """
    name, stage = _stage(recipe)
    kind = _device(device)
    lengths = lengths or TextLengths()
    _check_prefixes(recipe, lengths)
    shadow = Shadow(recipe, stage, lengths, kind)
    cuda = kind == "cuda"
    assumed = Assumptions(
        device=kind,
        memory=memory,
        precision=shadow.precision,
        lengths=lengths,
        context=CUDA_CONTEXT if cuda else 0,
        fragmentation=FRAGMENTATION if cuda else 0.0,
        scans=scans,
        tflops=tflops,
        utilisation=utilisation,
    )

    def trained(checkpointing: bool) -> Work:
        return _work(
            assumed,
            batch or stage.batch_size,
            lambda n: shadow.training_peak(n, checkpointing),
            shadow.training_flops(checkpointing),
        )

    return Plan(
        recipe=recipe.name,
        stage=name,
        checkpointing=recipe.model.gradient_checkpointing is True,
        assumptions=assumed,
        parameters=shadow.parameters,
        training=trained(False),
        training_checkpointed=trained(True),
        answering=_work(assumed, 1, shadow.answering_peak, shadow.answering_flops()),
    )


def _work(assumed: Assumptions, batch: int, peak: Callable[[int], Peak], flops: Flops) -> Work:
    @cache
    def memory(samples: int) -> Memory:
        tensors = peak(samples)
        lost = round(tensors.total * assumed.fragmentation)
        return Memory(tensors, assumed.context, lost)

    return Work(
        batch=batch,
        memory=memory(batch),
        fits=memory(batch).total <= assumed.memory,
        largest_batch=largest_batch(lambda n: memory(n).total, assumed.memory, batch),
        flops=flops,
        hours=assumed.hours(flops.total),
    )


def _stage(recipe: Recipe) -> tuple[str, StageSection]:
    """The last stage that trains: in it every part of the model runs."""
    for name, stage in reversed(recipe.stages().items()):
        if stage.runs:
            return name, stage
    raise UsageError(
        recipe.name, "no stage has steps", "set tune.steps or tune.epochs", code="no-steps"
    )


def _check_prefixes(recipe: Recipe, lengths: TextLengths) -> None:
    if lengths.prefixes > 1 and not recipe.asks_questions:
        raise UsageError(
            recipe.name,
            "it asks for the diagnosis alone, which is shown one scan",
            "set tune.questions=vqa, or plan one scan a prompt",
            code="plan-of-two",
        )


def _device(name: str) -> Device:
    if name not in get_args(Device):
        raise UsageError("device", f"is {name!r}", "give cuda or cpu", code="bad-device")
    return cast(Device, name)


__all__ = ["plan"]
