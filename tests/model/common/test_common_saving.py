"""Saved and loaded: the same tensors, buffers, ties and settings, in one folder or round bases."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
import torch
from common_inputs import KINDS, assert_same_tensors, config_of, inputs, new_model
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tiny import VISIONS, based_model, build
from torch import nn
from transformers import AutoModelForImageTextToText

from medblip.errors import InputError, UsageError
from medblip.model import MedBlipForConditionalGeneration

NOTHING = {"missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs"}


@pytest.fixture(params=["full", "on bases"])
def form(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def saved(folder: Path, language: str, form: str) -> MedBlipForConditionalGeneration:
    model = based_model(folder / "bases", language)
    model.save_pretrained(folder / "model", full=form == "full")
    return model


@pytest.mark.parametrize("language", KINDS)
def test_a_saved_model_is_the_same(tmp_path: Path, language: str, form: str) -> None:
    model = saved(tmp_path, language, form)
    assert {p.name for p in (tmp_path / "model").iterdir()} >= {
        "config.json",
        "generation_config.json",
        "model.safetensors",
    }
    loaded = MedBlipForConditionalGeneration.from_pretrained(tmp_path / "model")
    assert_same_tensors(loaded, model)
    # Again, since loading adds to a configuration.
    loaded.save_pretrained(tmp_path / "again", full=form == "full")
    again = MedBlipForConditionalGeneration.from_pretrained(tmp_path / "again")
    assert_same_tensors(again, model)
    with torch.no_grad():
        logits = [m(**inputs(language)).logits for m in (model, loaded, again)]
    assert torch.equal(logits[0], logits[1])
    assert torch.equal(logits[0], logits[2])


def test_settings_of_generation_are_saved_along(tmp_path: Path, form: str) -> None:
    model = based_model(tmp_path / "bases")
    model.generation_config.max_new_tokens = 17
    assert model.language_model.generation_config.max_new_tokens == 17
    model.save_pretrained(tmp_path / "model", full=form == "full")
    loaded = MedBlipForConditionalGeneration.from_pretrained(tmp_path / "model")
    assert loaded.generation_config.max_new_tokens == 17
    assert loaded.generation_config is loaded.language_model.generation_config
    assert loaded.generation_config.eos_token_id == model.generation_config.eos_token_id


@pytest.mark.parametrize("language", KINDS)
def test_the_report_of_loading_has_nothing_to_report(
    tmp_path: Path, language: str, form: str
) -> None:
    model = saved(tmp_path, language, form)
    for load in (MedBlipForConditionalGeneration, AutoModelForImageTextToText):
        loaded, report = load.from_pretrained(tmp_path / "model", output_loading_info=True)
        assert_same_tensors(loaded, model)
        assert report.keys() >= NOTHING
        assert not any(report.values())


def test_weights_may_come_from_a_dictionary() -> None:
    model = new_model()
    loaded = MedBlipForConditionalGeneration.from_pretrained(
        None, config=config_of(), state_dict=model.state_dict()
    )
    assert_same_tensors(loaded, model)


@pytest.mark.parametrize("language", KINDS)
def test_shared_weights_are_saved_once_and_shared_again(tmp_path: Path, language: str) -> None:
    model = new_model(language)
    model.save_pretrained(tmp_path)
    names = names_in(tmp_path)
    groups = shared(model)
    assert bool(groups) == (language != "llama")  # T5 shares its embeddings
    assert [len(names & group) for group in groups] == [1] * len(groups)
    loaded = MedBlipForConditionalGeneration.from_pretrained(tmp_path)
    assert shared(loaded) == groups
    assert all(p.is_contiguous() for p in loaded.parameters())


@pytest.mark.parametrize("vision", VISIONS)
def test_each_tower_is_saved_by_the_names_it_has_alone(tmp_path: Path, vision: str) -> None:
    """Some (DINOv2) have other names on disk than in memory; transformers translates both ways."""
    model = build("gpt2", vision, lora=None)
    model.save_pretrained(tmp_path / "whole")
    expected = {n for n in model.state_dict() if not n.startswith(("vision_", "language_"))}
    for part in ("vision_model", "language_model"):
        getattr(model, part).save_pretrained(tmp_path / part)
        expected |= {f"{part}.{name}" for name in names_in(tmp_path / part)}
    assert names_in(tmp_path / "whole") == expected
    loaded = MedBlipForConditionalGeneration.from_pretrained(tmp_path / "whole")
    assert_same_tensors(loaded, model)


def names_in(folder: Path) -> set[str]:
    with safe_open(folder / "model.safetensors", "pt") as file:
        return set(file.keys())


def shared(model: nn.Module) -> list[set[str]]:
    """Names of the same memory."""
    places = defaultdict(set)
    for name, tensor in model.state_dict().items():
        places[tensor.data_ptr()].add(name)
    return sorted((names for names in places.values() if len(names) > 1), key=sorted)


def test_shared_weights_are_named_from_the_top() -> None:
    ties = new_model("gpt2").all_tied_weights_keys
    assert ties == {"language_model.lm_head.weight": "language_model.transformer.wte.weight"}
    assert new_model("llama").all_tied_weights_keys == {}


def test_an_untied_language_model_stays_untied(tmp_path: Path) -> None:
    config = config_of("gpt2")
    config.text_config.tie_word_embeddings = False
    torch.manual_seed(3)
    model = MedBlipForConditionalGeneration(config).eval()
    assert shared(model) == []
    model.save_pretrained(tmp_path)
    assert_same_tensors(MedBlipForConditionalGeneration.from_pretrained(tmp_path), model)


def test_what_t5_keeps_in_full_precision_stays_so(tmp_path: Path) -> None:
    model = new_model("t5")
    assert model._keep_in_fp32_modules == {"wo"}  # of the tower, gathered at the top
    model.save_pretrained(tmp_path)
    loaded = MedBlipForConditionalGeneration.from_pretrained(tmp_path, dtype=torch.float16)
    for name, tensor in loaded.state_dict().items():
        kept = ".wo." in name or "lora_" in name
        assert tensor.dtype == (torch.float32 if kept else torch.float16), name


@pytest.mark.parametrize("option", ["dtype", "torch_dtype"])  # the second is the older name
def test_half_precision_is_of_the_towers_or_of_everything(
    tmp_path: Path, form: str, option: str
) -> None:
    saved(tmp_path, "llama", form)
    for value in (torch.bfloat16, "bfloat16"):
        loaded = MedBlipForConditionalGeneration.from_pretrained(
            tmp_path / "model", **{option: value}
        )
        assert loaded.language_model.dtype == loaded.vision_model.dtype == torch.bfloat16
        expected = torch.bfloat16 if form == "full" else torch.float32
        assert loaded.query_tokens.dtype == expected
        with torch.no_grad():
            assert torch.isfinite(loaded(**inputs("llama")).logits).all()


def test_automatic_precision_is_that_of_the_checkpoint(tmp_path: Path, form: str) -> None:
    model = saved(tmp_path, "llama", form)
    loaded = MedBlipForConditionalGeneration.from_pretrained(tmp_path / "model", dtype="auto")
    assert_same_tensors(loaded, model)


def test_the_towers_configurations_are_the_models_own(tmp_path: Path, form: str) -> None:
    saved(tmp_path, "llama", form)
    loaded = MedBlipForConditionalGeneration.from_pretrained(tmp_path / "model")
    for model in (loaded, new_model(), based_model(tmp_path / "other")):
        assert model.config.text_config is model.language_model.config
        assert model.config.vision_config is model.vision_model.config


def test_two_models_from_one_configuration_keep_their_own_towers(tmp_path: Path) -> None:
    first, second = (based_model(tmp_path / name) for name in ("a", "b"))
    assert first.config.text_config is not second.config.text_config


def test_a_full_checkpoint_has_no_bases_to_replace(tmp_path: Path) -> None:
    new_model().save_pretrained(tmp_path)
    with pytest.raises(UsageError, match="has no bases"):
        MedBlipForConditionalGeneration.from_pretrained(tmp_path, bases={"vision": "."})


@pytest.mark.parametrize("option", [{"ignore_mismatched_sizes": True}, {"hidden_sise": 3}])
def test_options_that_nothing_takes_are_errors(tmp_path: Path, option: dict[str, Any]) -> None:
    new_model().save_pretrained(tmp_path)
    with pytest.raises(TypeError, match=next(iter(option))):
        MedBlipForConditionalGeneration.from_pretrained(tmp_path, **option)


def test_a_weight_of_another_shape_is_an_error(tmp_path: Path, form: str) -> None:
    saved(tmp_path, "llama", form)
    file = tmp_path / "model" / "model.safetensors"
    weights = load_file(file) | {"query_tokens": torch.zeros(1, 3, 31)}
    save_file(weights, file, metadata={"format": "pt"})
    with pytest.raises(InputError, match="query_tokens") as caught:
        MedBlipForConditionalGeneration.from_pretrained(tmp_path / "model")
    assert caught.value.code == "incomplete-weights"
