"""Prompts as token ids (Eq. 2): prefix, record, question, and room for the answer.

The record is data, not an instruction: its text is tokenised with special tokens split, the parts
are joined as ids and never as text, and the prefix placeholder is an id outside the vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from medblip.errors import InputError

PromptOrder = Literal["image_text_question", "question_image_text"]
PREVIOUS, CURRENT = "Previous scan:", "Current scan:"  # what announces each of two scans


@dataclass(frozen=True)
class Prompt:
    """Token ids of one prompt, and how many record tokens were cut from its middle."""

    ids: list[int]
    record_tokens_cut: int = 0


class PromptBuilder:
    """Turns record and question into ids for one tokenizer.

    Args:
        tokenizer: of the language model.
        image_token_id: placeholder of a prefix position.
        num_query_tokens: length of the prefix.
        order: ``image_text_question`` (the paper's Eq. 2) or ``question_image_text`` (Table 5).
        encoder_decoder: the language model's kind; its answers then go to the decoder.
        max_length: longest prompt in tokens; the record's middle gives way.
    """

    def __init__(
        self,
        tokenizer: Any,
        image_token_id: int,
        num_query_tokens: int,
        order: PromptOrder = "image_text_question",
        encoder_decoder: bool = False,
        max_length: int = 512,
    ) -> None:
        self.tokenizer = tokenizer
        self.prefix = [image_token_id] * num_query_tokens
        self.order = order
        self.encoder_decoder = encoder_decoder
        self.max_length = max_length
        self.start, self.end = _added_tokens(tokenizer)

    def text_ids(self, text: str) -> list[int]:
        """Ids of plain text: no token is added and none is taken as special."""
        ids: list[int] = self.tokenizer(
            text, add_special_tokens=False, split_special_tokens=True
        ).input_ids
        return ids

    def prompt(
        self, record: str, question: str, *, image: bool = True, previous: bool = False
    ) -> Prompt:
        """Ids of one prompt.

        Args:
            image: whether it announces a scan.
            previous: whether it announces an earlier one before it: ``"Previous scan:" <prefix>
                "Current scan:" <prefix>`` in the prefix's place.

        Raises:
            InputError: the question is empty, or prefix and question alone exceed ``max_length``.
            ValueError: a previous scan without a current one.
        """
        if previous and not image:
            raise ValueError("a prompt with a previous scan has a current one too")
        if not question.strip():
            raise InputError("question", "is empty", "ask something", code="empty-question")
        scans = self.scans(previous=previous) if image else []
        before, after = self._round_record(question, scans, bool(record))
        fixed = len(before) + len(after)
        if fixed > self.max_length:
            raise InputError(
                "question",
                f"prefix and question take {fixed} tokens, at most {self.max_length} fit",
                "shorten the question",
                code="long-question",
            )
        record_ids, cut = _cut_middle(self.text_ids(record), self.max_length - fixed)
        return Prompt([*before, *record_ids, *after], cut)

    def scans(self, *, previous: bool = False) -> list[int]:
        """What announces the scan of a prompt, or both."""
        if not previous:
            return self.prefix
        space = " " if self.order == "question_image_text" else ""  # the question stands before
        said = self.text_ids(f"{space}{PREVIOUS}"), self.text_ids(f" {CURRENT}")
        return [id_ for words in said for id_ in (*words, *self.prefix)]

    def _round_record(
        self, question: str, prefix: list[int], record: bool
    ) -> tuple[list[int], list[int]]:
        """What stands before the record and after it."""
        if self.order == "question_image_text":
            asked = self.text_ids(f"Question: {question}")
            return [*self.start, *asked, *prefix], [*self.text_ids(" Answer:"), *self.end]
        space = " " if record else ""
        asked = self.text_ids(f"{space}Question: {question} Answer:")
        return [*prefix, *self.start], [*asked, *self.end]

    def answer(self, answer: str) -> list[int]:
        """Ids of an answer, ended by the end-of-sequence token.

        Raises:
            ValueError: the tokenizer has none.
        """
        end = self.tokenizer.eos_token_id
        if end is None:
            raise ValueError(f"{type(self.tokenizer).__name__} has no end-of-sequence token")
        return [*self.text_ids(answer if self.encoder_decoder else f" {answer}"), end]

    def contrast_text(self, text: str, max_length: int) -> list[int]:
        """Ids for the text stream, at most ``max_length``."""
        return _cut_middle(self.text_ids(text), max_length)[0]


def pad_left(rows: Sequence[Sequence[int]], value: int) -> tuple[list[list[int]], list[list[int]]]:
    """Rows of one length, padded on the left, and their mask (1 at real tokens)."""
    length = max(len(row) for row in rows)
    ids = [[value] * (length - len(row)) + list(row) for row in rows]
    mask = [[0] * (length - len(row)) + [1] * len(row) for row in rows]
    return ids, mask


def _added_tokens(tokenizer: Any) -> tuple[list[int], list[int]]:
    """Special tokens the tokenizer puts before and after a text (BOS of OPT, EOS of T5)."""
    plain = tokenizer("a", add_special_tokens=False).input_ids
    full = tokenizer("a").input_ids
    for at in range(len(full) - len(plain) + 1):
        if full[at : at + len(plain)] == plain:
            return full[:at], full[at + len(plain) :]
    raise ValueError(f"{type(tokenizer).__name__}: its special tokens are not at the ends")


def _cut_middle(ids: list[int], room: int) -> tuple[list[int], int]:
    """At most ``room`` ids; what does not fit is taken from the middle."""
    cut = max(0, len(ids) - room)
    if not cut:
        return ids, 0
    head = (room + 1) // 2
    return ids[:head] + ids[len(ids) - (room - head) :], cut
