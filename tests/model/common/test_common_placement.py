"""Devices and storage: ``device_map`` for either form of checkpoint, quantisation of one part."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import infer_auto_device_map
from common_inputs import KINDS, inputs, prompts
from common_quantizer import SixteenthsConfig, is_rounded
from peft.tuners.lora import LoraLayer
from tiny import based_model, build
from torch import nn
from transformers import AutoModelForImageTextToText, BitsAndBytesConfig
from transformers.utils import is_bitsandbytes_available

from medblip.errors import UsageError
from medblip.model import MedBlipForConditionalGeneration

GREEDY = {"max_new_tokens": 4, "do_sample": False}


@pytest.fixture(scope="module", params=KINDS)
def saved(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Language, folder with ``on bases`` and ``full``, and the model they were saved from."""
    folder = tmp_path_factory.mktemp(request.param)
    model = based_model(folder / "bases", request.param)
    model.save_pretrained(folder / "on bases")
    model.save_pretrained(folder / "full", full=True)
    return request.param, folder, model


def size(model: nn.Module) -> int:
    return sum(p.numel() * p.element_size() for p in model.parameters())


def assert_works(loaded: Any, model: Any, language: str) -> None:
    with torch.no_grad():
        assert torch.equal(loaded(**inputs(language)).logits, model(**inputs(language)).logits)
    assert torch.equal(
        loaded.generate(**prompts(), **GREEDY), model.generate(**prompts(), **GREEDY)
    )


@pytest.mark.parametrize("form", ["full", "on bases"])
@pytest.mark.parametrize("device_map", ["auto", "sequential", "cpu", {"": "cpu"}])
def test_a_model_can_be_put_on_its_devices(saved: Any, form: str, device_map: Any) -> None:
    language, folder, model = saved
    loaded = AutoModelForImageTextToText.from_pretrained(folder / form, device_map=device_map)
    assert_works(loaded, model, language)
    assert {p.device.type for p in loaded.parameters()} == {"cpu"}


@pytest.mark.parametrize("form", ["full", "on bases"])
def test_what_does_not_fit_lies_on_disk(saved: Any, form: str, tmp_path: Path) -> None:
    language, folder, model = saved
    loaded = MedBlipForConditionalGeneration.from_pretrained(
        folder / form,
        device_map="auto",
        max_memory={"cpu": size(model) // 2},
        offload_folder=str(tmp_path),
    )
    assert set(loaded.hf_device_map.values()) == {"cpu", "disk"}
    away = [name for name, p in loaded.named_parameters() if p.is_meta]
    assert away
    for name in away:
        assert any(loaded.hf_device_map.get(part) == "disk" for part in parents(name)), name
    assert_works(loaded, model, language)


def parents(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[: i + 1]) for i in range(len(parts))]


def test_each_module_can_be_put_by_name(saved: Any, tmp_path: Path) -> None:
    language, folder, model = saved
    tower = {"language_model": "disk"}
    own = {name: "cpu" for name, _ in model.named_children() if name not in tower}
    own |= {name: "cpu" for name, _ in model.named_parameters(recurse=False)}
    loaded = MedBlipForConditionalGeneration.from_pretrained(
        folder / "on bases", device_map=own | tower, offload_folder=str(tmp_path)
    )
    assert all(p.is_meta for p in loaded.language_model.parameters())
    assert not any(p.is_meta for p in loaded.vision_model.parameters())
    assert_works(loaded, model, language)


def test_a_used_offload_folder_is_refused(saved: Any, tmp_path: Path) -> None:
    """accelerate would take what lies there for this model's weights, whichever they are."""
    _, folder, model = saved
    options = {"device_map": "auto", "max_memory": {"cpu": size(model) // 2}}
    load = MedBlipForConditionalGeneration.from_pretrained
    load(folder / "on bases", **options, offload_folder=str(tmp_path))
    with pytest.raises(UsageError, match="already holds offloaded weights") as caught:
        load(folder / "on bases", **options, offload_folder=str(tmp_path))
    assert caught.value.code == "offload-folder-used"


def test_blocks_stay_whole(saved: Any) -> None:
    language, _, model = saved
    block = {"llama": "LlamaDecoderLayer", "gpt2": "GPT2Block", "t5": "T5Block"}[language]
    whole = {block, "Dinov2Layer", "MedQFormerLayer", "PatchEmbedding3d"}
    assert whole <= model._no_split_modules
    split = infer_auto_device_map(
        model, {0: size(model) // 3, "cpu": 10**9}, sorted(model._no_split_modules)
    )
    blocks = [n for n, m in model.named_modules() if type(m).__name__ in whole]
    assert blocks
    assert not [key for key in split for b in blocks if key.startswith(f"{b}.")]


# --------------------------------------------------------------------------- quantisation
@pytest.mark.parametrize("lora", [{"r": 2, "lora_alpha": 4}, None])
def test_the_language_model_alone_is_quantised(tmp_path: Path, lora: dict[str, Any] | None) -> None:
    """By a method that runs anywhere; bitsandbytes takes the same way."""
    model = based_model(tmp_path / "bases", lora=lora)
    model.save_pretrained(tmp_path / "model")
    loaded = MedBlipForConditionalGeneration.from_pretrained(
        tmp_path / "model", quantization_config=SixteenthsConfig()
    )
    linear = {n: m for n, m in loaded.named_modules() if isinstance(m, nn.Linear)}
    rounded = {name for name, module in linear.items() if is_rounded(module)}
    assert rounded == {n for n in linear if n.startswith("language_model.") and "lora_" not in n}
    assert sum(isinstance(m, LoraLayer) for m in loaded.modules()) == (4 if lora else 0)
    for name, parameter in model.named_parameters():
        if not name.startswith("language_model.") or "lora_" in name:
            assert torch.equal(loaded.get_parameter(name), parameter), name
    with torch.no_grad():
        assert torch.isfinite(loaded(**prompts()).logits).all()
    assert len(loaded.generate(**prompts(), **GREEDY)) == 3


def test_a_quantised_model_is_saved_without_its_language_model(tmp_path: Path) -> None:
    model = based_model(tmp_path / "bases")
    model.save_pretrained(tmp_path / "model")
    loaded = MedBlipForConditionalGeneration.from_pretrained(
        tmp_path / "model", quantization_config=SixteenthsConfig()
    )
    loaded.save_pretrained(tmp_path / "again")
    again = MedBlipForConditionalGeneration.from_pretrained(tmp_path / "again")
    with torch.no_grad():
        assert torch.equal(again(**prompts()).logits, model(**prompts()).logits)
    with pytest.raises(UsageError, match="quantised") as caught:
        loaded.save_pretrained(tmp_path / "full", full=True)
    assert caught.value.code == "quantised"


@pytest.mark.parametrize("roles", [(), ("vision",)])
def test_a_language_model_inside_the_checkpoint_is_not_quantised(
    tmp_path: Path, roles: tuple[str, ...]
) -> None:
    based_model(tmp_path / "bases", roles=roles).save_pretrained(tmp_path / "model")
    with pytest.raises(UsageError, match="does not apply to this checkpoint"):
        MedBlipForConditionalGeneration.from_pretrained(
            tmp_path / "model", quantization_config=SixteenthsConfig()
        )


@pytest.mark.skipif(is_bitsandbytes_available(), reason="it is there, so nothing is missing")
@pytest.mark.parametrize("bits", ["load_in_8bit", "load_in_4bit"])
def test_a_missing_bitsandbytes_names_the_extra(tmp_path: Path, bits: str) -> None:
    based_model(tmp_path / "bases").save_pretrained(tmp_path / "model")
    with pytest.raises(UsageError, match=r"bitsandbytes.*pip install 'medblip\[quant\]'") as caught:
        MedBlipForConditionalGeneration.from_pretrained(
            tmp_path / "model", quantization_config=BitsAndBytesConfig(**{bits: True})
        )
    assert caught.value.code == "missing-extra"


def test_the_model_can_be_moved_and_cast_after_loading() -> None:
    model = build().to(torch.float64)
    given = prompts()
    with torch.no_grad():
        assert model(**given).logits.dtype == torch.float64
