"""What our runs say to the paper's claims: holds, does not hold, or not decided, with the numbers.

A claim holds where each step's difference lies above 0 beyond chance, and does not where one lies
below 0 beyond chance; p-values are Holm's over the steps of a claim. Anything else is not decided,
and says so; nor is anything with fewer than three seeds, as one run tells nothing of how runs
differ.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from medblip.evaluation.over_seeds import Cell, Contrast, contrast
from medblip.evaluation.paired_tests import holm
from medblip.evaluation.subgroups import FEWEST_SUBJECTS
from medblip.evaluation.verdicts import p_value, points, span
from medblip.experiments.aggregate import RESAMPLES
from medblip.experiments.claims import Claim, claims_of
from medblip.experiments.records import TableAnswers

Answer = Literal["holds", "does not hold", "not decided"]

SIGNIFICANT = 0.05
ENOUGH_SEEDS = 3


@dataclass(frozen=True)
class MeasuredStep:
    """A step with our difference, its p corrected over the claim, and that of each test set."""

    title: str
    pooled: Contrast
    p: float
    paper: float | None
    by_column: Mapping[str, Contrast]

    @property
    def above(self) -> bool:
        return self.pooled.estimate.low > 0 and self.p < SIGNIFICANT

    @property
    def below(self) -> bool:
        return self.pooled.estimate.high < 0 and self.p < SIGNIFICANT

    @property
    def text(self) -> str:
        """One sentence: ours, the paper's, and where a test set says the opposite."""
        d = self.pooled.estimate
        said = f"{self.title[:1].upper()}{self.title[1:]}: "
        said += f"{points(d.value)} points ({span(d, 100, 1)}, {p_value(self.p)})"
        if self.paper is not None:
            said += f"; in the paper {points(self.paper / 100)}"
        if self.opposite:
            said += f"; the opposite on {', '.join(self.opposite)}"
        return said + "."

    @property
    def opposite(self) -> tuple[str, ...]:
        """Test sets that say so beyond chance, p after Holm's correction over the test sets."""
        corrected = holm({column: found.p for column, found in self.by_column.items()})
        return tuple(
            column
            for column, found in self.by_column.items()
            if found.estimate.high < 0 and corrected[column] < SIGNIFICANT
        )


@dataclass(frozen=True)
class ClaimVerdict:
    """A claim and what our runs say to it.

    Attributes:
        table: of the paper.
        claim: in words.
        answer: the verdict.
        text: the numbers behind the answer, in sentences.
        steps: what it rests on; empty where nothing was run.
    """

    table: int
    claim: str
    answer: Answer
    text: str
    steps: tuple[MeasuredStep, ...]

    def as_dict(self) -> dict[str, Any]:
        return {
            "table": self.table,
            "claim": self.claim,
            "answer": self.answer,
            "text": self.text,
            "steps": [
                {
                    "title": s.title,
                    **s.pooled.as_dict(),
                    "p_holm": s.p,
                    "paper_points": s.paper,
                    "by_column": {c: found.as_dict() for c, found in s.by_column.items()},
                }
                for s in self.steps
            ],
        }


def claim_verdicts(
    tables: Mapping[int, TableAnswers],
    titles: Mapping[str, str] | None = None,
    stand_ins: Mapping[str, str] | None = None,
    *,
    n_resamples: int = RESAMPLES,
    seed: int = 0,
) -> list[ClaimVerdict]:
    """Every claim, put to the runs; see `medblip.experiments.claims.claims_of`."""
    return [
        verdict_of(claim, tables.get(claim.table), n_resamples, seed)
        for claim in claims_of(tables, titles, stand_ins)
    ]


def verdict_of(
    claim: Claim, given: TableAnswers | None, n_resamples: int = RESAMPLES, seed: int = 0
) -> ClaimVerdict:
    """One claim, put to the answers of its table; not decided where it has no steps."""
    if given is None or not claim.steps:
        enough = " on a test set of enough subjects" if claim.left_out else ""
        text = " ".join([f"Not all that it compares was run{enough}.", *_told(claim)])
        return ClaimVerdict(claim.table, claim.text, "not decided", text, ())
    answers = given.answers

    def found(weights: Mapping[Cell, float]) -> Contrast:
        return contrast(answers, weights, n_resamples=n_resamples, seed=seed)

    pooled = {step.title: found(step.weights) for step in claim.steps}
    corrected = holm({title: c.p for title, c in pooled.items()})
    measured = tuple(
        MeasuredStep(
            step.title,
            pooled[step.title],
            corrected[step.title],
            step.paper,
            {column: found(weights) for column, weights in step.by_column.items()},
        )
        for step in claim.steps
    )
    parts = [*(step.text for step in measured), *_told(claim)]
    seeds = min(step.pooled.n_seeds for step in measured)
    if seeds < ENOUGH_SEEDS:
        parts.append(f"Fewest seeds of a setting: {seeds}; {ENOUGH_SEEDS} are needed to decide.")
    return ClaimVerdict(claim.table, claim.text, _answer(measured), " ".join(parts), measured)


def _told(claim: Claim) -> list[str]:
    """What a reader must know beside the numbers."""
    said = [claim.caveat] if claim.caveat and claim.steps else []
    if claim.left_out:
        sets = ", ".join(f"{column} ({n} subjects)" for column, n in claim.left_out.items())
        said.append(f"Left out, as under {FEWEST_SUBJECTS} subjects decide nothing: {sets}.")
    return said


def _answer(steps: Sequence[MeasuredStep]) -> Answer:
    if any(step.pooled.n_seeds < ENOUGH_SEEDS for step in steps):
        return "not decided"
    if any(step.below for step in steps):
        return "does not hold"
    return "holds" if all(step.above for step in steps) else "not decided"
