"""Answers to numbers: each score by kind, with intervals over subjects."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medblip.evaluation.intervals import (
    Interval,
    PairedDifference,
    paired_difference,
    percentile_interval,
    weights_over_subjects,
)
from medblip.evaluation.vqa_answers import Answered
from medblip.evaluation.vqa_shown import pair_of
from medblip.vqa.questions import LETTERS, Question, SessionImage, folded
from medblip.vqa.refusals import RefusalRates, refusal_rates
from medblip.vqa.scoring import ClosedScore, OpenScore, score_closed, score_open

CLOSED, OPEN = "all closed", "all open"
MAIN = {True: "likelihood", False: "exact"}  # the score to report, of closed and of open questions
CONFIDENCE = 0.95

Score = ClosedScore | OpenScore


@dataclass(frozen=True)
class GroupScores:
    """Questions of one kind, or all that are answerable, under one condition.

    Attributes:
        closed: whether they have choices.
        n, n_subjects: questions, and subjects they are about.
        chance: mean of one over the number of choices; None for open ones.
        scores: mean of each score of :class:`ClosedScore` or :class:`OpenScore`.
        against_full: the main score's difference to the model as it is used; None for itself.
    """

    closed: bool
    n: int
    n_subjects: int
    chance: float | None
    scores: Mapping[str, Interval]
    against_full: PairedDifference | None = None

    @property
    def main(self) -> Interval:
        return self.scores[MAIN[self.closed]]

    @property
    def at_chance(self) -> bool | None:
        """Whether chance lies within the interval of the main score; None for open questions."""
        return None if self.chance is None else not self.main.excludes(self.chance)

    def as_dict(self) -> dict[str, Any]:
        return {
            "closed": self.closed,
            "n": self.n,
            "n_subjects": self.n_subjects,
            "chance": self.chance,
            "main": MAIN[self.closed],
            "scores": {name: interval.as_dict() for name, interval in self.scores.items()},
            "at_chance": self.at_chance,
            "against_full": self.against_full and self.against_full.as_dict(),
        }


@dataclass(frozen=True)
class ConditionScores:
    """All questions under one condition.

    Attributes:
        groups: `CLOSED` and `OPEN`, then each kind; those that there are.
        right: the main score of each question, 0 or 1.
        rows: every score of each question.
        refusals: how often what cannot be seen was answered in words, and the reverse.
        pairs: share of the pairs of two-turn cases of which both are right; None without any.
        n_pairs: pairs.
    """

    groups: Mapping[str, GroupScores]
    right: NDArray[np.float64]
    rows: Sequence[Score]
    refusals: RefusalRates
    pairs: Interval | None
    n_pairs: int
    text_metrics: Mapping[str, float] | None = field(default=None)

    def as_dict(self) -> dict[str, Any]:
        return {
            "groups": {name: group.as_dict() for name, group in self.groups.items()},
            "refusals": asdict(self.refusals),
            "two_turn_pairs": {
                "n": self.n_pairs,
                "both_right": None if self.pairs is None else self.pairs.as_dict(),
            },
            "text_metrics": self.text_metrics,
        }


def score_condition(
    questions: Sequence[Question],
    answers: Sequence[Answered],
    full: ConditionScores | None = None,
    text_metrics: Mapping[str, float] | None = None,
) -> ConditionScores:
    """Score what was answered under one condition.

    Args:
        questions: about sessions of a study.
        answers: to each of them.
        full: the same questions answered by the model as it is used, to compare with.
        text_metrics: of the open answers, by name, where they were measured.
    """
    rows = [_score(q, a) for q, a in zip(questions, answers, strict=True)]
    right = np.array(
        [getattr(row, MAIN[isinstance(row, ClosedScore)]) for row in rows], dtype=np.float64
    )
    said = [said_in_full(q, a.generated) for q, a in zip(questions, answers, strict=True)]
    groups = {name: _group(questions, rows, at, right, full) for name, at in _groups(questions)}
    pairs, n_pairs = _pairs(questions, right)
    rates = refusal_rates(questions, said)
    return ConditionScores(groups, right, rows, rates, pairs, n_pairs, text_metrics)


def said_in_full(question: Question, generated: str) -> str:
    """What was said; where it is a letter alone, the choice of that letter."""
    choices = dict(zip(map(folded, LETTERS), question.choices, strict=False))
    return choices.get(folded(generated), generated)


def _score(question: Question, answered: Answered) -> Score:
    if not question.choices:
        return score_open(question, answered.generated)
    return score_closed(question, answered.log_likelihoods, answered.lengths, answered.generated)


def _groups(questions: Sequence[Question]) -> Iterator[tuple[str, list[int]]]:
    """Names and rows; a kind of closed and of open questions gives two groups."""
    numbered = list(enumerate(questions))
    for name, closed in ((CLOSED, True), (OPEN, False)):
        # What no scan can show is known from the question alone.
        rows = [n for n, q in numbered if bool(q.choices) == closed and q.answerable]
        if rows:
            yield name, rows
    mixed = [{q.kind for q in questions if bool(q.choices) == closed} for closed in (True, False)]
    for kind in dict.fromkeys(q.kind for q in questions):
        for closed in (True, False):
            name = f"{kind} (open)" if not closed and kind in mixed[0] & mixed[1] else kind
            rows = [n for n, q in numbered if q.kind == kind and bool(q.choices) == closed]
            if rows:
                yield name, rows


def _group(
    questions: Sequence[Question],
    rows: Sequence[Score],
    at: Sequence[int],
    right: NDArray[np.float64],
    full: ConditionScores | None,
) -> GroupScores:
    subjects = [subject_of(questions[n]) for n in at]
    columns = [asdict(rows[n]) for n in at]
    chances = [1 / len(questions[n].choices) for n in at if questions[n].choices]
    return GroupScores(
        closed=bool(chances),
        n=len(at),
        n_subjects=len(set(subjects)),
        chance=float(np.mean(chances)) if chances else None,
        scores={
            name: mean_over_subjects([float(row[name]) for row in columns], subjects)
            for name in columns[0]
        },
        against_full=None
        if full is None
        else paired_difference(right[list(at)], full.right[list(at)], subjects),
    )


def subject_of(question: Question) -> str:
    """Whose scan a question is about; of a volume that belongs to no session, its path."""
    image = question.image
    return image.participant_id if isinstance(image, SessionImage) else image.path


def mean_over_subjects(values: Sequence[float], subjects: Sequence[str]) -> Interval:
    """The mean and its interval: subjects are drawn with replacement, with all their rows."""
    array = np.asarray(values, dtype=np.float64)
    draws = [w @ array / w.sum(axis=1) for w in weights_over_subjects(subjects, 2000, 0)]
    return percentile_interval(float(array.mean()), np.concatenate(draws), CONFIDENCE)


def _pairs(
    questions: Sequence[Question], right: NDArray[np.float64]
) -> tuple[Interval | None, int]:
    """Two-turn cases that came with their other half, both of them right or not."""
    halves: dict[str, list[int]] = {}
    for number, question in enumerate(questions):
        if pair_of(question) != question.id:
            halves.setdefault(pair_of(question), []).append(number)
    whole = [rows for rows in halves.values() if len(rows) == 2]
    if not whole:
        return None, 0
    both = [float(right[rows].min()) for rows in whole]
    subjects = [subject_of(questions[rows[0]]) for rows in whole]
    return mean_over_subjects(both, subjects), len(whole)
