"""The ways a step and an answer are computed in the benchmarks: the reference's, and ours."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from medblip.model import MedBlipForConditionalGeneration, modeling_medblip
from medblip.model.cpu_linear import use_onednn
from medblip.model.recompute import recompute_share
from medblip.model.vision import Batching, encode_tokens
from medblip.training.learned import set_learned
from medblip.training.optimizer import new_optimizer
from medblip.training.planning.steps import training_step
from reference_model import (
    ReferenceModel,
    reference_inputs,
    reference_optimizer,
    reference_step,
)
from step_sizes import Size, heads, model_of, our_texts, texts_of

Step = Callable[[], float]


@dataclass(frozen=True)
class Way:
    """How ours is run.

    Attributes:
        skip: how rows without their background share a pass of the vision tower; None keeps it.
        onednn: float32 products through oneDNN, as the engine does where MKL is slow.
        cached: image tokens from the cache, with the patch embedding frozen.
        language: whether the language model runs; not in the stage that aligns image and text.
        recomputed: share of the language model's layers computed again in backward.
    """

    skip: Batching | None = None
    onednn: bool = True
    cached: bool = False
    language: bool = True
    recomputed: float = 0.0


OURS = {
    "exact": Way(),
    "exact, lean": Way(recomputed=0.75),
    "exact, MKL": Way(onednn=False),
    "skipping, padded": Way("padded"),
    "skipping, packed": Way("packed"),
    "token cache": Way("packed", cached=True),
    "token cache, aligning": Way("packed", cached=True, language=False),
}
ALIGNING = {"language": 0.0}
REFERENCES = {"reference": True, "reference, words frozen": False}  # whether words are learned


def our_model(size: Size, way: Way) -> MedBlipForConditionalGeneration:
    if way.skip:
        choose_batching(way.skip)
    model = model_of(
        size, train_patch_embedding=not way.cached, skip_background=way.skip is not None
    )
    if way.onednn:
        use_onednn(model, wanted=True)
    recompute_share(model.language_model, way.recomputed)
    return model


def choose_batching(batching: Batching) -> None:
    """Of the vision tower's rows, for this process."""
    chosen: Any = partial(encode_tokens, batching=batching)
    modeling_medblip.encode_tokens = chosen


def our_image(model: MedBlipForConditionalGeneration, pixels: Tensor, way: Way) -> dict[str, Any]:
    """The image inputs: volumes, or their tokens as the cache gives them."""
    if not way.cached:
        return {"pixel_values": pixels}
    with torch.no_grad():
        tokens, mask = model.encode_image(pixels)
    return {"image_tokens": tokens, "image_mask": mask}


def build(name: str, size: Size) -> tuple[nn.Module, Step]:
    """The model of a way of this name, and its training step, which returns the loss."""
    torch.manual_seed(0)
    pixels, texts = heads(size), texts_of(size)
    if name in REFERENCES:
        reference = ReferenceModel(size.recipe, REFERENCES[name]).train()
        inputs = {"pixels": pixels, **reference_inputs(texts)}
        optimizer = reference_optimizer(reference)
        return reference, lambda: reference_step(reference, optimizer, inputs)
    way = OURS[name]
    model = our_model(size, way)
    image = our_image(model, pixels, way)
    ours = {**image, **our_texts(size, texts)}
    if not way.language:
        for key in ("input_ids", "attention_mask", "labels"):
            del ours[key]
    stage = size.recipe.tune if way.language else size.recipe.tune.model_copy(update=ALIGNING)
    set_learned(model, stage, entry=not way.cached)
    adam = new_optimizer(model, stage)
    return model, lambda: float(training_step(model, adam, ours, nullcontext))
