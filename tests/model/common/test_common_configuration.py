"""The configuration as a file, as a dictionary, in parts: what goes in comes out."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from common_inputs import KINDS, config_of
from transformers import AutoConfig, Dinov2Config, PreTrainedConfig

from medblip.model import MedBlipConfig, MedQFormerConfig


def same(config: PreTrainedConfig) -> dict[str, Any]:
    return config.to_dict() | {"_name_or_path": "", "architectures": None}


@pytest.mark.parametrize("language", KINDS)
def test_it_is_the_same_in_json_in_a_file_and_in_a_dictionary(
    tmp_path: Path, language: str
) -> None:
    config = config_of(language)
    config.to_json_file(tmp_path / "config.json")
    forms = {
        "string": MedBlipConfig.from_dict(json.loads(config.to_json_string())),
        "all of it": MedBlipConfig.from_dict(json.loads(config.to_json_string(use_diff=False))),
        "file": MedBlipConfig.from_json_file(tmp_path / "config.json"),
        "dictionary": MedBlipConfig.from_dict(config.to_dict()),
        "difference": MedBlipConfig(**config.to_diff_dict()),
        "copy": copy.deepcopy(config),
    }
    for name, again in forms.items():
        assert same(again) == same(config), name
        assert type(again.text_config) is type(config.text_config)


def test_it_is_saved_and_loaded_also_from_a_subfolder(tmp_path: Path) -> None:
    config = config_of()
    config.save_pretrained(tmp_path / "below")
    for again in (
        MedBlipConfig.from_pretrained(tmp_path / "below"),
        MedBlipConfig.from_pretrained(tmp_path, subfolder="below"),
        AutoConfig.from_pretrained(tmp_path / "below"),
    ):
        assert same(again) == same(config)


def test_its_parts_are_loaded_on_their_own(tmp_path: Path) -> None:
    config = config_of()
    config.save_pretrained(tmp_path)
    part = MedQFormerConfig.from_pretrained(tmp_path)
    assert same(part) == same(config.qformer_config)
    # and a part that was saved alone completes a whole
    config.vision_config.save_pretrained(tmp_path / "vision")
    vision = Dinov2Config.from_pretrained(tmp_path / "vision")
    assert same(MedBlipConfig(**config.to_diff_dict() | {"vision_config": vision})) == same(config)


def test_its_text_part_is_what_transformers_asks_for() -> None:
    config = config_of()
    for decoder in (None, True):
        assert config.get_text_config(decoder=decoder) is config.text_config
    assert config_of("t5").get_text_config(decoder=True).model_type == "t5"
    assert set(config.sub_configs) == {"vision_config", "text_config", "qformer_config"}


def test_common_properties_are_those_of_the_text_part() -> None:
    text = config_of().get_text_config()
    for name in ("vocab_size", "hidden_size", "num_attention_heads", "num_hidden_layers"):
        assert getattr(text, name) > 0


def test_keys_that_every_configuration_has_can_be_given() -> None:
    common: dict[str, Any] = {
        "return_dict": False,
        "output_hidden_states": True,
        "dtype": "float16",
        "architectures": ["MedBlipForConditionalGeneration"],
        "problem_type": "regression",
    }
    config = MedBlipConfig(**config_of().to_diff_dict() | common)
    assert config.return_dict is False
    assert config.output_hidden_states is True
    assert str(config.dtype) == "torch.float16"
    assert config.architectures == common["architectures"]


def test_loading_can_change_a_key(tmp_path: Path) -> None:
    config_of().save_pretrained(tmp_path)
    changed, rest = MedBlipConfig.from_pretrained(
        tmp_path, skip_background=True, return_unused_kwargs=True, unknown=3
    )
    assert changed.skip_background
    assert rest == {"unknown": 3}


def test_it_needs_no_argument() -> None:
    config = MedBlipConfig()
    assert config.num_patches == 343
    assert same(MedBlipConfig.from_dict(config.to_dict())) == same(config)
    assert same(MedQFormerConfig.from_dict(MedQFormerConfig().to_dict())) == same(
        MedQFormerConfig()
    )


def test_attention_is_handed_to_the_parts() -> None:
    config = config_of()
    config._attn_implementation = "eager"
    parts = [getattr(config, name) for name in config.sub_configs]
    assert {part._attn_implementation for part in parts} == {"eager"}
    config._attn_implementation = {"text_config": "sdpa"}
    assert config.text_config._attn_implementation == "sdpa"
    assert config.vision_config._attn_implementation == "eager"
