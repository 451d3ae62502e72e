"""A state dict of the paper's reference repository (Qybc/MedBLIP) -> a checkpoint folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor
from transformers import AutoTokenizer, Blip2VisionConfig, PreTrainedModel

from medblip.errors import InputError
from medblip.model.base_identity import describe_base, identify
from medblip.model.bases import load_language, resolve_base
from medblip.model.config_file import read_config
from medblip.model.configuration_medblip import MedBlipConfig, MedQFormerConfig
from medblip.model.conversion.eva import LAYERS
from medblip.model.conversion.eva_names import join_biases
from medblip.model.conversion.language_check import check_same_language
from medblip.model.conversion.naming import check_shapes, count_blocks, take, without_prefix
from medblip.model.conversion.output_folder import refuse_used, whole_folder
from medblip.model.conversion.pickled import read_state_dict
from medblip.model.conversion.reference_names import (
    LEFT_OUT,
    VISION,
    Variant,
    find_variant,
    reference_names,
)
from medblip.model.conversion.reference_sizes import qformer_config, volume_sizes
from medblip.model.conversion.report import Conversion
from medblip.model.conversion.scan_axes import positions_to_ras, to_ras
from medblip.model.conversion.vision_base import blocks_config, empty_vision_model
from medblip.model.image_processing_medblip import MedBlipImageProcessor
from medblip.model.medqformer import MedQFormer
from medblip.model.modeling_medblip import MedBlipForConditionalGeneration
from medblip.model.processing_medblip import MedBlipProcessor
from medblip.storage import sha256_of_file

FILTER, PLACES = "patch_embedding.projection.weight", "patch_embedding.positions"
AS_THE_REFERENCE: dict[str, Any] = {
    "patch_init": "random",
    "itc_targets": "one_hot",
    "prefix_norm": False,
}
_ENTRY_2D = "the tower's 2D entry, which is never run: zeros"
_TEXT_STREAM = "the text stream of the contrastive losses: new values"
NOTES = (
    "the reference puts the record and the question before the image and keeps 'Answer:' between "
    "them; prompts here follow prompt_order, so give such ids yourself for its very answers",
    "the reference scales each scan by its own minimum and maximum, keeps the file's axes and does "
    "not look for the head; scans are prepared here as docs/data.md says",
    "the contrastive losses are not those of the reference: the text stream has other embeddings, "
    "one feed-forward network and a mean over tokens; answers do not depend on it",
)
_T5_ACTIVATION = (
    "the reference runs T5 with the exact GELU; for its very answers write "
    '"dense_act_fn": "gelu" into the config.json of --language before converting'
)
_UNCHECKED = "the state dict holds no language model, so --language was taken on trust"
_NO_TOKENIZER = "--language has no tokenizer, so the folder holds no processor"
_CONFIG_FIX = "give the folder that `medblip convert eva` wrote, or leave --vision-config out"


def convert_reference(
    source: Path,
    out: Path,
    *,
    language: str,
    revision: str | None = None,
    vision_config: Path | None = None,
    stored_as: str = "RAS",
) -> Conversion:
    """Write a checkpoint folder that answers as the reference's model does on the same tokens.

    Args:
        source: the repository's ``epochN.pth``.
        out: new checkpoint folder; the language model is named in it and not copied.
        language: folder or hub id of the language model that it was trained on.
        revision: commit or tag of a hub id.
        vision_config: folder or ``config.json`` of a ``Blip2VisionModel``, for another tower than
            ViT-g, whose sizes are read off the weights.
        stored_as: orientation of the voxel axes of the files it was trained on, see
            :mod:`medblip.model.conversion.scan_axes`.

    Raises:
        InputError: the file is damaged or holds code, weights are missing, unknown, of another
            shape or not finite, its language model is another one, or ``out`` is not empty.
            Nothing is written then.
        UsageError: ``stored_as`` does not name three axes.
    """
    refuse_used(out)
    found = read_state_dict(source)
    variant = _variant(found, source.name)
    taken, left, vision = _taken(found, variant, vision_config, source.name)
    sizes = volume_sizes(taken, source.name)
    taken[FILTER] = to_ras(taken[FILTER], stored_as)
    taken[PLACES] = positions_to_ras(taken[PLACES], stored_as)
    folder = resolve_base(language, revision)
    base = _language(folder, found, variant, source.name)
    identity = identify(folder)
    config = MedBlipConfig(
        vision_config=vision,
        text_config=base.config,
        qformer_config=qformer_config(taken, vision.hidden_size, source.name),
        language_base=describe_base(language, revision, identity),
        **sizes,
        **AS_THE_REFERENCE,
    )
    model, new = _assemble(config, taken, base, source.name)
    model.base_identities = {"language": identity}
    processor = _processor(config, folder)
    report = Conversion(
        folder=out,
        source=source.name,
        source_sha256=sha256_of_file(source),
        taken=list(taken),
        left_out=left,
        new=new,
        notes=_notes(found, variant, base, stored_as, processor),
    )
    with whole_folder(out) as written:
        model.save_pretrained(written)
        if processor is not None:
            processor.save_pretrained(written)
        report.write(written)
    return report


def _variant(found: Mapping[str, Tensor], where: str) -> Variant:
    variant = find_variant(found)
    if variant is None:
        raise InputError(
            where,
            "holds neither `t5_proj.weight` nor `proj.weight`, the map into the language model; "
            f"it holds {sorted({name.split('.')[0] for name in found})}",
            "give a state dict that the reference repository's trainer saved",
            code="incomplete-weights",
        )
    return variant


def _taken(
    found: Mapping[str, Tensor], variant: Variant, vision_config: Path | None, where: str
) -> tuple[dict[str, Tensor], dict[str, list[str]], Blip2VisionConfig]:
    """Weights by our names, what is left out, and the tower's configuration."""
    given = None
    layers = count_blocks(found, r"visual_encoder\.blocks\.(\d+)\.", LAYERS)
    if vision_config is not None:
        given = read_config(vision_config, Blip2VisionConfig, _CONFIG_FIX)
        layers = given.num_hidden_layers
    qformer_layers = count_blocks(found, r"Qformer\.bert\.encoder\.layer\.(\d+)\.", 12)
    with torch.device("meta"):
        qformer = MedQFormer(MedQFormerConfig(num_hidden_layers=qformer_layers)).state_dict()
    names = reference_names(found, variant, layers, qformer)
    taken, left = take(found, names, LEFT_OUT, where, "see docs/convert.md")
    taken = join_biases(taken, where)
    config = given or blocks_config(without_prefix(taken, VISION), layers, where)
    return taken, left, config


def _language(
    folder: Path, found: Mapping[str, Tensor], variant: Variant, where: str
) -> PreTrainedModel:
    """The base, loaded at the precision of the state dict's and compared with it."""
    theirs = without_prefix(found, variant.language)
    kinds = {tensor.dtype for tensor in theirs.values() if tensor.is_floating_point()}
    base = load_language(folder, dtype=kinds.pop() if len(kinds) == 1 else None)
    if bool(base.config.is_encoder_decoder) != variant.encoder_decoder:
        raise InputError(
            folder.name,
            f"is a {base.config.model_type}; the state dict's `{variant.projection}` maps into "
            f"{'FLAN-T5' if variant.encoder_decoder else 'BioMedLM'}",
            "give the language model that the state dict was trained on",
            code="other-language",
        )
    if theirs:
        check_same_language(theirs, base.state_dict(), where, folder.name)
    return base


def _assemble(
    config: MedBlipConfig, taken: Mapping[str, Tensor], base: PreTrainedModel, where: str
) -> tuple[MedBlipForConditionalGeneration, dict[str, str]]:
    """The model with every weight set, and those that the state dict does not have."""
    tower = empty_vision_model(cast(Blip2VisionConfig, config.vision_config))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # the same folder from the same file
        model = MedBlipForConditionalGeneration(config, tower, base)
    own = model.learned_state()
    check_shapes(taken, own, where)
    new = {
        name: _ENTRY_2D if name.startswith(VISION) else _TEXT_STREAM
        for name in own
        if name not in taken
    }
    with torch.no_grad():
        for name, tensor in taken.items():
            if not name.startswith(VISION):
                own[name].copy_(tensor)
    # The tower's stay at the state dict's precision.
    entry = {n: torch.zeros(own[n].shape) for n in new if n.startswith(VISION)}
    tower.load_state_dict(without_prefix({**taken, **entry}, VISION), strict=True, assign=True)
    return model, new


def _processor(config: MedBlipConfig, folder: Path) -> MedBlipProcessor | None:
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder)
    except (OSError, ValueError):
        return None
    image_processor = MedBlipImageProcessor(preprocessing={"size": config.volume_size})
    return MedBlipProcessor.for_model(config, image_processor, tokenizer)


def _notes(
    found: Mapping[str, Tensor],
    variant: Variant,
    base: PreTrainedModel,
    stored_as: str,
    processor: MedBlipProcessor | None,
) -> list[str]:
    notes = [f"patch filter and positions turned from files stored as {stored_as.upper()} to RAS"]
    if not any(name.startswith(variant.language) for name in found):
        notes.append(_UNCHECKED)
    if variant.encoder_decoder and base.config.dense_act_fn != "gelu":
        notes.append(_T5_ACTIVATION)
    if processor is None:
        notes.append(_NO_TOKENIZER)
    return [*notes, *NOTES]
