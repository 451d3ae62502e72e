"""From a recipe to a new model and the processor that fits it."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import AutoTokenizer

from medblip.errors import InputError
from medblip.model import (
    MedBlipForConditionalGeneration,
    MedBlipImageProcessor,
    MedBlipProcessor,
)
from medblip.model.architecture import check_architecture, combine
from medblip.model.base_identity import describe_base, identify
from medblip.model.bases import load_language, load_vision, resolve_base
from medblip.model.conversion import load_qformer_init
from medblip.recipe import Recipe
from medblip.study.study import Study


def build(recipe: Recipe, study: Study) -> tuple[MedBlipForConditionalGeneration, MedBlipProcessor]:
    """A new model round the recipe's pretrained towers, and its processor.

    Raises:
        InputError: a base is missing, or the study was prepared at another volume size.
    """
    section = recipe.model
    parameters = dict(study.info.preprocessing.parameters)
    parameters.pop("version", None)  # the fingerprint in study.json stands for it
    if parameters["size"] != section.volume_size:
        raise InputError(
            "study.json",
            f"volumes were prepared at size {parameters['size']}, "
            f"the recipe's model.volume_size is {section.volume_size}",
            f"prepare the study again with --size {section.volume_size}",
            code="other-volume-size",
        )
    vision_folder = resolve_base(section.vision, section.vision_revision)
    language_folder = resolve_base(section.language, section.language_revision)
    dtype = getattr(torch, section.base_dtype)
    vision_model = load_vision(vision_folder, dtype)
    language_model = load_language(language_folder, dtype, attn_implementation=section.attention)
    for tower, stated, key, folder in (
        (vision_model, section.vision_architecture, "vision", vision_folder),
        (language_model, section.language_architecture, "language", language_folder),
    ):
        check_architecture(tower.config, stated, key, folder)
    identities = {"vision": identify(vision_folder), "language": identify(language_folder)}
    config = combine(
        section,
        vision_model.config,
        language_model.config,
        vision_base=describe_base(section.vision, section.vision_revision, identities["vision"]),
        language_base=describe_base(
            section.language, section.language_revision, identities["language"]
        ),
    )
    model = MedBlipForConditionalGeneration.from_components(config, vision_model, language_model)
    model.base_identities = identities
    if section.qformer_init:
        load_qformer_init(model, Path(section.qformer_init))
    processor = MedBlipProcessor.for_model(
        config,
        MedBlipImageProcessor(preprocessing=parameters),
        AutoTokenizer.from_pretrained(language_folder),
    )
    return model, processor
