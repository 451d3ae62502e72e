"""Each stage learns what its losses reach: exactly those parameters get a gradient."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from medblip.model import MedBlipForConditionalGeneration
from medblip.model.configuration_medblip import LOSSES
from medblip.recipe import Recipe, StageSection
from medblip.training.learned import set_learned
from medblip.training.planning.batch import TextLengths, training_batch
from medblip.training.planning.model import new_model
from test_chain import tiny_recipe

LENGTHS = TextLengths(record=5, prompt=12, answer=3)


@pytest.mark.parametrize("entry", [False, True])
@pytest.mark.parametrize(
    "losses",
    [
        {"language": 0.0},
        {},
        {"itc_record": 0.0, "itc_answer": 0.0},
        {"itc_record": 0.0},
        {"itc_record": 0.0, "itc_answer": 0.0, "itc_choices": 1.0, "questions": "vqa"},
    ],
)
def test_learned_parameters_are_those_that_get_a_gradient(
    world: Path, losses: dict[str, float], entry: bool
) -> None:
    recipe: Recipe = tiny_recipe(world)
    stage = StageSection.model_validate({"steps": 1, **losses})
    model = new_model(recipe, stage, MedBlipForConditionalGeneration)
    model.config.loss_weights = {name: getattr(stage, name) for name in LOSSES}
    set_learned(model, stage, entry=entry)
    model.train()
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter)  # zeros would stop the gradient of lora_A
    batch = training_batch(model.config, stage, 4, LENGTHS, entry)
    model(**batch).loss.backward()
    reached = {n for n, p in model.named_parameters() if p.grad is not None}
    learned = {n for n, p in model.named_parameters() if p.requires_grad}
    assert reached == learned
