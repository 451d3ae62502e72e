"""Which parameters a stage learns: those that its losses reach, and no other.

A parameter that no loss reaches gets no gradient, which several processes would wait for, and
weight decay would still change it.
"""

from __future__ import annotations

from medblip.model import MedBlipForConditionalGeneration
from medblip.recipe import StageSection

CONTRAST = ("text_map", "text_positions", "image_contrast", "text_contrast", "temperature")
PREFIX = ("prefix_map", "prefix_scale")


def set_learned(
    model: MedBlipForConditionalGeneration, stage: StageSection, *, entry: bool
) -> None:
    """Set ``requires_grad`` of everything but the frozen towers.

    Args:
        entry: learn the 3D patch embedding.
    """
    contrast = stage.itc_record > 0 or stage.itc_answer > 0 or stage.itc_choices > 0
    for name, parameter in model.named_parameters():
        part = name.split(".")[0]
        if part == "vision_model":
            continue
        if part == "language_model":
            if "lora_" in name:
                parameter.requires_grad_(stage.language > 0)
        elif part == "patch_embedding":
            parameter.requires_grad_(entry)
        elif part in CONTRAST:
            parameter.requires_grad_(contrast)
        elif part in PREFIX:
            parameter.requires_grad_(stage.language > 0)
        else:
            parameter.requires_grad_(True)
