"""The configuration: what it refuses, what it derives, and that it is the file on disk."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub.errors import StrictDataclassError
from tiny import (
    LANGUAGES,
    VISIONS,
    language_tower,
    settings,
    text_config,
    vision_config,
    vision_tower,
    vocabulary,
)
from transformers import AutoConfig

from medblip.model import MedBlipConfig, MedQFormerConfig
from medblip.model.configuration_medblip import LOSSES


def make(**changed: Any) -> MedBlipConfig:
    return MedBlipConfig(
        vision_config=vision_config(), text_config=text_config(), **settings(**changed)
    )


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"volume_sise": 16}, "unknown key `volume_sise`; did you mean `volume_size`"),
        ({"itc_target": "one_hot"}, "unknown key `itc_target`; did you mean `itc_targets`"),
        ({"qqqq": 1}, "unknown key `qqqq`; known: .*volume_size"),
        ({"qformer_config": {"num_query_token": 4}}, "did you mean `num_query_tokens`"),
        ({"qformer_config": {"hidden_size": 770}}, "hidden_size 770 is not a multiple of num_att"),
        ({"volume_size": 17}, "volume_size 17 is not a multiple of volume_patch_size 8"),
        ({"volume_patch_size": 0}, "volume_size 16 is not a multiple of volume_patch_size 0"),
        ({"loss_weights": {"lm": 1.0}}, r"loss_weights: unknown \['lm'\]; known: .*'language'"),
        ({"loss_weights": {"language": "much"}}, "loss_weights"),
        ({"volume_size": "big"}, "'volume_size' expected int, got str"),
        ({"patch_init": "inflated"}, "expected one of .*'inflate', 'random'"),
        ({"itc_targets": "both"}, "expected one of .*'same_text', 'one_hot'"),
        ({"prompt_order": "text_first"}, "expected one of .*'question_image_text'"),
        ({"lora": 8}, "'lora' with value 8"),
        ({"qformer_config": {"hidden_act": 1}}, "'hidden_act' expected str"),
    ],
)
def test_a_wrong_setting_is_refused_by_name(changed: dict[str, Any], message: str) -> None:
    with pytest.raises((ValueError, StrictDataclassError), match=message):
        make(**changed)


@pytest.mark.parametrize(
    ("language", "vision"),
    [*((language, "dinov2") for language in LANGUAGES), *(("llama", v) for v in VISIONS[1:])],
)
def test_what_is_written_is_what_is_read(tmp_path: Path, language: str, vision: str) -> None:
    config = MedBlipConfig(
        vision_config=vision_config(vision),
        text_config=text_config(language),
        **settings(
            patch_init="random",
            skip_background=True,
            itc_targets="one_hot",
            loss_weights={"language": 0.5},
            prompt_order="question_image_text",
            lora={"r": 4, "target_modules": ["q"]},
            language_base={"source": "somewhere", "revision": None, "sha256": "0" * 64},
        ),
    )
    config.save_pretrained(tmp_path)
    for again in (MedBlipConfig.from_pretrained(tmp_path), AutoConfig.from_pretrained(tmp_path)):
        assert type(again) is MedBlipConfig
        assert again.to_dict() | {"_name_or_path": ""} == config.to_dict()
        assert type(again.text_config) is type(config.text_config)
        assert type(again.vision_config) is type(config.vision_config)
        assert type(again.qformer_config) is MedQFormerConfig
    written = json.loads((tmp_path / "config.json").read_text())
    assert written["model_type"] == "medblip"
    assert written["loss_weights"] == dict.fromkeys(LOSSES, 1.0) | {"language": 0.5}


def test_sizes_are_derived() -> None:
    config = make(volume_size=24)
    assert (config.grid_size, config.num_patches) == (3, 27)
    assert config.qformer_config.encoder_hidden_size == config.vision_config.hidden_size
    assert config.image_token_id == len(vocabulary())
    paper = MedBlipConfig()
    assert (paper.num_patches, paper.qformer_config.num_query_tokens) == (343, 32)
    assert paper.qformer_config.encoder_hidden_size == 1408
    assert (paper.vision_config.model_type, paper.text_config.model_type) == (
        "blip_2_vision_model",
        "gpt2",
    )


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_kind_of_language_model_is_derived(language: str) -> None:
    config = MedBlipConfig(
        vision_config=vision_config(), text_config=text_config(language), **settings()
    )
    assert config.is_encoder_decoder == (language == "t5")


def test_a_loaded_towers_configuration_stays_its_own() -> None:
    towers = vision_tower(), language_tower()
    before = [copy.deepcopy(tower.config.__dict__) for tower in towers]
    assert before[1]["_attn_implementation_internal"] == "sdpa"
    config = MedBlipConfig(
        vision_config=towers[0].config, text_config=towers[1].config, **settings()
    )
    config.text_config.vocab_size = 7
    config._attn_implementation = "eager"
    assert [tower.config.__dict__ for tower in towers] == before
