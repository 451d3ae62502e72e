"""A tokenizer without a padding token, as GPT-2's: prompts, answers, training batches."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from common_inputs import TOLERANCE
from tiny import END, build, head_scan, tokenizer

from medblip.model import MedBlipForConditionalGeneration, MedBlipImageProcessor, MedBlipProcessor
from medblip.model.likelihood import score_answers
from medblip.training.collating import Collator

LANGUAGES = ("gpt2", "llama", "t5")
RECORDS, ANSWERS = ("a long record", "b"), ("normal", "has it")


def without_padding(model: MedBlipForConditionalGeneration) -> MedBlipProcessor:
    return MedBlipProcessor.for_model(
        model.config, MedBlipImageProcessor({"size": 16}), tokenizer(pad_token=None)
    )


@pytest.mark.parametrize("language", LANGUAGES)
def test_prompts_are_answered_together_as_alone(language: str) -> None:
    model = build(language)
    made = without_padding(model)
    assert made.tokenizer.pad_token_id == END
    scans = [head_scan(0), head_scan(1)]
    together = made(volumes=scans, records=list(RECORDS))
    options = {"max_new_tokens": 4, "do_sample": False, "pad_token_id": END}
    answers = model.generate(**together, **options)
    for row, record in enumerate(RECORDS):
        alone = made(volumes=[scans[row]], records=[record])
        answer = model.generate(**alone, **options)[0].tolist()
        assert answers[row].tolist() == answer + [END] * (answers.shape[1] - len(answer))
    candidates = [made.prompts.answer(answer) for answer in ANSWERS]
    both = score_answers(model, candidates, **together)
    first = score_answers(model, candidates, **made(volumes=[scans[0]], records=[RECORDS[0]]))
    assert torch.allclose(both[:1], first, rtol=TOLERANCE, atol=1e-3)


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_training_batch_keeps_the_end_that_pads(language: str) -> None:
    """The end of an answer is learnt, though the same token is padding elsewhere."""
    model = build(language)
    made = without_padding(model)
    collate = Collator(made.tokenizer.pad_token_id, model.config.is_encoder_decoder)
    samples: list[dict[str, Any]] = [
        {
            "prompt": made.prompts.prompt(record, "Which?", image=False).ids,
            "answer": made.prompts.answer(answer),
        }
        for record, answer in zip(RECORDS, ANSWERS, strict=True)
    ]
    batch = collate(samples)
    for row, sample in enumerate(samples):
        kept = batch["labels"][row][batch["labels"][row] != -100].tolist()
        assert kept == sample["answer"]
        assert kept[-1] == END
    with torch.no_grad():
        together = float(model(**batch).language)
        alone = [float(model(**collate([sample])).language) for sample in samples]
    sizes = [len(sample["answer"]) for sample in samples]
    mean = sum(loss * n for loss, n in zip(alone, sizes, strict=True)) / sum(sizes)
    assert together == pytest.approx(mean, rel=1e-3)
