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
        ("seed.deep=1", "seed"),
        ("tune={batch_size: 2, epochs: 1, steps: 2}", "give either steps or epochs"),
        ("model.train_patch_embedding=true", "token_dropout"),
    ],
)
def test_wrong_values_name_field_and_fix(override: str, words: str) -> None:
    with pytest.raises(InputError, match=words.replace("`", ".")):
        load_recipe("embedded", [override])


@pytest.mark.parametrize("override", ["tune.steps", "=3"])
def test_an_override_that_is_none_is_wrong_use(override: str) -> None:
    with pytest.raises(UsageError):
        load_recipe("embedded", [override])


def written(folder: Path, name: str, text: str) -> Path:
    file = folder / f"{name}.yaml"
    file.write_text(text, encoding="utf-8")
    return file


def test_a_recipe_extends_another_section_by_section(tmp_path: Path) -> None:
    text = "extends: paper/biomedlm-lora\nname: mine\nmodel: {lora: {r: 4}}\ntune: {steps: 5}\n"
    mine, origin = load_recipe(written(tmp_path, "mine", text)), load_recipe("paper/biomedlm-lora")
    assert mine.name == "mine"
    assert mine.model.lora is not None
    assert (mine.model.lora.r, mine.model.lora.lora_alpha) == (4, 16)
    assert (mine.tune.steps, mine.tune.epochs) == (5, None)
    assert mine.tune.batch_size == origin.tune.batch_size
    assert mine.model.qformer == origin.model.qformer
    child = load_recipe(written(tmp_path, "child", "extends: mine.yaml\nseed: 9\n"))
    assert child == mine.model_copy(update={"seed": 9})


def test_another_architecture_replaces_the_whole_one() -> None:
    architecture = load_recipe("paper/biogpt-lora").model.language_architecture
    assert architecture is not None
    assert architecture["model_type"] == "biogpt"
    assert "n_embd" not in architecture  # BioMedLM's, of the recipe it extends
    changed = load_recipe("paper/biogpt-lora", ["model.language_architecture.num_hidden_layers=2"])
    assert changed.model.language_architecture == {**architecture, "num_hidden_layers": 2}


def test_recipes_that_extend_each_other_are_refused(tmp_path: Path) -> None:
    written(tmp_path, "a", "extends: b.yaml\n")
    written(tmp_path, "b", "extends: a.yaml\n")
    with pytest.raises(InputError, match="leads back to itself"):
        load_recipe(tmp_path / "a.yaml")
    with pytest.raises(InputError, match="no such recipe"):
        load_recipe(written(tmp_path, "c", "extends: absent\n"))


def test_steps_follow_from_epochs() -> None:
    tune = load_recipe("paper/biomedlm-lora").tune
    assert tune.resolved(28_000).steps == 400_000  # 100 passes of 4,000 steps of 7
    assert tune.resolved(1).steps == 14
    embedded = load_recipe("embedded").tune
    assert embedded.resolved(28_000) == embedded


@pytest.mark.parametrize("content", ["", "- a\n- b\n", "a: [", "\x00"])
def test_a_file_that_is_no_recipe_is_refused(tmp_path: Path, content: str) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text(content)
    with pytest.raises(InputError, match=r"recipe\.yaml"):
        load_recipe(file)


def test_a_missing_recipe_lists_the_shipped_ones(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="embedded"):
        load_recipe(tmp_path / "absent.yaml")
