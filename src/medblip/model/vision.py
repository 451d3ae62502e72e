"""Frozen 2D vision transformers behind one small adapter: blocks, final norm, patch filter."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers import (
    Blip2VisionModel,
    Dinov2Model,
    PreTrainedConfig,
    PreTrainedModel,
    SiglipVisionModel,
)

from medblip.model.attention_packed import PackedRows

Batching = Literal["packed", "padded", "apart"]
DEFAULT_BATCHING: Batching = "packed"  # benchmarks/train_step.py measures all three

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True)
class PatchFilter2d:
    """What a 2D encoder's entry is made of; the start of the 3D one.

    Attributes:
        weight: ``(width, 3, p, p)``; bias ``(width,)``.
        positions: ``(side * side, width)`` of the patches; ``cls_position`` ``(width,)``.
        cls_token: ``(width,)``; zeros for encoders without one.
        mean, std: ``(3,)`` normalisation that the encoder was trained with.
    """

    weight: Tensor
    bias: Tensor
    positions: Tensor
    cls_token: Tensor
    cls_position: Tensor
    mean: Tensor
    std: Tensor


@dataclass(frozen=True)
class Tower:
    """How to enter one family of vision models past its own embeddings."""

    model_class: type[PreTrainedModel]
    encode: Callable[[Any, Tensor, Any], Tensor]
    patch_filter: Callable[[Any], PatchFilter2d]


def _encode_dinov2(model: Dinov2Model, tokens: Tensor, mask: Any) -> Tensor:
    return model.layernorm(model.encoder(tokens, attention_mask=mask).last_hidden_state)


def _filter_dinov2(model: Dinov2Model) -> PatchFilter2d:
    e = model.embeddings
    conv, positions = e.patch_embeddings.projection, e.position_embeddings[0]
    return _patch_filter(
        conv, positions[1:], e.cls_token.flatten(), positions[0], IMAGENET_MEAN, IMAGENET_STD
    )


def _encode_blip2(model: Blip2VisionModel, tokens: Tensor, mask: Any) -> Tensor:
    # Its attention takes no mask, but a bias of positions, which becomes the mask.
    bias = {} if mask is None else {"position_bias": mask}
    return model.post_layernorm(model.encoder(inputs_embeds=tokens, **bias).last_hidden_state)


def _filter_blip2(model: Blip2VisionModel) -> PatchFilter2d:
    e = model.embeddings
    positions = e.position_embedding[0]
    return _patch_filter(
        e.patch_embedding,
        positions[1:],
        e.class_embedding.flatten(),
        positions[0],
        CLIP_MEAN,
        CLIP_STD,
    )


def _encode_siglip(model: SiglipVisionModel, tokens: Tensor, mask: Any) -> Tensor:
    encoded = model.encoder(inputs_embeds=tokens, attention_mask=mask).last_hidden_state
    return model.post_layernorm(encoded)


def _filter_siglip(model: SiglipVisionModel) -> PatchFilter2d:
    e = model.embeddings
    positions = e.position_embedding.weight
    nothing = torch.zeros_like(positions[0])  # SigLIP has no CLS token
    half = (0.5, 0.5, 0.5)
    return _patch_filter(e.patch_embedding, positions, nothing, nothing, half, half)


def _patch_filter(
    conv: nn.Conv2d,
    positions: Tensor,
    cls_token: Tensor,
    cls_position: Tensor,
    mean: tuple[float, ...],
    std: tuple[float, ...],
) -> PatchFilter2d:
    weight = conv.weight
    bias = weight.new_zeros(len(weight)) if conv.bias is None else conv.bias
    return PatchFilter2d(
        weight,
        bias,
        positions,
        cls_token,
        cls_position,
        weight.new_tensor(mean),
        weight.new_tensor(std),
    )


TOWERS: Mapping[str, Tower] = {
    "dinov2": Tower(Dinov2Model, _encode_dinov2, _filter_dinov2),
    "blip_2_vision_model": Tower(Blip2VisionModel, _encode_blip2, _filter_blip2),
    "siglip_vision_model": Tower(SiglipVisionModel, _encode_siglip, _filter_siglip),
}


def tower_of(config: PreTrainedConfig) -> Tower:
    """The adapter of a vision model's configuration.

    Raises:
        ValueError: its ``model_type`` is not in :data:`TOWERS`.
    """
    kind = config.model_type
    if kind not in TOWERS:
        raise ValueError(f"vision model_type {kind!r} is not known; known: {sorted(TOWERS)}")
    return TOWERS[kind]


def encode_tokens(
    model: PreTrainedModel,
    tokens: Tensor,
    foreground: Tensor | None,
    batching: Batching = DEFAULT_BATCHING,
) -> tuple[Tensor, Tensor | None]:
    """Run the frozen blocks and the final norm.

    Args:
        tokens: ``(batch, 1 + patches, width)`` from the 3D patch embedding.
        foreground: boolean ``(batch, 1 + patches)``; tokens outside are dropped before the
            blocks, and no kept token attends to what another row keeps or to padding: a row is
            encoded as it would be alone, up to rounding. None keeps all.
        batching: how rows that keep different numbers of tokens share a pass. They need torch's
            fused attention; under another kernel each length is a pass of its own.

            - ``packed``: one after another, attention row by row;
            - ``padded``: each padded to the longest, which a mask hides;
            - ``apart``: a pass for each length.

    Returns:
        Encoded tokens ``(batch, longest, width)``, zero past each row's own length, and the
        boolean mask ``(batch, longest)``; the mask is None where all were kept.
    """
    tokens = tokens.to(model.dtype)  # the frozen tower may be kept in half precision
    if foreground is None:
        return tower_of(model.config).encode(model, tokens, None), None
    lengths = foreground.sum(1)
    real = torch.arange(int(lengths.max()), device=tokens.device)[None] < lengths[:, None]
    same = bool(real.all())  # a row alone, or alike ones, need no mask
    if same or model.config._attn_implementation != "sdpa":
        batching = "apart"
    return _BATCHINGS[batching](model, tokens[foreground], real), real


def _encode_packed(model: PreTrainedModel, kept: Tensor, real: Tensor) -> Tensor:
    """``kept (tokens of all rows, width)`` to ``(batch, longest, width)``."""
    rows = PackedRows(tuple(real.sum(1).tolist()))
    return _spread(tower_of(model.config).encode(model, kept[None], rows)[0], real)


def _encode_padded(model: PreTrainedModel, kept: Tensor, real: Tensor) -> Tensor:
    encoded = tower_of(model.config).encode(model, _spread(kept, real), real[:, None, None])
    return encoded * real.unsqueeze(-1)


def _encode_apart(model: PreTrainedModel, kept: Tensor, real: Tensor) -> Tensor:
    encode = tower_of(model.config).encode
    lengths = real.sum(1)
    rows = kept.split(lengths.tolist())
    out = kept.new_zeros(*real.shape, kept.shape[-1])
    for length in lengths.unique().tolist():
        alike = (lengths == length).nonzero().flatten()
        encoded = encode(model, torch.stack([rows[int(i)] for i in alike]), None)
        out[alike, :length] = encoded.to(out.dtype)
    return out


def _spread(packed: Tensor, real: Tensor) -> Tensor:
    """``(tokens of all rows, width)`` to the places where ``real`` is set, zero elsewhere."""
    out = packed.new_zeros(*real.shape, packed.shape[-1])
    out[real] = packed
    return out


_BATCHINGS: Mapping[Batching, Callable[[PreTrainedModel, Tensor, Tensor], Tensor]] = {
    "packed": _encode_packed,
    "padded": _encode_padded,
    "apart": _encode_apart,
}
