"""Sizes of the reference's model, which its state dict does not record: read off the weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from medblip.errors import InputError
from medblip.model.configuration_medblip import MedQFormerConfig
from medblip.model.conversion.naming import count_blocks, size

BERT_HEAD_WIDTH = 64  # of bert-base-uncased, 12 heads at width 768; weights do not tell it
_FFN = "qformer.encoder.layer.0.intermediate_query.dense.weight"
_PLACES = "patch_embedding.positions"
_TEXT_PLACES = "text_positions.weight"
_FIX = "give a state dict that the reference repository's trainer saved"


def volume_sizes(taken: Mapping[str, Tensor], where: str) -> dict[str, Any]:
    """Fields of :class:`MedBlipConfig` that the patch filter, positions and projections tell.

    Raises:
        InputError: the positions are not those of a cube and CLS, or there are too few axes.
    """
    patch = size(taken, "patch_embedding.projection.weight", 4, where)
    shape = tuple(taken[_PLACES].shape)
    places = shape[1] - 1 if len(shape) == 3 else 0
    grid = round(max(places, 0) ** (1 / 3))
    if grid < 1 or grid**3 != places:
        raise InputError(
            where,
            f"pos_embed_3d of shape {shape} is not a cube of positions and CLS",
            _FIX,
            code="other-shape",
        )
    return {
        "volume_size": grid * patch,
        "volume_patch_size": patch,
        "itc_hidden_size": size(taken, "image_contrast.weight", 0, where),
    }


def qformer_config(taken: Mapping[str, Tensor], image_width: int, where: str) -> MedQFormerConfig:
    """The Q-Former's sizes; heads are as wide as BERT's.

    Raises:
        InputError: its width is not a multiple of a head's, or there are too few axes.
    """
    queries, width = (size(taken, "query_tokens", axis, where) for axis in (1, 2))
    if width % BERT_HEAD_WIDTH:
        raise InputError(
            where,
            f"its Q-Former's width {width} is not a multiple of {BERT_HEAD_WIDTH}, a head of BERT",
            _FIX,
            code="other-shape",
        )
    config = MedQFormerConfig(
        num_query_tokens=queries,
        hidden_size=width,
        num_hidden_layers=count_blocks(taken, r"qformer\.encoder\.layer\.(\d+)\.", 0),
        num_attention_heads=width // BERT_HEAD_WIDTH,
        intermediate_size=size(taken, _FFN, 0, where),
        encoder_hidden_size=image_width,
    )
    if _TEXT_PLACES in taken:
        config.max_text_positions = size(taken, _TEXT_PLACES, 0, where)
    return config
