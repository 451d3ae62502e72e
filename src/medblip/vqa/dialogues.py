"""Dialogues about simulated scans: findings, measurements, comparison with age, evidence, refusal.

All that is said follows from the ground truth. Follow-up turns ("And the cortex?", "Is that more
than expected at this age?") cannot be answered without what was said before.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from medblip.vqa import dialogue_words as words
from medblip.vqa.classes import SIDE_SD
from medblip.vqa.ground_truth import REGIONS, Scan
from medblip.vqa.normal_for_age import DEVIATION_SD, GRADES, SIZES, Norms, class_of
from medblip.vqa.questions import Question, SessionImage, Turn
from medblip.vqa.refusals import is_refusal
from medblip.vqa.templates import FOR_AGE, UNANSWERABLE

KIND = "dialogue"


def make_dialogues(scans: Sequence[Scan], norms: Norms, seed: int = 0) -> Iterator[Question]:
    """One dialogue of two to six turns about each scan; where sides are known, up to seven.

    Args:
        scans: of one split.
        norms: of the training scans.

    Returns:
        The last turn as the question, those before it as its ``turns``.
    """
    for scan in scans:
        identity = f"{scan.participant_id}:{scan.session_id}"
        turns = _turns(Teller(scan, norms, np.random.default_rng((seed, *identity.encode()))))
        last = turns[-1]
        yield Question(
            id=f"{KIND}:{identity}",
            image=SessionImage(scan.participant_id, scan.session_id),
            text=last.question,
            kind=KIND,
            answer=last.answer,
            answerable=not is_refusal(last.answer),
            turns=tuple(turns[:-1]),
        )


def each_turn(dialogue: Question) -> Iterator[Question]:
    """A question for each turn of a dialogue, with the turns before it; ids end in its number."""
    turns = (*dialogue.turns, Turn(dialogue.text, dialogue.answer))
    for number, turn in enumerate(turns):
        yield replace(
            dialogue,
            id=f"{dialogue.id}:{number + 1}",
            text=turn.question,
            answer=turn.answer,
            answerable=not is_refusal(turn.answer),
            turns=turns[:number],
        )


def _turns(teller: Teller) -> list[Turn]:
    first, second = (REGIONS[n] for n in teller.rng.permutation(len(REGIONS))[:2])
    turns = [
        teller.findings(),
        teller.measure(first, words.MEASURE),
        teller.measure(second, words.AND_REGION),
        teller.turn(words.EXPECTED, words.EXPECTED_ANSWERS, second),
        teller.turn(words.WHY, words.WHY_ANSWERS, second),
    ]
    told = turns[: int(teller.rng.integers(1, len(turns) + 1))]
    if len(told) > 1 and teller.scan.sides_mm and teller.rng.random() < 0.5:
        told.append(teller.sides(first if len(told) == 2 else second))
    # What cannot be seen is asked where it does not part a follow-up from what it follows.
    if len(told) == 1 or teller.rng.random() < 0.5:
        told.insert(1 if teller.rng.random() < 0.5 else len(told), teller.refusal())
    return told


@dataclass(frozen=True)
class Teller:
    """Says things about one scan, in varying words.

    Attributes:
        scan, norms: what is known.
        rng: chooses the words.
    """

    scan: Scan
    norms: Norms
    rng: np.random.Generator

    def findings(self) -> Turn:
        mean, norms = self.scan.mean_mm, self.norms
        grade = class_of(mean["medial_temporal"], norms.grade_cuts["medial_temporal"], 0.0)
        size = class_of(mean["ventricles"], norms.size_cuts["ventricles"], 0.0)
        thinned = mean["cortex"] > norms.grade_cuts["cortex"][1]
        facts = {
            "age": f"{round(self.scan.age)}",
            "grade": _named(GRADES, grade).replace("none", "no"),
            "size": _named(SIZES, size),
            "cortex": "thinned" if thinned else "preserved",
        }
        return self._said(words.FINDINGS, words.FINDINGS_ANSWERS, facts)

    def measure(self, region: str, asked: Sequence[str]) -> Turn:
        return self.turn(asked, words.MEASURE_ANSWERS, region)

    def turn(self, asked: Sequence[str], answers: Sequence[str], region: str) -> Turn:
        """A turn about one region."""
        line, scan = self.norms.lines[region], self.scan
        deviation = self.norms.deviation(scan, region)
        compared = class_of(deviation, (-DEVIATION_SD, DEVIATION_SD), 0.0)
        facts = {
            **words.VERBS[region],
            "region": words.REGION_NAMES[region],
            "age": f"{round(scan.age)}",
            "mm": millimetres(scan.mean_mm[region], region),
            "normal": millimetres(line.at(scan.age), region),
            "sd": millimetres(line.sd, region),
            "deviation": f"{deviation:.1f}",
            "compared": _named(_COMPARED[region], compared),
        }
        return self._said(asked, answers, facts)

    def sides(self, region: str) -> Turn:
        """A turn about left and right of the region that was spoken of last."""
        sides = self.scan.sides_mm[region]
        difference = self.norms.side_difference(self.scan, region) or 0.0
        compared = class_of(difference, (-SIDE_SD, SIDE_SD), 0.0)
        facts = {
            "region": words.REGION_NAMES[region],
            "left": millimetres(sides.left, region),
            "right": millimetres(sides.right, region),
            "compared_sides": _named(words.COMPARED_SIDES, compared),
        }
        return self._said(words.SIDES, words.SIDES_ANSWERS, facts)

    def refusal(self) -> Turn:
        text, _ = UNANSWERABLE[int(self.rng.integers(len(UNANSWERABLE)))]
        return self._said((text,), words.REFUSALS, {})

    def _said(
        self, questions: Sequence[str], answers: Sequence[str], facts: Mapping[str, str]
    ) -> Turn:
        question = questions[int(self.rng.integers(len(questions)))]
        answer = answers[int(self.rng.integers(len(answers)))]
        return Turn(question.format(**facts), answer.format(**facts))


# Ventricles grow where tissue is lost; of the other regions we say how strong the loss is.
_LOSS = ("less affected than expected", "as expected", "more affected than expected")
_COMPARED = {"ventricles": FOR_AGE, "medial_temporal": _LOSS, "cortex": _LOSS}


def millimetres(value: float, region: str) -> str:
    """``"2.1 mm"``, for the cortex, which moves little, ``"0.27 mm"``; nothing is minus zero."""
    digits = 2 if region == "cortex" else 1
    return f"{round(value, digits) + 0.0:.{digits}f} mm"


def _named(names: Sequence[str], position: int | None) -> str:
    # Without a margin class_of always gives a position, save exactly on a cut.
    return names[0 if position is None else position]
