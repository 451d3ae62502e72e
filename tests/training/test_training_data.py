"""The schedule of a stage and the batches made from it."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch

from medblip.model.modeling_medblip import IGNORED
from medblip.recipe import StageSection
from medblip.training.data import Collator, augment, make_schedule, stack_tokens


def stage(**values: object) -> StageSection:
    return StageSection.model_validate({"steps": 50, "batch_size": 8, **values})


def test_a_schedule_is_whole_shuffled_passes_and_depends_on_the_seed_alone() -> None:
    draws = make_schedule(20, stage(), seed=1)
    assert len(draws) == 400
    counts = Counter(d.example for d in draws)
    assert set(counts.values()) == {20}
    assert sorted(d.example for d in draws[:20]) == list(range(20))
    assert draws == make_schedule(20, stage(), seed=1)
    assert draws != make_schedule(20, stage(), seed=2)


def test_a_longer_schedule_shows_inputs_in_the_asked_shares() -> None:
    shares = {"without_image": 0.2, "blank_image": 0.1, "without_record": 0.3}
    draws = make_schedule(10, stage(steps=1000, **shares), seed=0)
    counts = Counter(d.shown for d in draws)
    for shown, share in (("record", 0.2), ("blank", 0.1), ("image", 0.3), ("both", 0.4)):
        # 8000 draws: four standard deviations are 0.022.
        assert counts[shown] / len(draws) == pytest.approx(share, abs=0.022)


def test_dropout_keeps_cls_and_noise_has_the_asked_size() -> None:
    tokens = np.arange(200 * 4, dtype=np.float32).reshape(200, 4)
    rng = np.random.default_rng(0)
    kept = augment(tokens, stage(token_dropout=0.5, token_noise=0.0), rng)
    assert (kept[0] == tokens[0]).all()
    assert 70 < len(kept) < 130
    noisy = augment(tokens, stage(token_dropout=0.0, token_noise=0.3), rng)
    assert (noisy - tokens).std() == pytest.approx(0.3 * tokens.std(), rel=0.1)


def sample(shown: str, length: int) -> dict[str, object]:
    made: dict[str, object] = {
        "contrasted": shown in ("both", "image"),
        "prompt": list(range(10, 10 + length)),
        "answer": [7, 8, 9][: 1 + length % 3],
    }
    if shown != "record":
        made["tokens"] = np.full((length, 2), length, np.float32)
    if made["contrasted"]:
        made |= {"record": [1] * length, "question_answer": [2, 3]}
    return made


def test_a_causal_batch_puts_answers_last_and_masks_everything_else() -> None:
    samples = [sample("both", 5), sample("record", 3), sample("blank", 4), sample("image", 6)]
    batch = Collator(pad_id=0, encoder_decoder=False)(samples)
    assert batch["image_tokens"].shape == (3, 6, 2)
    assert batch["image_mask"].sum(1).tolist() == [5, 4, 6]
    # Rows 0 and 2 of the images hold a pair; the blank one between them does not.
    assert batch["contrast_rows"].tolist() == [0, 2]
    assert batch["record_ids"].shape == (2, 6)
    for row, made in enumerate(samples):
        answer = made["answer"]
        assert batch["labels"][row][batch["labels"][row] != IGNORED].tolist() == answer
        ids = batch["input_ids"][row][batch["attention_mask"][row] == 1].tolist()
        assert ids == [*made["prompt"], *answer]  # type: ignore[misc]


def test_an_encoder_decoder_batch_keeps_answers_apart() -> None:
    samples = [sample("both", 5), sample("image", 4)]
    batch = Collator(pad_id=0, encoder_decoder=True)(samples)
    assert batch["input_ids"].shape == (2, 5)
    assert batch["labels"].tolist() == [[7, 8, 9], [7, 8, IGNORED]]


def test_one_pair_alone_is_not_contrasted() -> None:
    batch = Collator(pad_id=0, encoder_decoder=False)([sample("both", 5), sample("record", 3)])
    assert "contrast_rows" not in batch
    assert "image_tokens" in batch


def test_stacked_tokens_are_zero_past_their_length() -> None:
    tokens, mask = stack_tokens([np.ones((2, 3), np.float32), np.ones((4, 3), np.float32)])
    assert torch.equal(tokens.sum((1, 2)), torch.tensor([6.0, 12.0]))
    assert mask.tolist() == [[True, True, False, False], [True] * 4]
