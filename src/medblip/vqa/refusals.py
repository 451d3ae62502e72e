"""Whether an answer says that the scan cannot show what was asked."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from medblip.vqa.questions import Question, folded

# "I cannot see any atrophy" and "the scan does not show atrophy" are findings, not refusals.
_SHOWN = r"(?:show|shown|see|seen|tell|determine|determined|know|answer|measured?)"
_PATTERNS = (
    re.compile(
        rf"\b(?:can ?not|can't|could not|couldn't)(?: \w+){{0,3}} {_SHOWN}\b"
        r"(?! (?:any|no|signs?|evidence|an?)\b)"
    ),
    re.compile(
        r"\b(?:does not|doesn't|do not|don't) (?:show|tell|know)"
        r"(?: (?:that|it|this)\b|$|\.)"
    ),
    re.compile(r"\bnot possible to (?:see|tell|say|answer)\b"),
)


def is_refusal(answer: str) -> bool:
    """Whether a sentence of ``answer`` says that it cannot be seen, shown or told."""
    plain = folded(answer).replace("\u2019", "'")
    return any(pattern.search(plain) for pattern in _PATTERNS)


@dataclass(frozen=True, slots=True)
class RefusalRates:
    """How often a model answers what it should not, and the reverse.

    Attributes:
        hallucinated: share of unanswerable questions that got an answer; None if there were none.
        refused: share of answerable ones that got a refusal; None if there were none.
        n_unanswerable, n_answerable: questions.
    """

    hallucinated: float | None
    refused: float | None
    n_unanswerable: int
    n_answerable: int


def refusal_rates(questions: Sequence[Question], answers: Sequence[str]) -> RefusalRates:
    """Rates over questions and the answers given to them; ValueError if they are not as many."""
    pairs = list(zip(questions, answers, strict=True))
    vain = [not is_refusal(answer) for question, answer in pairs if not question.answerable]
    known = [is_refusal(answer) for question, answer in pairs if question.answerable]
    return RefusalRates(_share(vain), _share(known), len(vain), len(known))


def _share(flags: Sequence[bool]) -> float | None:
    return sum(flags) / len(flags) if flags else None
