"""What a model is shown of a question: under which condition, in which orders of the choices."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, get_args

from medblip.evaluation.controls import BLANK_IMAGE, NO_IMAGE, ControlText, other_subjects
from medblip.vqa.choice_scores import cyclic_orders
from medblip.vqa.prompting import said_before, shown
from medblip.vqa.questions import Question, SessionImage

OfOneScan = Literal["full", "no_image", "other_image", "blank_image"]
OfTwoScans = Literal["no_previous", "other_previous", "previous_alone"]
QuestionCondition = Literal[OfOneScan, OfTwoScans]

QUESTION_CONDITIONS: dict[QuestionCondition, ControlText] = {
    "full": ControlText("The scan", "The model as it is used; no record in the prompt.", ""),
    "no_image": ControlText("No image", "The same model; the prompt announces no image.", "image"),
    "other_image": ControlText(
        "Another subject's image", "The scan of another subject of the same split.", "image"
    ),
    "blank_image": ControlText(
        "Blank image", "An empty volume that the prompt still announces.", "image"
    ),
    "no_previous": ControlText(
        "Current scan alone",
        "Questions that compare two scans are shown the current one alone; others as in full.",
        "image",
    ),
    "other_previous": ControlText(
        "Another subject's previous scan",
        "Questions that compare two scans are shown the own current one after a scan of another "
        "subject; others as in full.",
        "image",
    ),
    "previous_alone": ControlText(
        "Previous scan alone",
        "Questions that compare two scans are shown the previous one in place of the current one; "
        "others as in full.",
        "image",
    ),
}
# Asked only where questions compare with an earlier session.
OF_TWO_SCANS: tuple[QuestionCondition, ...] = get_args(OfTwoScans)


class ScannedSession(NamedTuple):
    """A session and its cube."""

    participant_id: str
    session_id: str
    cube: str

    @property
    def key(self) -> SessionImage:
        return SessionImage(self.participant_id, self.session_id)


class Scans(NamedTuple):
    """Cubes that are shown, or what stands in their place.

    Attributes:
        image: the current scan.
        previous: shown before it; empty for none.
    """

    image: str
    previous: str = ""


class Shown(NamedTuple):
    """One prompt about one image; two equal ones get the same reply.

    Attributes:
        image: name of a cube, or what stands in its place.
        before: earlier turns, as text.
        asked: the question, with its choices where it has some.
        answers: candidates; none for an open question.
        generate: whether an answer is generated.
        previous: name of the cube that is shown before; empty for none.
    """

    image: str
    before: str
    asked: str
    answers: tuple[str, ...]
    generate: bool
    previous: str = ""

    @property
    def key(self) -> str:
        """Name of what is shown, whoever it is about."""
        told = self if self.previous else self[:-1]
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:24]


def images_of(
    sessions: Sequence[ScannedSession], condition: QuestionCondition, seed: int = 0
) -> dict[SessionImage, str]:
    """The image that is shown for each session under a condition."""
    if condition == "no_image":
        images = [NO_IMAGE] * len(sessions)
    elif condition == "blank_image":
        images = [BLANK_IMAGE] * len(sessions)
    else:
        seen = other_subjects(sessions, seed) if condition == "other_image" else sessions
        images = [session.cube for session in seen]
    return dict(zip((session.key for session in sessions), images, strict=True))


def scans_of(
    questions: Sequence[Question],
    sessions: Sequence[ScannedSession],
    priors: Sequence[ScannedSession],
    condition: QuestionCondition,
) -> list[Scans]:
    """The scan or the two scans that are shown with each question under a condition.

    Args:
        sessions: that questions are about.
        priors: earlier sessions that questions compare with.
    """
    images = images_of(sessions, condition)
    replaced = "other_image" if condition == "other_previous" else condition
    earlier = images_of(priors, replaced, seed=1)
    return [_scans(question, images, earlier, condition) for question in questions]


def _scans(
    question: Question,
    images: Mapping[SessionImage, str],
    earlier: Mapping[SessionImage, str],
    condition: QuestionCondition,
) -> Scans:
    image = images[about(question)]
    if question.prior is None or condition == "no_previous":
        return Scans(image)
    if condition == "previous_alone":
        return Scans(earlier[question.prior])
    return Scans(image, earlier[question.prior])


def about(question: Question) -> SessionImage:
    """The session of a question that is about one; TypeError for one about another volume."""
    if not isinstance(question.image, SessionImage):
        raise TypeError(f"question {question.id} is about a volume that belongs to no session")
    return question.image


def shown_of(question: Question, scans: Scans, *, choices: bool = True) -> list[Shown]:
    """A prompt for each cyclic order of the choices, the first of which is answered in words too.

    An open question has one prompt, and so has one whose choices are not shown.

    Args:
        choices: show the choices in the prompt.
    """
    before = said_before(question)
    image, previous = scans
    if not (question.choices and choices):
        answers = question.choices
        return [Shown(image, before, question.text, answers, generate=True, previous=previous)]
    return [
        Shown(
            image,
            before,
            shown(question, order),
            tuple(question.choices[place] for place in order),
            generate=number == 0,
            previous=previous,
        )
        for number, order in enumerate(cyclic_orders(len(question.choices)))
    ]


def spread(questions: Sequence[Question], most: int | None) -> list[Question]:
    """At most so many questions of each kind, evenly spaced; both cases of a pair, or neither.

    Of closed questions each answer keeps its share of the kind, give or take one.
    """
    if most is None:
        return list(questions)
    units: dict[str, dict[str, list[Question]]] = {}
    for question in questions:
        units.setdefault(question.kind, {}).setdefault(pair_of(question), []).append(question)
    by_answer = (sorted(kind.values(), key=_closed_answers) for kind in units.values())
    kept = {q.id for kind in by_answer for q in _spaced(kind, most)}
    return [question for question in questions if question.id in kept]


def _closed_answers(unit: Sequence[Question]) -> tuple[str, ...]:
    """What puts those of one answer beside each other, in their order; open ones stay in theirs."""
    return tuple(question.answer if question.choices else "" for question in unit)


def _spaced(units: Sequence[Sequence[Question]], most: int) -> list[Question]:
    wanted = min(len(units), max(1, most // max(len(unit) for unit in units)))
    return [q for n in range(wanted) for q in units[n * len(units) // wanted]]


def pair_of(question: Question) -> str:
    """The pair that a two-turn case belongs to; of any other question its own id."""
    return question.id[:-1] if question.kind.startswith("two-turn-") else question.id
