"""Floating-point operations by part of the model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import (
    FlopCounterMode,
    sdpa_backward_flop_count,
    sdpa_flop_count,
)

from medblip.training.planning.part_tracker import WHOLE, PartTracker

_PARTS = {
    "vision tower": "vision_model",
    "language model": "language_model",
    "MedQFormer": "qformer",
    "patch embedding": "patch_embedding",
    "text map": "text_map",
    "prefix map": "prefix_map",
}
_REST = "heads, losses"


@dataclass(frozen=True)
class Flops:
    """Operations of matrix products, convolutions and attention, forward and backward together.

    A multiplication and an addition count as two. A layer that is recomputed counts again.
    """

    by_part: dict[str, int]

    @property
    def total(self) -> int:
        return sum(self.by_part.values())

    def shared_by(self, samples: int) -> Flops:
        """One sample's share of a batch."""
        return Flops({part: count // samples for part, count in self.by_part.items()})


@contextmanager
def counting_flops(model: nn.Module) -> Iterator[Callable[[], Flops]]:
    """Count inside; the function yielded gives the result afterwards."""
    counter = FlopCounterMode(display=False, custom_mapping=_fused_cpu_attention())
    parts = {part: model.get_submodule(name).modules() for part, name in _PARTS.items()}
    counter.mod_tracker = PartTracker({**parts, _REST: [model]})  # type: ignore[assignment]
    with counter:
        yield lambda: _by_part(counter)


def _by_part(counter: FlopCounterMode) -> Flops:
    counts = {name: sum(found.values()) for name, found in counter.get_flop_counts().items()}
    parts = {part: counts.get(part, 0) for part in _PARTS}
    return Flops({**parts, _REST: counts.get(WHOLE, 0) - sum(parts.values())})


def _fused_cpu_attention() -> dict[Any, Any]:
    """The CPU's fused attention, which torch's own list of formulas leaves out."""

    def forward(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
        return int(sdpa_flop_count(query, key, value))

    def backward(grad: Any, query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
        return int(sdpa_backward_flop_count(grad, query, key, value))

    name = "_scaled_dot_product_flash_attention_for_cpu"
    return {
        getattr(torch.ops.aten, name): forward,
        getattr(torch.ops.aten, f"{name}_backward"): backward,
    }


__all__ = ["Flops", "counting_flops"]
