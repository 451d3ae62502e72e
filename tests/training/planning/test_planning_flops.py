"""Counted operations against what the layers' sizes say."""

from __future__ import annotations

import pytest
from tiny_recipe import LENGTHS, VISION, WIDTH, tiny_recipe
from torch.utils.flop_counter import FlopCounterMode

from medblip.training.planning.flops import Flops
from medblip.training.planning.shadow import Shadow

LAYERS, PATCHES, VOXELS, QUERIES = 2, 8, 8**3, 4


@pytest.fixture(scope="module")
def shadow() -> Shadow:
    recipe = tiny_recipe(layers=LAYERS)
    return Shadow(recipe, recipe.tune, LENGTHS, "cpu")


@pytest.fixture(scope="module")
def step(shadow: Shadow) -> Flops:
    return shadow.training_flops(checkpointing=False)


def vision_layer() -> tuple[int, int]:
    """Multiplications and additions of one sample: the linear maps, and attention."""
    tokens = PATCHES + 1
    linear = 2 * tokens * (4 * WIDTH**2 + 2 * WIDTH * VISION["intermediate_size"])  # type: ignore[operator]
    return linear, 2 * 2 * tokens**2 * WIDTH


def test_the_vision_tower_and_its_entry_are_counted_exactly(shadow: Shadow) -> None:
    linear, attention = vision_layer()
    answer = shadow.answering_flops()
    assert answer.by_part["vision tower"] == LAYERS * (linear + attention)
    assert answer.by_part["patch embedding"] == 2 * PATCHES * VOXELS * WIDTH


def test_a_frozen_tower_costs_as_much_again_backwards(step: Flops) -> None:
    linear, attention = vision_layer()
    # A frozen map needs no gradient of its weights. Fused attention computes five products
    # backwards for two forwards: the scores again, and four gradients.
    assert step.by_part["vision tower"] == LAYERS * (2 * linear + 7 * attention // 2)
    # The entry is learned, and its input needs no gradient.
    assert step.by_part["patch embedding"] == 2 * (2 * PATCHES * VOXELS * WIDTH)


def test_learned_maps_of_the_text_and_the_prefix_are_counted_exactly(step: Flops) -> None:
    square = 2 * WIDTH**2
    # Both contrastive texts, without padding. Frozen embeddings want no gradient.
    texts = LENGTHS.record + LENGTHS.question_answer
    assert step.by_part["text map"] == 2 * square * texts
    assert step.by_part["prefix map"] == 3 * square * QUERIES


def test_recomputing_adds_to_the_layers_and_to_nothing_else(shadow: Shadow, step: Flops) -> None:
    plain, again = dict(step.by_part), shadow.training_flops(checkpointing=True).by_part
    recomputed = {"vision tower", "language model", "MedQFormer"}
    # With it transformers lets token embeddings want a gradient, which passes through this map.
    assert again.pop("text map") == plain.pop("text map") * 3 // 2
    assert {part for part in plain if again[part] > plain[part]} == recomputed
    assert {part for part in plain if again[part] == plain[part]} == set(plain) - recomputed


def test_the_parts_add_up_to_torchs_own_total(shadow: Shadow, step: Flops) -> None:
    counter = FlopCounterMode(display=False)
    with shadow._acting(), counter:
        shadow.model(**shadow._training_inputs(2)).loss.backward()
    _, attention = vision_layer()
    # torch's own list of formulas leaves the CPU's fused attention out.
    missing = step.total - counter.get_total_flops() // 2
    assert LAYERS * 7 * attention // 2 < missing < 0.2 * step.total
