"""Lines of tables on questions: one score of some questions, by what was shown, over all runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from medblip.evaluation.intervals import Floats, Interval
from medblip.evaluation.over_seeds import Cell, Contrast, SeededAnswers, contrast, difference
from medblip.evaluation.vqa_scores import subject_of
from medblip.experiments.questions_kept import BLIND, FULL, TITLES, QuestionAnswers
from medblip.vqa.questions import Question

RESAMPLES = 2000  # of a line; a page has some two hundred cells
_COLUMN = "questions"


@dataclass(frozen=True)
class Line:
    """One score of some questions.

    Attributes:
        title: what is scored.
        n, n_subjects: questions, or pairs of them, and subjects they are about.
        chance: mean of one over the number of choices; None where there are none.
        means: mean over runs by what was shown, a fraction, with its interval over subjects and
            seeds; without one where it is not a mean over questions.
        best_blind: what was shown without the scan that has the highest mean; empty for none.
        against: the scan minus that one, paired by question.
    """

    title: str
    n: int
    n_subjects: int
    chance: float | None
    means: Mapping[str, Interval]
    best_blind: str = ""
    against: Contrast | None = None

    def as_dict(self) -> dict[str, Any]:
        return {
            "title": self.title,
            "n": self.n,
            "n_subjects": self.n_subjects,
            "chance": self.chance,
            "means": {name: mean.as_dict() for name, mean in self.means.items()},
            "best_blind": self.best_blind,
            "against_best_blind": self.against and self.against.as_dict(),
        }


@dataclass(frozen=True)
class LineTable:
    """A table of lines, which may be none."""

    title: str
    lines: tuple[Line, ...]

    @property
    def columns(self) -> Mapping[str, str]:
        """What was shown in any line, with its title."""
        return {k: t for k, t in TITLES.items() if any(k in line.means for line in self.lines)}

    @property
    def has_chance(self) -> bool:
        return any(line.chance is not None for line in self.lines)

    @property
    def has_comparison(self) -> bool:
        return any(line.against is not None for line in self.lines)

    def as_dict(self) -> dict[str, Any]:
        return {"title": self.title, "lines": [line.as_dict() for line in self.lines]}


@dataclass(frozen=True)
class AskedRuns:
    """The questions about test subjects, and what the runs of one recipe answered.

    Attributes:
        questions: of a dialogue each turn is one.
        runs: at least one, by seed.
        n_resamples: of every interval.
    """

    questions: tuple[Question, ...]
    runs: tuple[QuestionAnswers, ...]
    n_resamples: int = RESAMPLES

    def rows(self, wanted: Iterable[bool]) -> list[int]:
        """Places of the questions for which ``wanted`` is true."""
        return [n for n, yes in enumerate(wanted) if yes]

    def subjects(self, at: Sequence[int]) -> tuple[str, ...]:
        """Whose scans some questions are about."""
        return tuple(subject_of(self.questions[n]) for n in at)

    def values(self, score: str, at: Sequence[int]) -> dict[str, Floats]:
        """``(seeds, rows)`` of a score, by what was shown; of what has it for all rows."""
        found = {}
        for name in TITLES:
            shown = [run.shown.get(name) for run in self.runs]
            rows = [one.scores[score][list(at)] for one in shown if one and score in one.scores]
            if len(rows) == len(self.runs) and not np.isnan(rows).any():
                found[name] = np.stack(rows)
        return found

    def line(
        self, title: str, score: str, at: Sequence[int], *, compared: bool = True
    ) -> Line | None:
        """The line of a score; None without questions."""
        if not at:
            return None
        chances = [1 / len(self.questions[n].choices) for n in at if self.questions[n].choices]
        chance = float(np.mean(chances)) if len(chances) == len(at) else None
        values = self.values(score, at)
        return self.line_of(title, values, self.subjects(at), chance, compared=compared)

    def line_of(
        self,
        title: str,
        values: Mapping[str, Floats],
        subjects: Sequence[str],
        chance: float | None = None,
        *,
        compared: bool = True,
    ) -> Line:
        """The line of values ``(seeds, rows)`` by what was shown."""
        answers = self.answers(values, subjects)
        means = {name: self.measure(answers, {_cell(name): 1.0}).estimate for name in values}
        blind = max((k for k in BLIND if k in means), key=lambda k: means[k].value, default="")
        against = None
        if compared and blind and FULL in means:
            against = self.measure(answers, difference(_cell(FULL), _cell(blind)))
        told = blind if against else ""
        return Line(title, len(subjects), len(set(subjects)), chance, means, told, against)

    def answers(
        self, values: Mapping[str, Floats], subjects: Sequence[str]
    ) -> dict[Cell, SeededAnswers]:
        seeds = tuple(run.seed for run in self.runs)
        return {
            _cell(name): SeededAnswers(scores, tuple(subjects), seeds)
            for name, scores in values.items()
        }

    def measure(
        self, answers: Mapping[Cell, SeededAnswers], weights: Mapping[Cell, float]
    ) -> Contrast:
        return contrast(answers, weights, n_resamples=self.n_resamples)


def present(lines: Iterable[Line | None]) -> tuple[Line, ...]:
    """Those that there are."""
    return tuple(line for line in lines if line is not None)


def _cell(name: str) -> Cell:
    return Cell(name, _COLUMN)
