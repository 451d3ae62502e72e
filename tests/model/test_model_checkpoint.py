"""What is saved is what is loaded, to the bit, round verified bases or in one folder."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from tiny import (
    LANGUAGES,
    based_model,
    head_scan,
    language_tower,
    padded,
    prompt_rows,
    settings,
    tokenizer,
    training_batch,
    vision_tower,
    volumes,
)
from transformers import AutoModelForImageTextToText, AutoProcessor

from medblip.model import (
    MedBlipConfig,
    MedBlipForConditionalGeneration,
    MedBlipImageProcessor,
    MedBlipProcessor,
)
from medblip.model.bases import describe_base, load_language, resolve_base

PARTS = ("logits", "query_states", "itc_record", "itc_answer", "language", "loss")


def assert_same_outputs(
    model: MedBlipForConditionalGeneration, loaded: MedBlipForConditionalGeneration
) -> None:
    assert not loaded.training
    batch = training_batch(model)
    with torch.no_grad():
        expected, found = model(**batch), loaded(**batch)
    for part in PARTS:
        assert torch.equal(expected[part], found[part]), part
    inputs = padded(prompt_rows([4, 6])) | {"pixel_values": volumes(2)}
    options: dict[str, Any] = {"max_new_tokens": 4, "do_sample": False}
    assert torch.equal(model.generate(**inputs, **options), loaded.generate(**inputs, **options))


@pytest.mark.parametrize("language", LANGUAGES)
def test_learned_weights_alone_come_back_to_the_bit(tmp_path: Path, language: str) -> None:
    model = based_model(tmp_path, language)
    model.save_pretrained(tmp_path / "checkpoint")
    assert_same_outputs(
        model, MedBlipForConditionalGeneration.from_pretrained(tmp_path / "checkpoint")
    )
    saved = load_file(tmp_path / "checkpoint" / "model.safetensors")
    learned = {n for n, p in model.named_parameters() if p.requires_grad and "lora_" not in n}
    assert saved.keys() == learned
    files = {str(p.relative_to(tmp_path / "checkpoint")) for p in tmp_path.rglob("checkpoint/**/*")}
    assert files >= {"config.json", "adapter/adapter_config.json"}
    assert not {name for name in files if name.endswith((".bin", ".pt", ".pkl"))}


@pytest.mark.parametrize("roles", [("vision",), ("language",), ()])
def test_towers_without_a_recorded_base_are_saved_along(
    tmp_path: Path, roles: tuple[str, ...]
) -> None:
    model = based_model(tmp_path, "gpt2", roles)  # whose embeddings are tied
    model.save_pretrained(tmp_path / "checkpoint")
    for role in {"vision", "language"} - set(roles):
        shutil.rmtree(tmp_path / role)
    assert_same_outputs(
        model, MedBlipForConditionalGeneration.from_pretrained(tmp_path / "checkpoint")
    )


@pytest.mark.parametrize("language", ["llama", "gpt2", "t5"])
def test_a_full_folder_needs_no_base_and_loads_by_auto_class(tmp_path: Path, language: str) -> None:
    model = based_model(tmp_path, language)
    processor = MedBlipProcessor.for_model(
        model.config, MedBlipImageProcessor({"size": 16}), tokenizer(), max_length=64
    )
    model.save_pretrained(tmp_path / "full", full=True)
    processor.save_pretrained(tmp_path / "full")
    shutil.rmtree(tmp_path / "vision")
    shutil.rmtree(tmp_path / "language")
    loaded = AutoModelForImageTextToText.from_pretrained(tmp_path / "full")
    assert isinstance(loaded, MedBlipForConditionalGeneration)
    assert loaded.config.vision_base is loaded.config.language_base is None
    assert model.config.vision_base is not None  # saving has not changed the model
    assert_same_outputs(model, loaded)

    again = AutoProcessor.from_pretrained(tmp_path / "full")
    assert isinstance(again, MedBlipProcessor)
    asked = {"volumes": [head_scan()], "records": ["aged 71"], "questions": ["Which?"]}
    expected, found = processor(**asked), again(**asked)
    assert expected.keys() == found.keys() == {"input_ids", "attention_mask", "pixel_values"}
    for name in expected:
        assert torch.equal(expected[name], found[name]), name
    with torch.no_grad():
        assert torch.equal(model.prepare_prompt(**expected)[0], loaded.prepare_prompt(**found)[0])


def test_a_checkpoint_on_bases_loads_by_auto_class_too(tmp_path: Path) -> None:
    model = based_model(tmp_path)
    model.save_pretrained(tmp_path / "checkpoint")
    assert_same_outputs(model, AutoModelForImageTextToText.from_pretrained(tmp_path / "checkpoint"))


def test_a_loaded_checkpoint_can_be_saved_again(tmp_path: Path) -> None:
    model = based_model(tmp_path)
    model.save_pretrained(tmp_path / "first")
    MedBlipForConditionalGeneration.from_pretrained(tmp_path / "first").save_pretrained(
        tmp_path / "second"
    )
    for name in ("model.safetensors", "config.json", "adapter/adapter_config.json"):
        first, second = ((tmp_path / n / name).read_bytes() for n in ("first", "second"))
        assert first == second, name
    first, second = (
        load_file(tmp_path / n / "adapter" / "adapter_model.safetensors")
        for n in ("first", "second")
    )
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_bases_may_move_but_not_change(tmp_path: Path) -> None:
    model = based_model(tmp_path / "old")
    model.save_pretrained(tmp_path / "checkpoint")
    (tmp_path / "old").rename(tmp_path / "new")
    bases = {role: str(tmp_path / "new" / role) for role in ("vision", "language")}
    assert_same_outputs(
        model,
        MedBlipForConditionalGeneration.from_pretrained(tmp_path / "checkpoint", bases=bases),
    )


def test_the_configuration_names_each_base(tmp_path: Path) -> None:
    based_model(tmp_path).save_pretrained(tmp_path / "checkpoint")
    written = json.loads((tmp_path / "checkpoint" / "config.json").read_text())
    for role in ("vision", "language"):
        base = written[f"{role}_base"]
        assert base == describe_base(str(tmp_path / role))
        assert base["source"] == str(tmp_path / role)
        assert len(base["sha256"]) == 64
        assert resolve_base(base["source"]) == tmp_path / role
    adapter = json.loads((tmp_path / "checkpoint/adapter/adapter_config.json").read_text())
    assert adapter["base_model_name_or_path"] == str(tmp_path / "language")


def test_the_adapter_is_pefts_own(tmp_path: Path) -> None:
    model = based_model(tmp_path)
    model.save_pretrained(tmp_path / "checkpoint")
    plain = load_language(tmp_path / "language")
    ids = torch.tensor([[9, 30, 77]])
    with torch.no_grad():
        expected = model.language_model(ids).logits
        assert not torch.equal(plain(ids).logits, expected)
        alone = PeftModel.from_pretrained(plain, str(tmp_path / "checkpoint" / "adapter"))
        assert torch.equal(alone(ids).logits, expected)


def test_options_reach_the_towers(tmp_path: Path) -> None:
    based_model(tmp_path).save_pretrained(tmp_path / "checkpoint")
    for load in (
        MedBlipForConditionalGeneration.from_pretrained,
        AutoModelForImageTextToText.from_pretrained,
    ):
        loaded = load(tmp_path / "checkpoint", dtype=torch.bfloat16, attn_implementation="eager")
        for tower in (loaded.vision_model, loaded.language_model):
            assert tower.dtype == torch.bfloat16
            assert tower.config._attn_implementation == "eager"
        assert loaded.query_tokens.dtype == torch.float32
        assert torch.isfinite(loaded(**training_batch(loaded)).loss)


def test_weights_of_a_later_step_are_loaded_into_the_same_model(tmp_path: Path) -> None:
    model = based_model(tmp_path)
    batch = training_batch(model)
    model.save_pretrained(tmp_path / "step-1")
    with torch.no_grad():
        before = model(**batch)
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1)
        assert not torch.equal(model(**batch).logits, before.logits)
    model.load_learned(tmp_path / "step-1")
    with torch.no_grad():
        assert torch.equal(model(**batch).logits, before.logits)


@pytest.mark.parametrize("language", LANGUAGES)
def test_from_components_leaves_the_towers_weights_alone(language: str) -> None:
    towers = {"vision_model": vision_tower(), "language_model": language_tower(language)}
    before = {name: copy.deepcopy(tower.state_dict()) for name, tower in towers.items()}
    configs = [tower.config for tower in towers.values()]
    config = MedBlipConfig(vision_config=configs[0], text_config=configs[1], **settings(lora=None))
    model = MedBlipForConditionalGeneration.from_components(config, *towers.values())
    for name, weights in before.items():
        after = getattr(model, name).state_dict()
        assert after.keys() == weights.keys()
        assert all(torch.equal(after[key], weights[key]) for key in weights), name
