"""Real answers shown on the page: which are chosen, and what in them is right, missing or wrong."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from medblip.errors import InputError
from medblip.experiments.figure_case import CaseTurn, FigureCase, Mark
from medblip.experiments.questions_kept import FULL
from medblip.experiments.questions_lines import AskedRuns
from medblip.study.study import Study
from medblip.volumes import read_cube
from medblip.volumes.slices import three_planes_png
from medblip.vqa.facts import Fact, facts_of, tolerance_of
from medblip.vqa.questions import Question, SessionImage

RULE = (
    "Chosen by a fixed rule, not by hand: of the run with the first seed, {each} that were right "
    "and {each} that were not, evenly spaced in the order of the file."
)


@dataclass(frozen=True)
class CaseMaker:
    """Makes cases of the first run's answers.

    Attributes:
        asked: questions and runs.
        study: whose scans are drawn.
        cubes: folder of the volume cache.
    """

    asked: AskedRuns
    study: Study
    cubes: Path

    def right(self, row: int) -> bool:
        """Whether the first run answered a question right with the scan."""
        return bool(self.asked.runs[0].shown[FULL].scores["right"][row])

    def cases(
        self, title: str, units: Iterable[Sequence[int]], each: int, *, unroll: bool
    ) -> list[FigureCase]:
        """Some units that were answered right and some that were not; see `RULE`.

        Args:
            title: of each.
            units: rows of the questions that make one case.
            each: of either.
            unroll: whether the turns before a question are turns of the case.
        """
        pools: dict[bool, list[Sequence[int]]] = {True: [], False: []}
        for unit in units:
            if unit:
                pools[all(map(self.right, unit))].append(unit)
        chosen = [unit for pool in pools.values() for unit in evenly(pool, each)]
        return [self._case(title, unit, unroll) for unit in chosen]

    def _case(self, title: str, unit: Sequence[int], unroll: bool) -> FigureCase:
        image = self.asked.questions[unit[0]].image
        if not isinstance(image, SessionImage):
            raise TypeError("a case is about a session of a study")
        turns = tuple(self._turn(row, unroll) for row in unit)
        return FigureCase(image, title, self._picture(image), turns)

    def _turn(self, row: int, unroll: bool) -> CaseTurn:
        question = self.asked.questions[row]
        said = self.asked.runs[0].shown[FULL].said[row]
        return CaseTurn(
            before=() if unroll else question.turns,
            question=question.text,
            choices=question.choices,
            truth=question.answer,
            said=said,
            right=self.right(row),
            marks=marks_of(question, said),
        )

    def _picture(self, image: SessionImage) -> bytes:
        images = self.study.images
        at = (images["participant_id"] == image.participant_id) & (
            images["session_id"] == image.session_id
        )
        cubes = images["cube"][at & (images["primary"] == "true")]
        try:
            return three_planes_png(read_cube(self.cubes / cubes.iloc[0]))
        except (IndexError, OSError, InputError):
            return b""  # the page is told without it


def evenly(pool: Sequence[Sequence[int]], most: int) -> list[Sequence[int]]:
    """So many of a pool, evenly spaced, in its order."""
    wanted = min(most, len(pool))
    return [pool[(2 * n + 1) * len(pool) // (2 * wanted)] for n in range(wanted)]


def marks_of(question: Question, said: str) -> tuple[Mark, ...]:
    """Facts of the true answer, right or missing, and those that ``said`` states wrongly.

    None for a closed question, whose answer is right or not, and for one that cannot be answered.
    """
    if question.choices or not question.answerable:
        return ()
    stated = _counted(facts_of(said))
    marks = []
    for fact in _counted(facts_of(question.answer)):
        match = next((s for s in stated if _agree(s, fact)), None)
        if match is not None:
            stated.remove(match)
        marks.append(Mark(_told(fact), "missing" if match is None else "right"))
    return (*marks, *(Mark(_told(fact), "wrong") for fact in stated))


def _counted(facts: Sequence[Fact]) -> list[Fact]:
    """As scores count them: numbers each time, names once."""
    first = dict.fromkeys(fact for fact in facts if fact.value)
    return [*first, *(fact for fact in facts if not fact.value)]


def _agree(said: Fact, true: Fact) -> bool:
    """The same name, or a number of the same thing within the tolerance of the scores."""
    if said.value or true.value:
        return said == true
    near = tolerance_of(true.kind, true.region)
    same = (said.kind, said.region, said.side) == (true.kind, true.region, true.side)
    return same and abs(said.number - true.number) <= near + 1e-9


def _told(fact: Fact) -> str:
    where = " ".join(part for part in (fact.side, fact.region) if part)
    if fact.kind == "term":
        return fact.value
    if fact.kind == "region":
        return where
    return f"{fact.number:g} {fact.kind}{f' ({where})' if where else ''}"
