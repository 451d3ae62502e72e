"""A BLIP-2 checkpoint in transformers' format -> a vision base and a start for the MedQFormer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor
from transformers import Blip2Config, Blip2VisionConfig

from medblip.model.base_identity import identify
from medblip.model.bases import resolve_base
from medblip.model.config_file import read_config
from medblip.model.configuration_medblip import MedQFormerConfig
from medblip.model.conversion.naming import check_shapes, take, without_prefix
from medblip.model.conversion.output_folder import refuse_used, whole_folder
from medblip.model.conversion.qformer_init import SUBFOLDER, write_qformer_init
from medblip.model.conversion.report import Conversion
from medblip.model.conversion.shards import FolderTensors
from medblip.model.conversion.vision_base import empty_vision_model, write_vision_base
from medblip.model.medqformer import MedQFormer

VISION = "vision_model."
QFORMER = "qformer."
# Of the image-text-retrieval checkpoint; each group is there as a whole or not at all.
TEXT_STREAM = (
    {"embeddings.position_embeddings.weight": "text_positions.weight"},
    {f"vision_projection.{kind}": f"image_contrast.{kind}" for kind in ("weight", "bias")},
    {f"text_projection.{kind}": f"text_contrast.{kind}" for kind in ("weight", "bias")},
)
LEFT_OUT = {
    r"language_model\..+": "that checkpoint's language model",
    r"language_projection\.(weight|bias)": "fits the width of that language model alone",
    r"embeddings\.word_embeddings\.weight": "texts enter by the language model's own embeddings",
    r"qformer\.encoder\.layer\.\d+\.(intermediate|output)\..+": "the feed-forward network of "
    "BLIP-2's text stream; here that of the query stream serves both",
    r"itm_head\.(weight|bias)": "there is no image-text matching loss",
    r"(.+\.)?position_ids": "counted, not learned",
}
_SHARED = (  # fields of both configurations
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "hidden_act",
    "layer_norm_eps",
    "cross_attention_frequency",
    "encoder_hidden_size",
)
_FIX = (
    "give a checkpoint of transformers' Blip2ForConditionalGeneration, Blip2Model or "
    "Blip2ForImageTextRetrieval"
)


def convert_blip2(source: str, out: Path, *, revision: str | None = None) -> Conversion:
    """Write the vision tower and the Q-Former of a BLIP-2 checkpoint.

    Args:
        source: folder or hub id (``Salesforce/blip2-flan-t5-xl``) of a BLIP-2 model of
            transformers, for generation or for image-text retrieval, in safetensors.
        out: new folder: ``vision``, a base that ``model.vision`` of a recipe can name;
            ``qformer``, for :func:`load_qformer_init`; and ``conversion.json``.
        revision: commit or tag of a hub id.

    Raises:
        InputError: it is not a BLIP-2 checkpoint, a file is absent or damaged, or weights are
            missing, unknown, of another shape or not finite, or ``out`` is not empty. Nothing is
            written then.
    """
    refuse_used(out)
    folder = resolve_base(source, revision)
    config = read_config(folder, Blip2Config, _FIX)
    qformer = _qformer_config(config)
    found = FolderTensors(folder)
    shapes = _shapes(config, qformer)
    taken, left = take(found, _names(shapes, found), LEFT_OUT, folder.name, "see docs/convert.md")
    check_shapes(taken, shapes, folder.name)
    vision = without_prefix(taken, VISION)
    start = {name: tensor for name, tensor in taken.items() if not name.startswith(VISION)}
    name = source if not Path(source).is_dir() else folder.name
    report = Conversion(out, name, identify(folder).sha256, list(taken), left)
    with whole_folder(out) as written:
        (written / SUBFOLDER).mkdir()
        write_vision_base(written / "vision", _vision_config(config), vision, folder.name)
        described = {key: report.as_dict()[key] for key in ("source", "source_sha256", "left_out")}
        write_qformer_init(written / SUBFOLDER, qformer, start, **described)
        report.write(written)
    return report


def _names(shapes: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> dict[str, str]:
    """Source's name -> ours; of the text stream what the checkpoint has."""
    optional = {ours for group in TEXT_STREAM for ours in group.values()}
    names = {name: name for name in shapes if name not in optional}
    for group in TEXT_STREAM:
        if any(theirs in found for theirs in group):
            names |= group
    return names


def _shapes(config: Blip2Config, qformer: MedQFormerConfig) -> dict[str, Tensor]:
    """Every weight that can be taken, by our name, without memory."""
    vision = _vision_config(config)
    text: Any = config.qformer_config
    contrast = (config.image_text_hidden_size, qformer.hidden_size)
    with torch.device("meta"):
        query_stream = MedQFormer(qformer).state_dict()
        return {
            **{VISION + n: t for n, t in empty_vision_model(vision).state_dict().items()},
            **{QFORMER + n: t for n, t in query_stream.items()},
            "query_tokens": torch.empty(1, qformer.num_query_tokens, qformer.hidden_size),
            "text_positions.weight": torch.empty(text.max_position_embeddings, text.hidden_size),
            "image_contrast.weight": torch.empty(contrast),
            "image_contrast.bias": torch.empty(contrast[:1]),
            "text_contrast.weight": torch.empty(contrast),
            "text_contrast.bias": torch.empty(contrast[:1]),
        }


def _vision_config(config: Blip2Config) -> Blip2VisionConfig:
    return cast(Blip2VisionConfig, config.vision_config)


def _qformer_config(config: Blip2Config) -> MedQFormerConfig:
    theirs: Any = config.qformer_config
    return MedQFormerConfig(
        num_query_tokens=config.num_query_tokens,
        max_text_positions=theirs.max_position_embeddings,
        **{name: getattr(theirs, name) for name in _SHARED},
    )
