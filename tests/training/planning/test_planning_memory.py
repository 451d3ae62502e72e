"""Planned bytes against counted ones, and what a plan says of batches and recomputing."""

from __future__ import annotations

import gc
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace

import pytest
import torch
from tiny_recipe import LANGUAGES, LENGTHS, tiny_recipe
from torch import Tensor

from medblip.model import MedBlipForConditionalGeneration
from medblip.recipe import Recipe
from medblip.training import recomputing
from medblip.training.planning import TextLengths, plan
from medblip.training.planning.batch import training_batch
from medblip.training.planning.live_bytes import LiveBytes
from medblip.training.planning.model import new_model
from medblip.training.planning.planner import CUDA_CONTEXT, FRAGMENTATION
from medblip.training.planning.shadow import Peak, Shadow
from medblip.training.planning.steps import new_optimizer, training_step
from medblip.training.precision import autocast

BATCH = 6  # so that no two instants of a step nearly tie for the peak
# The prompt is joined by shape, and masks are built that the real step finds to be all true: that
# is much in so small a model, and nothing in a large one.
TOLERANCE = 0.05


TWO_SCANS = replace(LENGTHS, prefixes=2)


def shadow(recipe: Recipe, device: str = "cpu", lengths: TextLengths = LENGTHS) -> Shadow:
    return Shadow(recipe, recipe.tune, lengths, device)  # type: ignore[arg-type]


def counted(recipe: Recipe, checkpointing: bool, lengths: TextLengths = LENGTHS) -> Peak:
    """The peak of a real step on real tensors, their storages counted as they come and go."""
    torch.manual_seed(0)
    model = new_model(recipe, recipe.tune, MedBlipForConditionalGeneration)
    if checkpointing:
        model.gradient_checkpointing_enable()
    optimizer = new_optimizer(model, recipe.tune, foreach=False)
    pixels = recipe.model.train_patch_embedding
    inputs = training_batch(model.config, recipe.tune, BATCH, lengths, pixels)
    live = LiveBytes()
    for parameter in model.parameters():
        live.hold("learned_weights" if parameter.requires_grad else "frozen_weights", [parameter])
        if parameter.requires_grad:
            parameter.register_post_accumulate_grad_hook(lambda p: live.hold("gradients", [p.grad]))
    live.hold("frozen_weights", model.buffers())
    live.hold("inputs", inputs.values())
    live.hold("optimizer", (t for s in optimizer.state.values() for t in s.values()))
    with live:
        assert training_step(model, optimizer, inputs, arithmetic(recipe)).isfinite()
    return Peak(**{name: live.peak[name] for name in Peak.__dataclass_fields__})


def arithmetic(recipe: Recipe) -> Callable[[], AbstractContextManager[None]]:
    return lambda: autocast(torch.device("cpu"), recipe.precision)


@pytest.mark.filterwarnings("ignore:`gradient_checkpointing_enable`:FutureWarning")
@pytest.mark.parametrize("checkpointing", [False, True], ids=["plain", "recomputing"])
@pytest.mark.parametrize(
    ("language", "lengths"),
    [*((language, LENGTHS) for language in LANGUAGES), ("gpt2", TWO_SCANS)],
    ids=[*LANGUAGES, "two scans"],
)
def test_the_shadow_of_a_step_weighs_what_the_step_weighs(
    language: str, lengths: TextLengths, checkpointing: bool
) -> None:
    recipe = tiny_recipe(language, base_dtype="bfloat16").model_copy(
        update={"precision": "bfloat16"}
    )
    planned, real = (
        shadow(recipe, lengths=lengths).training_peak(BATCH, checkpointing),
        counted(recipe, checkpointing, lengths),
    )
    exact = ("frozen_weights", "learned_weights", "optimizer", "inputs")
    assert {n: getattr(planned, n) for n in exact} == {n: getattr(real, n) for n in exact}
    print(f"planned {planned}, real {real}")
    assert planned.gradients == pytest.approx(real.gradients, rel=TOLERANCE)
    assert planned.activations == pytest.approx(real.activations, rel=TOLERANCE)


def test_weights_gradients_and_moments_are_what_the_parameters_say() -> None:
    recipe = tiny_recipe(base_dtype="bfloat16")
    acted = shadow(recipe)
    # So many samples that the peak lies before any gradient; so few that all are there.
    many, few = acted.training_peak(64, False), acted.training_peak(1, True)
    learned = sum(part.learned for part in acted.parameters)
    frozen = sum(part.frozen for part in acted.parameters)
    assert few.frozen_weights == many.frozen_weights == 2 * frozen
    assert few.learned_weights == 4 * learned
    tensors = len(acted.optimizer.state)
    assert few.optimizer == 2 * 4 * learned + 4 * tensors  # and a step count each
    assert many.gradients == 0
    assert many.inputs > few.inputs > 4 * 16**3


def test_memory_grows_with_the_batch_and_falls_with_recomputing() -> None:
    acted = shadow(tiny_recipe(layers=3))
    peaks = {c: [acted.training_peak(n, c) for n in (1, 2, 32)] for c in (False, True)}
    for kind in peaks.values():
        totals = [peak.total for peak in kind]
        assert totals == sorted(set(totals))
    assert peaks[True][-1].activations < 0.7 * peaks[False][-1].activations
    answers = [acted.answering_peak(n) for n in (1, 32)]
    assert answers[0].total < answers[1].total
    assert all(a.gradients == a.optimizer == 0 for a in answers)
    assert answers[1].activations < peaks[False][-1].activations


def test_the_largest_batch_fits_and_one_more_does_not() -> None:
    recipe = tiny_recipe()
    acted = shadow(recipe, "cuda")
    memory = CUDA_CONTEXT + round((1 + FRAGMENTATION) * acted.training_peak(9, False).total)
    planned = plan(recipe, memory=memory, batch=8, lengths=LENGTHS)
    assert planned.training.fits
    assert planned.training.largest_batch == 9
    assert planned.training_checkpointed.largest_batch > 9
    answers = planned.answering.largest_batch
    fits, more = (
        CUDA_CONTEXT + (1 + FRAGMENTATION) * acted.answering_peak(n).total
        for n in (answers, answers + 1)
    )
    assert fits <= memory + 1 < more + 1  # one byte of rounding


def test_float32_towers_under_bfloat16_keep_a_copy_of_their_weights() -> None:
    """Why the paper's recipes store frozen weights in bfloat16."""
    peaks = {}
    for dtype in ("float32", "bfloat16"):
        recipe = tiny_recipe(base_dtype=dtype).model_copy(update={"precision": "bfloat16"})
        peaks[dtype] = shadow(recipe).training_peak(2, False)
    stored = peaks["float32"].frozen_weights - peaks["bfloat16"].frozen_weights
    assert stored == peaks["bfloat16"].frozen_weights
    copies = peaks["float32"].activations - peaks["bfloat16"].activations
    assert copies > 0.5 * stored  # all but embeddings and norms


def test_cached_tokens_spare_the_vision_towers_activations() -> None:
    live, cached = (shadow(tiny_recipe(train_patch_embedding=on)) for on in (True, False))
    assert cached.training_peak(64, False).activations < live.training_peak(64, False).activations
    assert cached.training_flops(False).by_part["vision tower"] == 0
    assert sum(p.learned for p in cached.parameters) < sum(p.learned for p in live.parameters)


def test_two_scans_a_prompt_are_twice_the_images() -> None:
    recipe = tiny_recipe()
    one, two = shadow(recipe), shadow(recipe, lengths=TWO_SCANS)
    volume = 4 * 16**3
    more = two.training_peak(BATCH, False).inputs - one.training_peak(BATCH, False).inputs
    assert more == BATCH * volume
    for kind in ("training_flops", "answering_flops"):
        arguments = [False] if kind == "training_flops" else []
        once, twice = (getattr(s, kind)(*arguments).by_part for s in (one, two))
        for part in ("vision tower", "patch embedding", "prefix map"):
            assert twice[part] == 2 * once[part]
        assert twice["language model"] == pytest.approx(once["language model"], rel=0.1)
    assert two.answering_peak(4).total > one.answering_peak(4).total


@pytest.mark.parametrize("compared", [False, True])
def test_recomputing_by_itself_plans_with_the_scans_of_the_study(
    compared: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where memory is just enough for one scan a prompt."""
    recipe = tiny_recipe(gradient_checkpointing="auto")
    stage = {"questions": "vqa", "itc_answer": 0.0}
    recipe = recipe.model_copy(update={"tune": recipe.tune.model_copy(update=stage)})
    cpu = torch.device("cpu")
    room = recomputing.step_bytes(recipe, "tune", cpu) / recomputing.ROOM + 1
    monkeypatch.setattr(recomputing, "compares_scans", lambda *_: compared)
    monkeypatch.setattr(recomputing, "free_bytes", lambda _: room)
    assert recomputing.recomputed_share(recipe, None, cpu) == float(compared)  # type: ignore[arg-type]


# --------------------------------------------------------------------------- counting
def test_a_storage_counts_once_and_until_its_last_view_is_gone() -> None:
    with LiveBytes() as live:
        whole = torch.zeros(256)
        part = whole[10:20]
        del whole
        gc.collect()
        assert live.now.total() == 1024
        live.hold("inputs", [part])
        assert live.now["inputs"] == 1024
        del part
        assert live.now.total() == 0
    assert live.peak.total() == 1024


def test_what_a_kernel_holds_inside_is_in_the_peak_alone() -> None:
    with LiveBytes(granularity=512, scratch=lambda func, args: 100) as live:
        small = torch.zeros(1)
    assert live.now.total() == 512
    assert live.peak.total() == 612
    assert isinstance(small, Tensor)
