"""Batches: padding, labels, and what a batch holds that has no image or no pair."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny import QUERIES, SIZE, WIDTH, build

from medblip.model.modeling_medblip import IGNORED
from medblip.training.collating import Collator, pad, stack_tokens

TEXTS = {"contrast_rows", "record_ids", "record_mask", "answer_ids", "answer_mask"}


def sample(shown: str, length: int) -> dict[str, object]:
    made: dict[str, object] = {
        "contrasted": shown in ("both", "image"),
        "prompt": np.arange(10, 10 + length, dtype=np.int32),
        "answer": np.array([7, 8, 9][: 1 + length % 3], np.int32),
    }
    if shown != "record":
        made["image"] = np.full((length, 2), length, np.float32)
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
        answer = list(made["answer"])  # type: ignore[call-overload]
        assert batch["labels"][row][batch["labels"][row] != IGNORED].tolist() == answer
        ids = batch["input_ids"][row][batch["attention_mask"][row] == 1].tolist()
        assert ids == [*made["prompt"], *answer]  # type: ignore[misc]
        assert batch["labels"][row, -len(answer) :].tolist() == answer


def test_distinct_choices_stand_once_in_a_batch() -> None:
    yes, no, large = (np.array(ids, np.int32) for ids in ([5], [5, 6], [7, 8, 9]))
    samples = [sample(shown, 4) for shown in ("both", "blank", "record", "both", "both")]
    given = [((yes, no), 1), ((), 0), ((), 0), ((large, no, yes), 0), ((), 0)]
    for made, (texts, right) in zip(samples, given, strict=True):
        made |= {"choices": texts, "right": right}
    samples[3]["previous"] = np.zeros((2, 2), np.float32)  # stands before its image
    batch = Collator(pad_id=0, encoder_decoder=False)(samples)
    assert batch["choice_ids"].tolist() == [[0, 0, 5], [0, 5, 6], [7, 8, 9]]
    assert batch["choice_mask"].sum(1).tolist() == [1, 2, 3]
    assert batch["choice_places"].tolist() == [[0, 1, -1], [2, 1, 0]]
    assert batch["choice_rows"].tolist() == [0, 3]
    assert batch["choice_right"].tolist() == [1, 0]
    empty = Collator(pad_id=0, encoder_decoder=False)(samples[1:3])
    assert empty["choice_right"].shape == (0,) and empty["choice_ids"].shape[0] == 0


def test_kinds_of_texts_that_are_not_contrasted_are_left_out() -> None:
    batch = Collator(0, False, contrasted=("record",))([sample("both", 4)])
    assert "record_ids" in batch and "answer_ids" not in batch


def test_an_encoder_decoder_batch_keeps_answers_apart() -> None:
    samples = [sample("both", 5), sample("image", 4)]
    batch = Collator(pad_id=0, encoder_decoder=True)(samples)
    assert batch["input_ids"].shape == (2, 5)
    assert batch["labels"].tolist() == [[7, 8, 9], [7, 8, IGNORED]]


@pytest.mark.parametrize("pairs", [0, 1, 2])
def test_contrasted_texts_are_sent_whatever_their_number(pairs: int) -> None:
    samples = [sample("both", 5)] * pairs + [sample("blank", 4), sample("record", 3)]
    batch = Collator(pad_id=0, encoder_decoder=False)(samples)
    assert batch["contrast_rows"].tolist() == list(range(pairs))
    assert batch["contrast_rows"].dtype == torch.int64
    for name in TEXTS - {"contrast_rows"}:
        assert batch[name].shape[0] == pairs
        assert batch[name].shape[1] >= 1
        assert batch[name].dtype == torch.int64


def test_a_stage_without_contrastive_loss_sends_no_texts_for_it() -> None:
    samples = [sample("both", 5), sample("blank", 4)]
    for made in samples:
        del made["contrasted"]
    assert not TEXTS & set(Collator(pad_id=0, encoder_decoder=False)(samples))


def with_image(shown: str, blank: np.ndarray) -> dict[str, object]:
    made = sample(shown, 5)
    image = blank if shown != "record" else None
    prefix = [PLACEHOLDER] * QUERIES if shown != "record" else []
    made["prompt"] = np.array([*prefix, 5, 6, 7], np.int32)
    return made | ({} if image is None else {"image": image, "seed": 3})


PLACEHOLDER = build().config.image_token_id
BLANKS = {
    "tokens": np.ones((4, WIDTH), np.float32),
    "cubes": np.ones((SIZE,) * 3, np.uint8),
}


@pytest.mark.parametrize("form", BLANKS)
@pytest.mark.parametrize("shown", ["record", "blank", "both"])
def test_every_batch_has_the_same_keys_and_gives_each_parameter_a_gradient(
    form: str, shown: str
) -> None:
    """Several processes gather and average, so none may leave something out."""
    blank = BLANKS[form]
    collate = Collator(0, encoder_decoder=False, blank=blank)
    full = collate([with_image("both", blank), with_image("record", blank)])
    batch = collate([with_image(shown, blank), with_image("record", blank)])
    assert set(batch) == set(full)
    assert {k: v.dtype for k, v in batch.items()} == {k: v.dtype for k, v in full.items()}

    model = build().train()
    model.patch_embedding.requires_grad_(form == "cubes")
    if form == "cubes":
        assert batch["volumes"].dtype == torch.uint8
        assert len(batch.pop("seeds")) == len(batch["volumes"])
        batch["pixel_values"] = batch.pop("volumes").float() / 255
    out = model(**batch)
    out.loss.backward()
    assert torch.isfinite(out.loss)
    assert out.itc_record.item() == 0  # one pair at most: nothing to tell apart
    learned = {n: p for n, p in model.named_parameters() if p.requires_grad}
    assert [n for n, p in learned.items() if p.grad is None] == []
    assert all(p.grad.isfinite().all() for p in learned.values() if p.grad is not None)
    # Without an image nothing is learned of images.
    moved = float(model.query_tokens.grad.abs().sum())  # type: ignore[union-attr]
    assert (moved == 0) is (shown == "record")


def test_padding_goes_to_the_asked_side() -> None:
    ids, mask = pad([[1, 2], np.array([3], np.int32)], 9)
    assert (ids.tolist(), mask.tolist()) == ([[1, 2], [9, 3]], [[1, 1], [0, 1]])
    ids, mask = pad([[1, 2], [3]], 9, left=False, length=3)
    assert (ids.tolist(), mask.tolist()) == ([[1, 2, 9], [3, 9, 9]], [[1, 1, 0], [1, 0, 0]])


def test_stacked_tokens_are_zero_past_their_length() -> None:
    tokens, mask = stack_tokens([np.ones((2, 3), np.float32), np.ones((4, 3), np.float32)])
    assert torch.equal(tokens.sum((1, 2)), torch.tensor([6.0, 12.0]))
    assert mask.tolist() == [[True, True, False, False], [True] * 4]
