"""A start for the MedQFormer from BLIP-2's Q-Former: the folder it lies in, and copying it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from medblip.errors import InputError
from medblip.model.configuration_medblip import MedQFormerConfig
from medblip.model.modeling_medblip import MedBlipForConditionalGeneration
from medblip.model.weight_files import check_fit, read_tensors, save_tensors
from medblip.storage import write_json

SUBFOLDER = "qformer"
WEIGHTS = "qformer.safetensors"
DESCRIPTION = "qformer.json"
# Weights fit by shape whatever these are, and then mean something else.
UNSEEN_IN_SHAPES = ("num_attention_heads", "hidden_act", "layer_norm_eps")
_QUERY_STREAM = ("qformer.", "query_tokens")
_POSITIONS = "text_positions.weight"


@dataclass(frozen=True)
class QFormerInit:
    """What :func:`load_qformer_init` did.

    Attributes:
        copied: names of the model's weights that were set.
        not_copied: name -> reason, of weights in the folder that the model has no room for.
    """

    copied: tuple[str, ...]
    not_copied: Mapping[str, str]


def write_qformer_init(
    folder: Path, config: MedQFormerConfig, weights: Mapping[str, Tensor], **described: Any
) -> None:
    """Write ``qformer.safetensors`` and ``qformer.json``.

    Args:
        folder: an existing folder.
        config: of the Q-Former that the weights are from.
        weights: by the names of :class:`MedBlipForConditionalGeneration`.
        described: what else the JSON file says: where they are from, what was left out.
    """
    save_tensors(dict(weights), folder / WEIGHTS)
    sizes = {name: getattr(config, name) for name in UNSEEN_IN_SHAPES}
    write_json(
        folder / DESCRIPTION,
        {"format_version": 1, "qformer_config": sizes, "taken": sorted(weights), **described},
    )


@torch.no_grad()
def load_qformer_init(model: MedBlipForConditionalGeneration, folder: Path) -> QFormerInit:
    """Copy a Q-Former that ``medblip convert blip2`` wrote into ``model``.

    The query stream and the query tokens are copied weight for weight. What an image-text-retrieval
    checkpoint adds is copied where the shapes allow: the projections into the contrastive space,
    and of the text positions as many as the model has.

    Args:
        model: changed in place.
        folder: of the conversion, or the ``qformer`` in it.

    Raises:
        InputError: the folder is not one, its weights are damaged or not finite, or the query
            stream is of another architecture than the model's. Nothing is copied then.
    """
    if (folder / SUBFOLDER / DESCRIPTION).is_file():
        folder = folder / SUBFOLDER
    _check_architecture(model.config.qformer_config, _description(folder))
    found = read_tensors(folder / WEIGHTS)
    own = model.state_dict()
    query_stream = {n: t for n, t in found.items() if n.startswith(_QUERY_STREAM)}
    wanted = {n: t for n, t in own.items() if n.startswith(_QUERY_STREAM)}
    check_fit(query_stream, wanted, f"{folder.name}/{WEIGHTS}")
    copied, not_copied = dict(query_stream), {}
    for name in sorted(found.keys() - query_stream.keys()):
        tensor, reason = _fitting(name, found[name], own.get(name))
        if tensor is None:
            not_copied[name] = reason
        else:
            copied[name] = tensor
    for name, tensor in copied.items():
        own[name].copy_(tensor)
    return QFormerInit(tuple(sorted(copied)), not_copied)


def _fitting(name: str, found: Tensor, own: Tensor | None) -> tuple[Tensor | None, str]:
    """What to copy of a weight beside the query stream, or None and why not."""
    if own is None:
        return None, "the model has no weight of this name"
    if name == _POSITIONS and found.ndim == 2 and len(found) > len(own):
        found = found[: len(own)]
    if found.shape != own.shape:
        return None, f"its shape is {tuple(found.shape)}, the model's {tuple(own.shape)}"
    return found, ""


def _description(folder: Path) -> dict[str, Any]:
    try:
        described: dict[str, Any] = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
        return dict(described["qformer_config"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            str(folder),
            f"holds no {DESCRIPTION} that can be read ({type(error).__name__})",
            "name the folder that `medblip convert blip2` wrote",
            code="no-qformer-init",
        ) from error


def _check_architecture(own: Any, found: Mapping[str, Any]) -> None:
    others = [
        f"{name} {found.get(name)!r} for {getattr(own, name)!r}"
        for name in UNSEEN_IN_SHAPES
        if found.get(name) != getattr(own, name)
    ]
    if others:
        raise InputError(
            DESCRIPTION,
            f"the Q-Former differs from the model's: {', '.join(others)}",
            "give the recipe's model.qformer the values of the Q-Former it starts from",
            code="other-qformer",
        )
