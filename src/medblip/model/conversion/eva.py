"""``eva_vit_g.pth`` of LAVIS -> a vision base folder."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from medblip.errors import UsageError
from medblip.model.conversion.eva_names import ENTRY, block_names, join_biases
from medblip.model.conversion.naming import size, take
from medblip.model.conversion.output_folder import refuse_used, whole_folder
from medblip.model.conversion.pickled import read_state_dict
from medblip.model.conversion.report import Conversion
from medblip.model.conversion.vision_base import blocks_config, write_vision_base
from medblip.storage import sha256_of_file

LAYERS = 39  # BLIP-2 leaves out the last of EVA-CLIP's 40
LN_VISION = {"ln_vision.weight": "post_layernorm.weight", "ln_vision.bias": "post_layernorm.bias"}
NO_FINAL_NORM = (
    "the tower has no final norm of its own (LAVIS keeps it in BLIP-2 as ln_vision), so "
    "post_layernorm has weight 1 and bias 0. That is not the identity: it still brings each token "
    "to mean 0 and variance 1, as BLIP-2's does before training. Give --ln-vision for a trained one"
)


def convert_eva(
    source: Path, out: Path, *, layers: int = LAYERS, ln_vision: Path | None = None
) -> Conversion:
    """Write EVA-CLIP's ViT-g as a base that ``model.vision`` of a recipe can name.

    Args:
        source: LAVIS's file, of ``torch.save``.
        out: new folder: ``config.json`` of ``Blip2VisionModel``, ``model.safetensors`` at the
            source's precision, ``conversion.json``.
        layers: blocks to keep; the rest is left out.
        ln_vision: a BLIP-2 checkpoint of LAVIS to take the final norm from.

    Raises:
        InputError: a file is damaged or holds code, weights are missing, unknown, of another shape
            or not finite, or ``out`` is not empty. Nothing is written then.
    """
    if layers < 1:
        raise UsageError("--layers", f"is {layers}", "give 1 or more")
    refuse_used(out)
    found = read_state_dict(source)
    taken, left = take(
        found, ENTRY | block_names(layers), _left_out(layers), source.name, "see --layers"
    )
    weights = join_biases(taken, source.name)
    config = blocks_config(weights, layers, source.name)
    config.patch_size = size(weights, "embeddings.patch_embedding.weight", 3, source.name)
    places = size(weights, "embeddings.position_embedding", 1, source.name) - 1
    config.image_size = config.patch_size * math.isqrt(max(places, 0))
    norm = _fresh_norm(weights) if ln_vision is None else _trained_norm(ln_vision)
    report = Conversion(
        folder=out,
        source=source.name,
        source_sha256=sha256_of_file(source),
        taken=[*weights, *(norm if ln_vision else ())],
        left_out=left,
        new={} if ln_vision else dict.fromkeys(norm, "a norm without learned scale and shift"),
        notes=[f"final norm from {ln_vision.name}" if ln_vision else NO_FINAL_NORM],
    )
    with whole_folder(out) as folder:
        write_vision_base(folder, config, weights | norm, source.name)
        report.write(folder)
    return report


def _left_out(layers: int) -> dict[str, str]:
    kept = "|".join(map(str, range(layers)))
    return {
        rf"blocks\.(?!({kept})\.)\d+\..+": f"blocks after the first {layers}",
        r"(norm|fc_norm)\.(weight|bias)": "EVA-CLIP's norm after its last block",
        r"head\.(weight|bias)": "EVA-CLIP's projection into its text space",
        r"mask_token": "for pretraining on masked images only",
    }


def _fresh_norm(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    like = weights["embeddings.class_embedding"].flatten()
    return {
        "post_layernorm.weight": torch.ones_like(like),
        "post_layernorm.bias": torch.zeros_like(like),
    }


def _trained_norm(file: Path) -> dict[str, Tensor]:
    everything_else = {r"(?!ln_vision\.).+": "only the norm is wanted"}
    fix = "give a BLIP-2 checkpoint of LAVIS; those hold ln_vision"
    return take(read_state_dict(file), LN_VISION, everything_else, file.name, fix)[0]
