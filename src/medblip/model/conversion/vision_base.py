"""A BLIP-2 vision tower from its weights: sizes read off them, a model, a base folder."""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from pathlib import Path

import torch
from torch import Tensor
from transformers import Blip2VisionConfig, Blip2VisionModel

from medblip.errors import InputError
from medblip.model.conversion.naming import check_shapes, size
from medblip.model.weight_files import save_weights

HEAD_WIDTH = 88  # of EVA's ViT-g, 16 heads at width 1408; weights do not tell it


def blocks_config(weights: Mapping[str, Tensor], layers: int, where: str) -> Blip2VisionConfig:
    """Sizes of the blocks, read off the first one; the 2D entry as published."""
    fc1 = "encoder.layers.0.mlp.fc1.weight"
    hidden, width = (size(weights, fc1, axis, where) for axis in (0, 1))
    if width % HEAD_WIDTH:
        raise InputError(
            where,
            f"its width {width} is not a multiple of {HEAD_WIDTH}, the width of a head of ViT-g",
            "only EVA-CLIP's ViT-g is known",
            code="other-shape",
        )
    return Blip2VisionConfig(
        hidden_size=width,
        intermediate_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=width // HEAD_WIDTH,
    )


def empty_vision_model(config: Blip2VisionConfig) -> Blip2VisionModel:
    """The model's names and shapes, without memory."""
    with torch.device("meta"):
        return Blip2VisionModel(config)


def write_vision_base(
    folder: Path, config: Blip2VisionConfig, weights: Mapping[str, Tensor], where: str
) -> None:
    """Write ``config.json`` and ``model.safetensors``; :func:`bases.load_vision` loads them.

    Weights keep the precision they have in the source.

    Raises:
        InputError: shapes do not fit the configuration.
    """
    check_shapes(weights, empty_vision_model(config).state_dict(), where)
    config.architectures = [Blip2VisionModel.__name__]
    config.dtype = reduce(torch.promote_types, (tensor.dtype for tensor in weights.values()))
    config.save_pretrained(folder)
    save_weights(weights, folder)
