"""Recipes: strict, explained, overridable, and the shipped ones load."""

from __future__ import annotations

from pathlib import Path

import pytest

from medblip.errors import InputError, UsageError
from medblip.recipe import load_recipe, shipped_recipes


@pytest.mark.parametrize("name", shipped_recipes())
def test_shipped_recipes_load_and_survive_their_own_yaml(name: str, tmp_path: Path) -> None:
    recipe = load_recipe(name)
    recipe.write(tmp_path / "again.yaml")
    assert load_recipe(tmp_path / "again.yaml") == recipe


def test_overrides_reach_nested_values_and_keep_their_type() -> None:
    recipe = load_recipe("embedded", ["tune.steps=7", "seed=3", "model.lora=null"])
    assert (recipe.tune.steps, recipe.seed, recipe.model.lora) == (7, 3, None)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("tune.step=7", "did you mean `steps`"),
        ("model.qformer.hiden_size=8", "did you mean `hidden_size`"),
        ("tune.steps=-1", "tune.steps"),
        ("tune.batch_size=many", "found 'many'"),
        ("model.prompt_order=text_first", "prompt_order"),
    ],
)
def test_wrong_values_name_field_and_fix(override: str, words: str) -> None:
    with pytest.raises(InputError, match=words.replace("`", ".")):
        load_recipe("embedded", [override])


@pytest.mark.parametrize("override", ["tune.steps", "=3", "seed.deep=1"])
def test_an_override_that_is_none_is_wrong_use(override: str) -> None:
    with pytest.raises(UsageError):
        load_recipe("embedded", [override])


@pytest.mark.parametrize("content", ["", "- a\n- b\n", "a: [", "\x00"])
def test_a_file_that_is_no_recipe_is_refused(tmp_path: Path, content: str) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text(content)
    with pytest.raises(InputError, match=r"recipe\.yaml"):
        load_recipe(file)


def test_a_missing_recipe_lists_the_shipped_ones(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="embedded"):
        load_recipe(tmp_path / "absent.yaml")
