"""The token ids of a stage's texts; each distinct text is tokenised once."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medblip.model.prompt import PromptBuilder
from medblip.study.labels import QUESTION

Ids = NDArray[np.int32]
CONTRAST_LENGTH = 512  # longest text of the text stream
KEPT = 1 << 15  # texts of each kind, under a kilobyte each


def question_and_answer(answer: str, question: str = QUESTION) -> str:
    """The text of ITC(I, Q&A)."""
    return f"Question: {question} Answer: {answer}"


class TokenisedTexts:
    """Prompts, answers and contrasted texts as ids.

    Args:
        prompts: builds them.
    """

    def __init__(self, prompts: PromptBuilder) -> None:
        self.prompts = prompts
        # As arrays: lists of numbers take eight times the memory.
        self._kept_prompt: Callable[[str, str, bool, bool], Ids] = lru_cache(KEPT)(self._prompt)
        self.answer: Callable[[str], Ids] = lru_cache(KEPT)(self._answer)
        self.contrasted: Callable[[str], Ids] = lru_cache(KEPT)(self._contrasted)

    def __reduce__(self) -> Any:
        return TokenisedTexts, (self.prompts,)  # what is kept stays in its process

    def prompt(
        self, record: str, image: bool, question: str = QUESTION, previous: bool = False
    ) -> Ids:
        """The prompt with what stands in the record's place, and with no prefix, one or two."""
        return self._kept_prompt(record, question, image, previous)

    def _prompt(self, record: str, question: str, image: bool, previous: bool) -> Ids:
        made = self.prompts.prompt(record, question, image=image, previous=previous)
        return np.array(made.ids, np.int32)

    def _answer(self, answer: str) -> Ids:
        return np.array(self.prompts.answer(answer), np.int32)

    def _contrasted(self, text: str) -> Ids:
        ids = self.prompts.contrast_text(text, CONTRAST_LENGTH)
        # An empty record still is a text: one end-of-sequence token.
        return np.array(ids or [self.prompts.tokenizer.eos_token_id], np.int32)
