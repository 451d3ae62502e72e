"""The gradients of a batch in pieces are those of the batch as a whole."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tiny
import torch
from torch import Tensor

from medblip.model import MedBlipForConditionalGeneration
from medblip.training.collating import Collator
from medblip.training.joint_batch import JointBatch

OF_LANGUAGE = ("input_ids", "attention_mask", "labels")
TOLERANCE = 1e-8  # of the largest gradient of a tensor, in float64


def sample(model: MedBlipForConditionalGeneration, index: int, shown: str) -> dict[str, Any]:
    """One sample; lengths of record and answer grow with its number."""
    rng = np.random.default_rng(index)
    prefix = [model.config.image_token_id] * model.config.qformer_config.num_query_tokens
    words = rng.integers(5, 20, 2 + index)
    made: dict[str, Any] = {"contrasted": shown == "both"}
    if shown == "both":
        tokens = rng.standard_normal((3 + index, tiny.WIDTH)).astype(np.float32)
        made |= {"image": tokens, "seed": index, "record": words, "question_answer": words[:2]}
        made |= choices(index)
    made["prompt"] = np.array([*(prefix if shown == "both" else []), *words])
    return made | {"answer": rng.integers(5, 20, 1 + index)}


def choices(index: int) -> dict[str, Any]:
    """Two or three choices, some of which other samples have too; every third sample has none."""
    texts = [np.array([7, 8 + n], np.int32) for n in range(index % 2, 3)]
    return {"choices": texts if index % 3 else (), "right": index % 2}


def doubled(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    return {n: x.double() if x.is_floating_point() else x for n, x in batch.items()}


def gradients(model: MedBlipForConditionalGeneration) -> dict[str, Tensor]:
    found = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return found


@pytest.mark.parametrize("language", ["llama", "t5"])
@pytest.mark.parametrize("targets", ["same_text", "one_hot"])
def test_pieces_have_the_gradients_of_the_whole(language: str, targets: str) -> None:
    model = tiny.build(language, itc_targets=targets).double()
    model.config.loss_weights = {
        **{"itc_record": 1.0, "itc_answer": 0.5},
        **{"itc_choices": 0.7, "language": 2.0},
    }
    kinds = ("both", "both", "record", "both", "record", "record", "both", "both")
    samples = [sample(model, i, shown) for i, shown in enumerate(kinds)]
    blank = np.zeros((1, tiny.WIDTH), np.float32)
    collate = Collator(tiny.PAD, model.config.is_encoder_decoder, blank)
    whole = model(**doubled(collate(samples)))
    assert whole.itc_choices > 0
    whole.loss.backward()
    expected = gradients(model)

    # One piece without any image, one with a single pair, which has nothing beside it there.
    cuts = (slice(3), slice(3, 4), slice(4, 6), slice(6, 8))
    pieces = [doubled(collate(samples[rows])) for rows in cuts]
    joint = JointBatch.of(model, 1, pieces)
    with torch.no_grad():
        passes = [{k: v for k, v in p.items() if k not in OF_LANGUAGE} for p in pieces]
        features = [model(**p, return_features=True).contrast_features for p in passes]
    joint.contrast(features)
    values = []
    for place, piece in enumerate(pieces):
        out = model(**piece, return_features=True)
        joint.loss(out, place).backward()
        values.append(joint.value(joint.parts(out, place)))
    assert sum(values).item() == pytest.approx(whole.loss.item(), rel=1e-6)
    found = gradients(model)
    assert found.keys() == expected.keys()
    for name, gradient in found.items():
        size = max(float(expected[name].abs().max()), 1e-3)
        assert float((gradient - expected[name]).abs().max()) / size < TOLERANCE, name


def test_one_pair_in_all_has_no_contrast_but_gradients_of_zero() -> None:
    model = tiny.build()
    samples = [sample(model, i, shown) for i, shown in enumerate(("both", "record"))]
    collate = Collator(tiny.PAD, False, np.zeros((1, tiny.WIDTH), np.float32))
    pieces = [collate([one]) for one in samples]
    joint = JointBatch.of(model, 1, pieces)
    joint.contrast([model(**p, return_features=True).contrast_features for p in pieces])
    assert joint.losses == {}
    assert all(not gradient.any() for piece in joint.gradients for gradient in piece)
