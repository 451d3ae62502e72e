"""Every score of an answer in one row, and the means of many rows by kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import ArrayLike

from medblip.vqa.choice_scores import chosen, cyclic_orders, mean_over_orders, scores_of
from medblip.vqa.facts import agreement
from medblip.vqa.questions import Question
from medblip.vqa.refusals import is_refusal
from medblip.vqa.text_match import lenient_match, strict_match

OVERALL = "all"


@dataclass(frozen=True, slots=True)
class ClosedScore:
    """Whether a closed question was answered right, by each rule.

    Attributes:
        likelihood: likeliest choice, summed log-probabilities, mean over all cyclic orders that
            the choices were shown in; the number to report.
        length_normalised: the same by log-probability per token.
        one_order: the same as ``likelihood`` in the first order alone.
        strict: the generated text is the answer and nothing else.
        lenient: M3D's rule.
    """

    likelihood: bool
    length_normalised: bool
    one_order: bool
    strict: bool
    lenient: bool


@dataclass(frozen=True, slots=True)
class OpenScore:
    """An open answer against the true one.

    Attributes:
        strict: the same text.
        exact: states the same facts, within the tolerance, and no other; for an unanswerable
            question, refuses.
        f1: over facts; for an unanswerable question 1 if it refuses, else 0.
    """

    strict: bool
    exact: bool
    f1: float


def score_closed(
    question: Question, log_likelihoods: ArrayLike, lengths: ArrayLike, generated: str
) -> ClosedScore:
    """Score a question with choices.

    Args:
        log_likelihoods: float ``(orders, choices)``: a row for each of `cyclic_orders`, or the
            first alone where the choices were not shown; a column for each position; summed over
            the tokens of the answer there.
        lengths: int, the same shape, tokens of these answers.
        generated: what the model wrote for the first order.
    """
    orders = cyclic_orders(len(question.choices))[: len(np.atleast_2d(log_likelihoods))]
    summed = scores_of(log_likelihoods, lengths)
    per_token = scores_of(log_likelihoods, lengths, "mean")
    right = question.answer_index
    return ClosedScore(
        likelihood=chosen(mean_over_orders(summed, orders)) == right,
        length_normalised=chosen(mean_over_orders(per_token, orders)) == right,
        one_order=chosen(summed[0]) == right,
        strict=strict_match(question, generated),
        lenient=lenient_match(question, generated),
    )


def score_open(question: Question, generated: str) -> OpenScore:
    """Score a question without choices."""
    strict = strict_match(question, generated)
    if not question.answerable:
        refused = is_refusal(generated)
        return OpenScore(strict, refused, float(refused))
    found = agreement(generated, question.answer)
    if np.isnan(found.f1):  # neither states anything we know: only the same text is right
        return OpenScore(strict, strict, float(strict))
    return OpenScore(strict, found.exact, found.f1)


def means(
    questions: Sequence[Question], scores: Sequence[ClosedScore | OpenScore]
) -> dict[str, dict[str, float]]:
    """Mean of each score by kind, and over all answerable questions as ``all``; with ``n``.

    What no scan can show is left out of ``all``: its answer is known from the question alone.

    Raises:
        ValueError: there are not as many scores as questions.
    """
    rows = [(q, asdict(score)) for q, score in zip(questions, scores, strict=True)]
    kinds = dict.fromkeys(question.kind for question in questions)
    groups = {
        OVERALL: [row for question, row in rows if question.answerable],
        **{kind: [row for q, row in rows if q.kind == kind] for kind in kinds},
    }
    return {name: _mean(group) for name, group in groups.items() if group}


def _mean(group: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {
        "n": len(group),
        **{name: float(np.mean([row[name] for row in group])) for name in group[0]},
    }
