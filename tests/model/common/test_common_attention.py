"""Attention kernels: chosen at loading or later, for all or for one tower; absent ones refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from common_inputs import TOLERANCE, config_of, inputs, new_model, prompts
from tiny import LANGUAGES, VISIONS, based_model, build, relative_difference
from torch import Tensor
from transformers import AutoModelForImageTextToText, PreTrainedModel
from transformers.utils import is_flash_attn_2_available

from medblip.model import MedBlipForConditionalGeneration


def configs(model: MedBlipForConditionalGeneration) -> Iterator[Any]:
    """The model's configuration and every one below it."""
    yield model.config
    for name in model.config.sub_configs:
        yield getattr(model.config, name)


def kernels(model: MedBlipForConditionalGeneration) -> set[str]:
    modules = [m for m in model.modules() if isinstance(m, PreTrainedModel)]
    return {c._attn_implementation for c in (*configs(model), *(m.config for m in modules))}


def test_a_kernel_can_be_set_for_all() -> None:
    model = build()
    for kernel in ("eager", "sdpa", "eager"):
        model.set_attn_implementation(kernel)
        assert kernels(model) == {kernel}
    with pytest.raises(ValueError, match='Specified `attn_implementation="foo"`'):
        model.set_attn_implementation("foo")
    assert kernels(model) == {"eager"}


@pytest.mark.parametrize("part", ["vision_config", "text_config"])
def test_a_kernel_can_be_set_for_one_tower(part: str) -> None:
    model = build()
    model.set_attn_implementation("eager")
    model.set_attn_implementation({part: "sdpa"})
    found = {name: getattr(model.config, name)._attn_implementation for name in TOWERS}
    assert found == {**dict.fromkeys(TOWERS, "eager"), part: "sdpa"}
    assert model.config._attn_implementation == "eager"


TOWERS = ("vision_config", "text_config")


def test_the_configuration_can_ask_for_a_kernel() -> None:
    config = config_of()
    config._attn_implementation = "eager"
    assert kernels(MedBlipForConditionalGeneration(config)) == {"eager"}
    by_name = config_of()
    by_name._attn_implementation = {"text_config": "eager", "vision_config": "sdpa"}
    model = MedBlipForConditionalGeneration(by_name)
    assert model.language_model.config._attn_implementation == "eager"
    assert model.vision_model.config._attn_implementation == "sdpa"


@pytest.mark.parametrize("full", [True, False])
@pytest.mark.parametrize("kernel", ["eager", "sdpa"])
def test_loading_can_ask_for_a_kernel(tmp_path: Path, full: bool, kernel: str) -> None:
    based_model(tmp_path / "bases").save_pretrained(tmp_path / "model", full=full)
    for load in (MedBlipForConditionalGeneration, AutoModelForImageTextToText):
        loaded = load.from_pretrained(tmp_path / "model", attn_implementation=kernel)
        towers = (loaded.vision_model, loaded.language_model)
        assert {tower.config._attn_implementation for tower in towers} == {kernel}


def real_states(
    model: MedBlipForConditionalGeneration, language: str, kernel: str | dict[str, str]
) -> dict[str, list[Tensor]]:
    """All that a forward pass gives at real tokens; what is at padding depends on the kernel."""
    model.set_attn_implementation(kernel)
    given = inputs(language)
    real = given["attention_mask"].bool()
    with torch.no_grad():
        out = model(**given, output_hidden_states=True)
    states: dict[str, list[Tensor]] = {}
    for name in out.keys() - {"past_key_values"}:
        values = out[name] if isinstance(out[name], tuple) else (out[name],)
        states[name] = [v[real] if v.shape[:2] == real.shape else v for v in values]
    return states


def assert_near(
    found: dict[str, list[Tensor]], expected: dict[str, list[Tensor]], tolerance: float
) -> None:
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        for mine, theirs in zip(found[name], values, strict=True):
            difference = relative_difference(mine.float(), theirs.float())
            assert difference <= tolerance, f"{name}: largest difference {difference}"


@pytest.mark.parametrize("language", LANGUAGES)
def test_kernels_agree_on_everything(language: str) -> None:
    model = build(language)
    expected = real_states(model, language, "eager")
    assert_near(real_states(model, language, "sdpa"), expected, TOLERANCE)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_kernels_agree_in_half_precision(dtype: torch.dtype) -> None:
    model = build().to(dtype)
    expected = real_states(model, "llama", "eager")
    # 8 bits of bfloat16, two layers each
    assert_near(real_states(model, "llama", "sdpa"), expected, 0.05)


def test_flex_attention_agrees_where_a_tower_has_it() -> None:
    model = build()
    expected = real_states(model, "llama", "sdpa")
    with torch.compiler.set_stance("force_eager"):  # compiling it takes longer than all the rest
        found = real_states(model, "llama", {"text_config": "flex_attention"})
    assert model.language_model.config._attn_implementation == "flex_attention"
    assert_near(found, expected, TOLERANCE)


def test_a_tower_without_a_kernel_says_so() -> None:
    with pytest.raises(ValueError, match="GPT2LMHeadModel does not support"):
        build("gpt2").set_attn_implementation({"text_config": "flex_attention"})


@pytest.mark.skipif(is_flash_attn_2_available(), reason="it is there, so it is not refused")
def test_flash_attention_is_refused_by_name_where_it_is_absent(tmp_path: Path) -> None:
    based_model(tmp_path / "bases").save_pretrained(tmp_path / "model")
    new_model().save_pretrained(tmp_path / "full")
    for folder in ("model", "full"):
        with pytest.raises(ImportError, match=r"FlashAttention2 .*installed"):
            MedBlipForConditionalGeneration.from_pretrained(
                tmp_path / folder, attn_implementation="flash_attention_2"
            )
    model = build()
    with pytest.raises(ImportError, match="FlashAttention2"):
        model.set_attn_implementation("flash_attention_2")
    assert {model.config.text_config._attn_implementation} == {"sdpa"}


@pytest.mark.parametrize("vision", VISIONS)
def test_each_vision_tower_takes_both_kernels(vision: str) -> None:
    model = build(vision=vision)
    tokens = []
    for kernel in ("sdpa", "eager"):
        model.set_attn_implementation({"vision_config": kernel})
        with torch.no_grad():
            tokens.append(model.encode_image(inputs("llama")["pixel_values"])[0])
    assert relative_difference(*tokens) <= TOLERANCE


@pytest.mark.parametrize("language", LANGUAGES)
def test_kernels_generate_the_same(language: str) -> None:
    model = build(language)
    answers = []
    for kernel in ("sdpa", "eager"):
        model.set_attn_implementation(kernel)
        answers.append(model.generate(**prompts(), max_new_tokens=5, do_sample=False))
    assert torch.equal(*answers)
