"""A dialogue about a scan: each turn reads only what is new, the rest is in the cache.

A turn's prompt is the one that training and evaluation would show, so that nothing depends on how
the dialogue came about: prefix, what was said before in the record's place, the question. What it
has in common with what was read in earlier turns is not read again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from medblip.errors import InputError
from medblip.model import MedBlipForConditionalGeneration, MedBlipProcessor
from medblip.model.replies import (
    Ask,
    common_start,
    generate_greedily,
    go_on,
    prefix_of,
    reply,
)
from medblip.study.record import clean_question
from medblip.vqa.prompting import told
from medblip.vqa.questions import MAX_TURNS, Turn

MAX_NEW_TOKENS = 96


@dataclass
class Conversation:
    """Questions about a scan, each answered with all that was said before in view.

    Attributes:
        model, processor: of a checkpoint.
        image_tokens: ``(1, tokens, width)`` of the scan; with a previous one ``(2, tokens,
            width)``, the previous one first; None talks without one.
        record: stands before the dialogue; training on questions never showed any.
        turns: what was said, oldest first.
        tokens_read: of the last turn's prompt, those that were not in the cache.
        logits: float32 ``(vocabulary,)`` of the first token of the last answer; None for an
            encoder-decoder model, which keeps no cache over turns.
        image_mask: ``(scans, tokens)``, needed where two scans have different numbers of tokens.
    """

    model: MedBlipForConditionalGeneration
    processor: MedBlipProcessor
    image_tokens: Tensor | None
    record: str = ""
    turns: list[Turn] = field(default_factory=list)
    tokens_read: int = 0
    logits: Tensor | None = None
    image_mask: Tensor | None = None
    _cache: Any = None
    _known: list[int] = field(default_factory=list)
    _prefix: Tensor | None = None

    def __post_init__(self) -> None:
        with torch.no_grad():
            self._prefix = prefix_of(self.model, self.image_tokens, self.image_mask)

    def say(self, question: str) -> str:
        """The answer to one more question; both become part of the dialogue.

        Raises:
            InputError: the question is empty, or there were as many turns as a dialogue has.
        """
        if len(self.turns) >= MAX_TURNS:
            problem = f"there were {MAX_TURNS} turns, which is the most"
            raise InputError("dialogue", problem, "begin a new one", code="too-many-turns")
        question, _ = clean_question(question)
        said = self._say(self.prompt_ids(question))
        answer: str = self.processor.tokenizer.decode(said, skip_special_tokens=True).strip()
        self.turns.append(Turn(question, answer))
        return answer

    def prompt_ids(self, question: str) -> list[int]:
        """Ids of the whole prompt of one more question."""
        before = " ".join(part for part in (self.record, told(self.turns)) if part)
        scans = 0 if self.image_tokens is None else len(self.image_tokens)
        prompts = self.processor.prompts
        return prompts.prompt(before, question, image=scans > 0, previous=scans > 1).ids

    @torch.no_grad()
    def _say(self, ids: list[int]) -> list[int]:
        if self.model.config.is_encoder_decoder:
            (one,) = reply(
                self.model,
                [Ask(ids, generate=True)],
                self.image_tokens,
                image_mask=self.image_mask,
                max_new_tokens=MAX_NEW_TOKENS,
            )
            self.tokens_read = len(ids)
            return list(one.generated)
        device = self.model.query_tokens.device
        known = self._crop(ids)
        row = torch.tensor([ids], device=device)
        mask = torch.ones_like(row)
        embeddings = self.model.embed_prompt(row, mask, self._prefix)
        read = go_on(self.model, self._cache, embeddings[:, known:], mask)
        self.tokens_read = len(ids) - known
        self.logits = read.logits[0]
        said = generate_greedily(self.model, read, MAX_NEW_TOKENS)[0]
        self._cache = read.cache
        fed = self._cache.get_seq_length() - len(ids)
        self._known = [*ids, *said[:fed]]
        return said

    def _crop(self, ids: list[int]) -> int:
        """Leave in the cache what it has in common with ``ids``, whose last id is always read."""
        if self._cache is None or not self._cache.is_croppable:
            self._cache, self._known = None, []
            return 0
        known = min(common_start([ids, self._known]), len(ids) - 1)
        if known == 0:
            self._cache = None
        else:
            self._cache.crop(known - len(self._known))  # a negative number of tokens to take away
        return known
