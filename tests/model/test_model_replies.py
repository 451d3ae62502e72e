"""Many prompts about one image at once: the same numbers and words as one by one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from tiny import CAUSAL, END, LANGUAGES, build, prompt_rows, tokenizer, volumes

from medblip.model.likelihood import score_answers
from medblip.model.prompt import PromptBuilder
from medblip.model.replies import Ask, common_start, prefix_of, read_prompts, reply

ANSWERS = (
    ([5, 9, 7, END], [8, END]),
    ([8, END], [11, 6, END], [5, 9, 7, 4, END]),
    (),
)


def asks_of(image: bool, start: int = 4) -> list[Ask]:
    """Prompts of three lengths that begin alike, each with candidates of its own."""
    rows = prompt_rows([9, 14, 6], seed=4, image=image)
    head = prompt_rows([start], seed=5, image=False)[0]
    prefix = 3 * image
    whole = [[*row[:prefix], *head, *row[prefix:]] for row in rows]
    return [Ask(ids, answers, True) for ids, answers in zip(whole, ANSWERS, strict=True)]


def tokens_of(model: Any, image: bool) -> torch.Tensor | None:
    return model.encode_image(volumes(1))[0] if image else None


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("image", [True, False])
@pytest.mark.parametrize("start", [0, 4])
def test_replies_are_those_of_each_prompt_alone(language: str, image: bool, start: int) -> None:
    model = build(language)
    tokens, asks = tokens_of(model, image), asks_of(image, start)
    replies = reply(model, asks, tokens, max_new_tokens=6)
    for ask, found in zip(asks, replies, strict=True):
        ids = torch.tensor([ask.ids])
        given = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "image_tokens": tokens}
        if ask.answers:
            alone = score_answers(model, ask.answers, **given)[0].tolist()
            assert found.scores == pytest.approx(alone, abs=2e-4)
        else:
            assert found.scores == ()
        said = model.generate(**given, max_new_tokens=6, do_sample=False)[0].tolist()
        special = {END, getattr(model.config.text_config, "decoder_start_token_id", END)}
        assert list(found.generated) == [token for token in said if token not in special]


@pytest.mark.parametrize("language", CAUSAL)
def test_what_prompts_share_is_read_once(language: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = build(language)
    read: list[int] = []
    run = model.run_decoder

    def counted(embeddings: torch.Tensor, *rest: Any, **options: Any) -> Any:
        read.append(embeddings.shape[0] * embeddings.shape[1])
        return run(embeddings, *rest, **options)

    monkeypatch.setattr(model, "run_decoder", counted)
    rows = [ask.ids for ask in asks_of(True)]
    with torch.no_grad():
        read_prompts(model, rows, prefix_of(model, tokens_of(model, True)))
    assert read == [3 + 4, 3 * 14]  # prefix and common beginning of one, then the rest of all


@pytest.mark.parametrize("order", ["image_text_question", "question_image_text"])
def test_either_order_of_the_prompt_can_be_read_together(order: Any) -> None:
    model = build("llama")
    prompts = PromptBuilder(tokenizer(), model.config.image_token_id, 3, order)
    asks = [
        Ask(prompts.prompt("", question).ids, (prompts.answer("yes"), prompts.answer("no")))
        for question in ("Is it?", "Is it there, or not?", "Which?")
    ]
    tokens = tokens_of(model, True)
    together = [r.scores for r in reply(model, asks, tokens)]
    alone = [reply(model, [ask], tokens)[0].scores for ask in asks]
    assert np.allclose(together, alone, atol=2e-4)
    assert np.ptp([scores[0] for scores in alone]) > 0.1


def test_nothing_asked_is_nothing_answered() -> None:
    assert reply(build("llama"), []) == []
    assert common_start([[1, 2, 3], [1, 2, 4, 5]]) == 2
    assert common_start([[1, 2], [1, 2, 4]]) == 2
    assert common_start([[1], [2]]) == 0
