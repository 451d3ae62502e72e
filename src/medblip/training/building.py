"""From a recipe to a new model and the processor that fits it."""

from __future__ import annotations

from typing import Any

from transformers import AutoTokenizer

from medblip.errors import InputError
from medblip.model import (
    MedBlipConfig,
    MedBlipForConditionalGeneration,
    MedBlipImageProcessor,
    MedBlipProcessor,
)
from medblip.model.bases import load_language, load_vision, resolve_base, weights_sha256
from medblip.recipe import ModelSection, Recipe
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
    vision_model = load_vision(vision_folder)
    language_model = load_language(language_folder, attn_implementation=section.attention)
    config = MedBlipConfig(
        vision_config=vision_model.config,
        text_config=language_model.config,
        qformer_config=section.qformer.model_dump(),
        vision_base=_base(section.vision, section.vision_revision, vision_folder),
        language_base=_base(section.language, section.language_revision, language_folder),
        **_plain_settings(section),
    )
    model = MedBlipForConditionalGeneration.from_components(config, vision_model, language_model)
    processor = MedBlipProcessor.for_model(
        config,
        MedBlipImageProcessor(preprocessing=parameters),
        AutoTokenizer.from_pretrained(language_folder),
    )
    return model, processor


def _plain_settings(section: ModelSection) -> dict[str, Any]:
    names = (
        "volume_size",
        "volume_patch_size",
        "patch_init",
        "skip_background",
        "itc_targets",
        "prompt_order",
    )
    lora = None if section.lora is None else section.lora.model_dump()
    return {name: getattr(section, name) for name in names} | {"lora": lora}


def _base(source: str, revision: str | None, folder: Any) -> dict[str, Any]:
    return {"source": source, "revision": revision, "sha256": weights_sha256(folder)}
