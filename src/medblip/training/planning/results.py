"""What a plan says."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from medblip.training.planning.batch import TextLengths
from medblip.training.planning.flops import Flops
from medblip.training.planning.parts import PAPER_SIDE, Part
from medblip.training.planning.shadow import Device, Peak


@dataclass(frozen=True)
class Assumptions:
    """Everything a plan takes for granted.

    Attributes:
        memory: bytes of the device.
        precision: of the arithmetic, as the recipe's resolves on the device.
        context: bytes of the runtime's context, its kernels and their workspaces; 0 on a CPU.
        fragmentation: share of the tensors' bytes that the allocator loses between them.
        scans: of one epoch.
        tflops: the device's peak in 10^12 operations a second, dense, in ``precision``.
        utilisation: share of that peak a step reaches.
    """

    device: Device
    memory: int
    precision: str
    lengths: TextLengths
    context: int
    fragmentation: float
    scans: int
    tflops: float
    utilisation: float

    def hours(self, flops: float) -> float:
        """Of ``flops`` operations for each scan of an epoch."""
        return flops * self.scans / (self.tflops * 1e12 * self.utilisation) / 3600


@dataclass(frozen=True)
class Memory:
    """Bytes at a step's peak: tensors, and what comes on top."""

    tensors: Peak
    context: int
    fragmentation: int

    @property
    def total(self) -> int:
        return self.tensors.total + self.context + self.fragmentation


@dataclass(frozen=True)
class Work:
    """One kind of step: its memory at a batch, the largest batch, its arithmetic.

    Attributes:
        fits: whether ``memory`` is at most the device's.
        largest_batch: that fits, itself tried, as was one more; 0 if none does.
        flops: of one sample.
        hours: for all scans once.
    """

    batch: int
    memory: Memory
    fits: bool
    largest_batch: int
    flops: Flops
    hours: float


@dataclass(frozen=True)
class Plan:
    """What a recipe needs.

    Attributes:
        stage: the one planned, ``align`` or ``tune``.
        checkpointing: whether the recipe recomputes activations.
        parameters: by part.
        training: a training step as it is without recomputing.
        training_checkpointed: the same with ``gradient_checkpointing``.
        answering: the likelihood of one answer per label.
    """

    recipe: str
    stage: str
    checkpointing: bool
    assumptions: Assumptions
    parameters: tuple[Part, ...]
    training: Work
    training_checkpointed: Work
    answering: Work

    @property
    def learned(self) -> int:
        return sum(part.learned for part in self.parameters)

    @property
    def frozen(self) -> int:
        return sum(part.frozen for part in self.parameters)

    @property
    def paper_side(self) -> int:
        """What the paper counts as learned on the MedQFormer's side, 151 M at its sizes."""
        return sum(p.learned + p.frozen for p in self.parameters if p.name in PAPER_SIDE)

    def as_dict(self) -> dict[str, Any]:
        """All fields, with the totals that follow from them."""
        values = asdict(self)
        for name in ("training", "training_checkpointed", "answering"):
            work: Work = getattr(self, name)
            values[name]["memory"]["total"] = work.memory.total
            values[name]["flops"]["total"] = work.flops.total
        totals = {"learned": self.learned, "frozen": self.frozen, "paper_side": self.paper_side}
        return values | totals

    def to_json(self) -> str:
        """One JSON document; bytes, operations and hours as plain numbers."""
        return json.dumps(self.as_dict(), indent=2)


__all__ = ["Assumptions", "Memory", "Plan", "Work"]
