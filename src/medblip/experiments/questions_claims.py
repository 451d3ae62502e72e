"""What our runs say to the two claims that Table 3 rests on here.

That the model beats the best blind control, and that the blind controls score chance: without the
second, the first would say little about the scan.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from medblip.evaluation.intervals import Floats
from medblip.evaluation.over_seeds import Cell, Contrast, SeededAnswers, contrast, difference
from medblip.evaluation.paired_tests import holm
from medblip.experiments.aggregate import RESAMPLES
from medblip.experiments.claim_verdicts import (
    ENOUGH_SEEDS,
    SIGNIFICANT,
    Answer,
    ClaimVerdict,
    MeasuredStep,
    verdict_of,
)
from medblip.experiments.claims import Claim, Step
from medblip.experiments.paper_tables import FULL
from medblip.experiments.questions_kept import BLIND, CONTROL, TITLES
from medblip.experiments.records import TableAnswers

TABLE = 3
BEATS = "With the scan, closed questions are answered better than by the best blind control"
AT_CHANCE = "What does not see the scan that is asked about scores chance"
NEAR_CHANCE = 0.1  # an interval that reaches further from chance shows nothing
_CHANCE = "chance"


def question_claims(
    given: TableAnswers | None, column: str, chance: Floats, *, n_resamples: int = RESAMPLES
) -> list[ClaimVerdict]:
    """Both claims.

    Args:
        given: answers of Table 3, see `medblip.experiments.records.answers_by_table`.
        column: of the questions about test subjects.
        chance: of each question of the column, ``(questions,)``.
    """
    blind = [CONTROL + name for name in BLIND]
    there = [row for row in blind if given is not None and Cell(row, column) in given.answers]
    if given is None or not there or Cell(FULL, column) not in given.answers:
        claims = (Claim(TABLE, text, ()) for text in (BEATS, AT_CHANCE))
        return [verdict_of(claim, given, n_resamples) for claim in claims]
    best = max(there, key=lambda row: given.answers[Cell(row, column)].correct.mean())
    title = f"the scan against the best blind control ({_title(best)})"
    weights = difference(Cell(FULL, column), Cell(best, column))
    beats = Claim(TABLE, BEATS, (Step(title, weights, None),))
    near = {row: _from_chance(given, Cell(row, column), chance, n_resamples) for row in there}
    return [verdict_of(beats, given, n_resamples), _at_chance(near)]


def _from_chance(given: TableAnswers, cell: Cell, chance: Floats, n_resamples: int) -> Contrast:
    """Its accuracy minus chance."""
    answers = given.answers[cell]
    guessed = Cell(_CHANCE, cell.column)
    rows = np.tile(chance, (len(answers.seeds), 1))
    always = SeededAnswers(rows, answers.subjects, answers.seeds)
    both = {cell: answers, guessed: always}
    return contrast(both, difference(cell, guessed), n_resamples=n_resamples)


def _at_chance(near: Mapping[str, Contrast]) -> ClaimVerdict:
    corrected = holm({row: found.p for row, found in near.items()})
    steps = tuple(
        MeasuredStep(f"{_title(row)} against chance", found, corrected[row], None, {})
        for row, found in near.items()
    )
    seeds = min(step.pooled.n_seeds for step in steps)
    parts = [step.text for step in steps]
    if seeds < ENOUGH_SEEDS:
        parts.append(f"Seeds: {seeds}; {ENOUGH_SEEDS} are needed to decide.")
    return ClaimVerdict(TABLE, AT_CHANCE, _answer(steps, seeds), " ".join(parts), steps)


def _answer(steps: tuple[MeasuredStep, ...], seeds: int) -> Answer:
    """Holds where no difference is beyond chance, and none of them could be large."""
    if seeds < ENOUGH_SEEDS:
        return "not decided"
    if any(step.p < SIGNIFICANT for step in steps):
        return "does not hold"
    ends = [abs(end) for s in steps for end in (s.pooled.estimate.low, s.pooled.estimate.high)]
    return "holds" if max(ends) <= NEAR_CHANCE else "not decided"


def _title(row: str) -> str:
    return TITLES[row.removeprefix(CONTROL)]
