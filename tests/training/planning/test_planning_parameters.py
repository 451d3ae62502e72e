"""The paper's parameter table: three language models, frozen and with LoRA, exact."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from tiny_recipe import tiny_recipe

from medblip.model import MedBlipForConditionalGeneration
from medblip.recipe import load_recipe
from medblip.training.planning.model import new_model
from medblip.training.planning.parts import LORA, parameter_table, part_of

# Widths of the language models; what depends on none of them is the same in all recipes.
WIDTHS = {"biomedlm": 2560, "biogpt": 1600, "flan-t5": 2048}
LANGUAGE = {"biomedlm": 2_594_247_680, "biogpt": 1_571_188_800, "flan-t5": 2_783_959_040}
LORA_SIZE = {"biomedlm": 2_621_440, "biogpt": 4_915_200, "flan-t5": 4_718_592}


def lora_names(language: str) -> Iterator[str]:
    """The modules that carry LoRA, by exact name."""
    if language == "biomedlm":
        yield from (f"transformer.h.{i}.attn.c_attn" for i in range(32))
    elif language == "biogpt":
        for i in range(48):
            yield from (f"biogpt.layers.{i}.self_attn.{m}_proj" for m in "qv")
    else:
        for i in range(24):
            yield from (f"encoder.block.{i}.layer.0.SelfAttention.{m}" for m in "qv")
            yield from (f"decoder.block.{i}.layer.0.SelfAttention.{m}" for m in "qv")
            yield from (f"decoder.block.{i}.layer.1.EncDecAttention.{m}" for m in "qv")


def on_meta(name: str) -> MedBlipForConditionalGeneration:
    recipe = load_recipe(name)
    with torch.device("meta"):
        return new_model(recipe, recipe.tune, MedBlipForConditionalGeneration)


@pytest.mark.parametrize("how", ["frozen", "lora"])
@pytest.mark.parametrize("language", WIDTHS)
def test_the_papers_table(language: str, how: str) -> None:
    model = on_meta(f"paper/{language}-{how}")
    table = {p.name: (p.learned, p.frozen) for p in parameter_table(model.named_parameters())}
    width = WIDTHS[language]
    lora = LORA_SIZE[language] if how == "lora" else 0
    assert table == {
        "vision tower": (0, 985_952_256),
        "language model": (0, LANGUAGE[language]),
        "MedQFormer": (105_137_664, 0),
        "patch embedding (Conv3d)": (1408 * 32**3 + 1408, 0),
        "positions, CLS, queries": (344 * 1408 + 1408 + 32 * 768, 0),
        "text map": (width * 768 + 768, 0),
        "text positions": (512 * 768, 0),
        "contrastive heads": (2 * (768 * 256 + 256) + 1, 0),
        "prefix map": (768 * width + width + 1, 0),
        "LoRA": (lora, 0),
    }
    with_lora = {name for name, _ in model.named_parameters() if part_of(name) == LORA}
    expected = {
        f"language_model.{module}.lora_{side}.default.weight"
        for module in lora_names(language)
        for side in "AB"
    }
    assert with_lora == (expected if how == "lora" else set())


def test_the_medqformer_side_is_the_papers_151_million() -> None:
    entry = 105_137_664 + (1408 * 32**3 + 1408) + (344 * 1408 + 1408 + 32 * 768)
    assert round(entry / 1e6, 1) == 151.8
    assert [round(n / 1e6, 2) for n in LORA_SIZE.values()] == [2.62, 4.92, 4.72]


def test_every_parameter_has_a_part_and_an_unknown_one_is_an_error() -> None:
    recipe = tiny_recipe()
    with torch.device("meta"):
        model = new_model(recipe, recipe.tune, MedBlipForConditionalGeneration)
    table = parameter_table(model.named_parameters())
    assert sum(p.learned + p.frozen for p in table) == sum(p.numel() for p in model.parameters())
    with pytest.raises(ValueError, match=r"'new_head\.weight' is in no part"):
        part_of("new_head.weight")
