"""From a recipe to a configuration: stated architectures, checked against the weights' own."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny import language_tower, text_config, vision_tower
from torch import nn

from medblip.errors import InputError
from medblip.model import MedBlipConfig, MedBlipForConditionalGeneration
from medblip.model.architecture import check_architecture, stated
from medblip.recipe import load_recipe, shipped_recipes

# Millions, from the published models; embeddings that are tied count once.
FROZEN = {
    "paper/biomedlm-lora": (985.95, 2594),
    "paper/biogpt-lora": (985.95, 1571),
    "paper/flan-t5-lora": (985.95, 2784),
    "modern/qwen": (985.95, 4022),
    "modern/medgemma": (985.95, 3880),
    "modern/dinov2-large": (304.37, 2594),
    "modern/siglip": (428.23, 2594),
    "embedded": (22.06, 134.5),
    "embedded-questions": (22.06, 134.5),
}


def millions(module: nn.Module, *, lora: bool = False) -> float:
    return sum(p.numel() for n, p in module.named_parameters() if ("lora_" in n) == lora) / 1e6


@pytest.mark.parametrize("name", shipped_recipes())
def test_every_shipped_recipe_is_a_model_without_any_weights(name: str) -> None:
    config = MedBlipConfig.from_recipe(name)
    with torch.device("meta"):
        model = MedBlipForConditionalGeneration(config)
    trained_lora = load_recipe(name).model.lora is not None
    assert (millions(model.language_model, lora=True) > 0) == trained_lora
    vision, language = FROZEN[name.replace("-frozen", "-lora")]
    assert millions(model.vision_model) == pytest.approx(vision, abs=0.01)
    assert millions(model.language_model) == pytest.approx(language, abs=0.6)


def test_settings_reach_the_configuration() -> None:
    config = MedBlipConfig.from_recipe("paper/biomedlm-lora", ["model.itc_hidden_size=64"])
    assert (config.volume_size, config.num_patches, config.itc_hidden_size) == (224, 343, 64)
    assert config.qformer_config.encoder_hidden_size == 1408
    assert config.itc_targets == "one_hot"
    assert config.lora == {"r": 8, "lora_alpha": 16, "lora_dropout": 0.0}
    assert MedBlipConfig.from_recipe("paper/biomedlm-frozen").lora is None


def test_without_a_stated_architecture_the_base_is_asked(tmp_path: Path) -> None:
    vision_tower().save_pretrained(tmp_path / "vision")
    language_tower("gpt2").save_pretrained(tmp_path / "language")
    wanted = [f"model.{role}={tmp_path / role}" for role in ("vision", "language")]
    nothing = [f"model.{role}_architecture=null" for role in ("vision", "language")]
    config = MedBlipConfig.from_recipe("embedded", [*wanted, *nothing])
    assert config.text_config.n_layer == text_config("gpt2").n_layer
    with pytest.raises(InputError, match="not a folder"):
        MedBlipConfig.from_recipe("embedded", [*nothing, "model.vision=./absent"])


@pytest.mark.parametrize(
    ("architecture", "words"),
    [
        ({"model_type": "gpt-2"}, "gpt-2"),
        ({"n_embd": 8}, "None"),
        ({"model_type": "gpt2", "n_embed": 8}, "n_embed"),
        ({"model_type": "gpt2", "n_embd": "wide"}, "n_embd"),
    ],
)
def test_an_architecture_that_is_none_is_refused(
    architecture: dict[str, object], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        stated(architecture, "model.language_architecture")


def test_weights_of_another_architecture_are_refused() -> None:
    found = text_config("gpt2")
    check_architecture(found, None, "language", "gpt2")
    check_architecture(found, {"model_type": "gpt2", "n_layer": 2}, "language", "gpt2")
    ids = {"model_type": "gpt2", "bos_token_id": 77}  # the weights' own hold
    check_architecture(found, ids, "language", "gpt2")
    with pytest.raises(InputError, match="n_layer is 2, the recipe says 32"):
        check_architecture(found, {"model_type": "gpt2", "n_layer": 32}, "language", "folder/gpt2")
