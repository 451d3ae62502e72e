"""The parameter table: every parameter of the model in exactly one named part."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from torch import nn

LORA = "LoRA"

_LORA_MARK = "lora_"  # in the names of LoRA's matrices, which lie inside the language model
_STARTS = {
    "vision tower": ("vision_model.",),
    "language model": ("language_model.",),
    "MedQFormer": ("qformer.",),
    "patch embedding (Conv3d)": ("patch_embedding.projection.",),
    "positions, CLS, queries": (
        "patch_embedding.positions",
        "patch_embedding.cls_token",
        "query_tokens",
    ),
    "text map": ("text_map.",),
    "text positions": ("text_positions.",),
    "contrastive heads": ("image_contrast.", "text_contrast.", "temperature"),
    "prefix map": ("prefix_map.", "prefix_scale"),
}
# What the paper counts as its 151 M.
PAPER_SIDE = ("MedQFormer", "patch embedding (Conv3d)", "positions, CLS, queries")


@dataclass(frozen=True)
class Part:
    """One row of the parameter table; tied parameters count once."""

    name: str
    learned: int
    frozen: int


def parameter_table(parameters: Iterable[tuple[str, nn.Parameter]]) -> tuple[Part, ...]:
    """Learned and frozen parameters by part, in the order towers, entry, heads, LoRA.

    Args:
        parameters: ``model.named_parameters()``.

    Raises:
        ValueError: a parameter belongs to no part; the table would not add up.
    """
    counts = {name: [0, 0] for name in (*_STARTS, LORA)}
    for name, parameter in parameters:
        counts[part_of(name)][0 if parameter.requires_grad else 1] += parameter.numel()
    return tuple(Part(name, learned, frozen) for name, (learned, frozen) in counts.items())


def part_of(parameter: str) -> str:
    """The part that a parameter of this name belongs to; raises ValueError if none does."""
    if _LORA_MARK in parameter:
        return LORA
    for part, starts in _STARTS.items():
        if parameter.startswith(starts):
            return part
    raise ValueError(f"parameter {parameter!r} is in no part of the table; known: {list(_STARTS)}")


__all__ = ["LORA", "PAPER_SIDE", "Part", "parameter_table", "part_of"]
