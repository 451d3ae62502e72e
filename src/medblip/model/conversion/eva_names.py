"""EVA-CLIP's ViT as LAVIS names it (``blocks.0.attn.q_bias``) -> as ``Blip2VisionModel`` does."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from medblip.errors import InputError

_BLOCK = {
    "norm1": "layer_norm1",
    "norm2": "layer_norm2",
    "attn.proj": "self_attn.projection",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
}
_BIASES = ("q_bias", "v_bias")  # the key has none
ENTRY = {  # the 2D entry
    "cls_token": "embeddings.class_embedding",
    "pos_embed": "embeddings.position_embedding",
    "patch_embed.proj.weight": "embeddings.patch_embedding.weight",
    "patch_embed.proj.bias": "embeddings.patch_embedding.bias",
}


def block_names(layers: int) -> dict[str, str]:
    """LAVIS's name -> ours, of the weights of so many blocks."""
    names: dict[str, str] = {}
    for i in range(layers):
        theirs, ours = f"blocks.{i}.", f"encoder.layers.{i}."
        for kind in ("weight", "bias"):
            names |= {f"{theirs}{a}.{kind}": f"{ours}{b}.{kind}" for a, b in _BLOCK.items()}
        names[f"{theirs}attn.qkv.weight"] = f"{ours}self_attn.qkv.weight"
        names |= {f"{theirs}attn.{bias}": f"{ours}self_attn.{bias}" for bias in _BIASES}
    return names


def join_biases(tensors: Mapping[str, Tensor], where: str) -> dict[str, Tensor]:
    """Query and value bias of each block as the one of the fused map, with zeros for the key.

    Raises:
        InputError: the two are not of one length.
    """
    joined = {name: t for name, t in tensors.items() if not name.endswith(_BIASES)}
    for name, query in tensors.items():
        if not name.endswith(_BIASES[0]):
            continue
        attention = name.removesuffix(_BIASES[0])
        value = tensors[attention + _BIASES[1]]
        if query.ndim != 1 or query.shape != value.shape:
            raise InputError(
                where,
                f"{attention}{{q,v}}_bias of shapes {tuple(query.shape)}, {tuple(value.shape)} "
                "for two of one length",
                "check that it is a checkpoint of EVA-CLIP's ViT-g",
                code="other-shape",
            )
        joined[f"{attention}qkv.bias"] = torch.cat([query, torch.zeros_like(query), value])
    return joined
