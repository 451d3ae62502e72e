"""A dialogue with its cache: the same words and numbers as each whole prompt read anew."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tiny import QUERIES, build, tokenizer, volumes

from medblip.errors import InputError
from medblip.evaluation import conversation
from medblip.evaluation.conversation import Conversation
from medblip.model.prompt import PromptBuilder
from medblip.vqa.questions import MAX_TURNS, Turn

QUESTIONS = ("Big?", "And now?", "Why?")


class Processor:
    """The parts of a processor that a conversation uses."""

    def __init__(self, model: Any, order: Any = "image_text_question", longest: int = 120) -> None:
        self.tokenizer = tokenizer()
        self.prompts = PromptBuilder(
            self.tokenizer,
            model.config.image_token_id,
            QUERIES,
            order,
            model.config.is_encoder_decoder,
            longest,
        )


@pytest.fixture(autouse=True)
def short_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversation, "MAX_NEW_TOKENS", 5)


def begin(language: str, **options: Any) -> Conversation:
    model = build(language)
    tokens = model.encode_image(volumes(1))[0].detach()
    return Conversation(model, Processor(model, **options), tokens)  # type: ignore[arg-type]


def alone(talk: Conversation, ids: list[int]) -> tuple[str, torch.Tensor]:
    """The answer to a whole prompt without any cache, and the logits of its first token."""
    row = torch.tensor([ids])
    given = {"attention_mask": torch.ones_like(row), "image_tokens": talk.image_tokens}
    said = talk.model.generate(row, **given, max_new_tokens=5, do_sample=False)
    with torch.no_grad():
        logits = talk.model(row, **given).logits[0, -1]
    return talk.processor.tokenizer.decode(said[0], skip_special_tokens=True).strip(), logits


@pytest.mark.parametrize("language", ["llama", "gpt2"])
@pytest.mark.parametrize("order", ["image_text_question", "question_image_text"])
def test_each_turn_is_what_its_whole_prompt_gives(language: str, order: Any) -> None:
    talk = begin(language, order=order)
    for number, question in enumerate(QUESTIONS):
        ids = talk.prompt_ids(question)
        text, logits = alone(talk, ids)
        assert talk.say(question) == text
        assert talk.logits is not None
        assert torch.allclose(talk.logits, logits, atol=1e-4)
        if number and order == "image_text_question":
            assert talk.tokens_read < len(ids) - len(QUESTIONS[0]) - QUERIES
    assert [turn.question for turn in talk.turns] == list(QUESTIONS)


def test_a_turn_reads_only_what_is_new(monkeypatch: pytest.MonkeyPatch) -> None:
    talk = begin("llama")
    first = talk.prompt_ids("Big?")
    talk.say("Big?")
    assert talk.tokens_read == len(first)
    talk.turns[0] = Turn("Big?", "yes")  # what was said is put right: its tokens are read anew
    second = talk.prompt_ids("Why?")
    _, logits = alone(talk, second)
    talk.say("Why?")
    assert talk.tokens_read == len(second) - len(first)
    assert talk.logits is not None and torch.allclose(talk.logits, logits, atol=1e-4)
    monkeypatch.setattr(talk.model, "query_image", None)  # the image is not looked at again
    talk.say("And?")


def test_the_prompt_is_that_of_training() -> None:
    talk = begin("llama")
    talk.turns = [Turn("Big?", "yes"), Turn("Why?", "It is.")]
    said = "Question: Big? Answer: yes Question: Why? Answer: It is."
    assert talk.prompt_ids("And?") == talk.processor.prompts.prompt(said, "And?").ids


def test_a_dialogue_that_does_not_fit_loses_its_middle_and_stays_right() -> None:
    talk = begin("gpt2", longest=60)
    for question in ("Is it big?", "And the other?", "Why?"):
        ids = talk.prompt_ids(question)
        text, _ = alone(talk, ids)
        assert talk.say(question) == text
    assert len(ids) == 60


def test_an_encoder_decoder_talks_without_a_cache() -> None:
    talk = begin("t5")
    for question in QUESTIONS:
        text, _ = _t5(talk, question)
        assert talk.say(question) == text


def _t5(talk: Conversation, question: str) -> tuple[str, None]:
    row = torch.tensor([talk.prompt_ids(question)])
    said = talk.model.generate(
        row, image_tokens=talk.image_tokens, max_new_tokens=5, do_sample=False
    )
    return talk.processor.tokenizer.decode(said[0], skip_special_tokens=True).strip(), None


def test_empty_questions_and_endless_dialogues_are_refused() -> None:
    talk = begin("llama")
    with pytest.raises(InputError) as caught:
        talk.say("  ")
    assert caught.value.code == "empty-question"
    talk.turns = [Turn("a", "b")] * MAX_TURNS
    with pytest.raises(InputError) as caught:
        talk.say("Big?")
    assert caught.value.code == "too-many-turns"
