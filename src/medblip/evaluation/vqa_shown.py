"""What a model is shown of a question: under which condition, in which orders of the choices."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Literal, NamedTuple

from medblip.evaluation.controls import BLANK_IMAGE, NO_IMAGE, ControlText, other_subjects
from medblip.study.study import Example
from medblip.vqa.choice_scores import cyclic_orders
from medblip.vqa.prompting import lettered, said_before, shown
from medblip.vqa.questions import Question
from medblip.vqa.study_questions import SessionKey

QuestionCondition = Literal["full", "no_image", "other_image", "blank_image"]

QUESTION_CONDITIONS: dict[QuestionCondition, ControlText] = {
    "full": ControlText("The scan", "The model as it is used; no record in the prompt.", ""),
    "no_image": ControlText("No image", "The same model; the prompt announces no image.", "image"),
    "other_image": ControlText(
        "Another subject's image", "The scan of another subject of the same split.", "image"
    ),
    "blank_image": ControlText(
        "Blank image", "An empty volume that the prompt still announces.", "image"
    ),
}


class Shown(NamedTuple):
    """One prompt about one image; two equal ones get the same reply.

    Attributes:
        image: name of a cube, or what stands in its place.
        before: earlier turns, as text.
        asked: the question, with its choices where it has some.
        answers: candidates; none for an open question.
        generate: whether an answer is generated.
    """

    image: str
    before: str
    asked: str
    answers: tuple[str, ...]
    generate: bool

    @property
    def key(self) -> str:
        """Name of what is shown, whoever it is about."""
        return hashlib.sha256(json.dumps(self).encode()).hexdigest()[:24]


def images_of(
    examples: Sequence[Example], condition: QuestionCondition, seed: int = 0
) -> dict[SessionKey, str]:
    """The image that is shown for each session under a condition."""
    if condition == "no_image":
        images = [NO_IMAGE] * len(examples)
    elif condition == "blank_image":
        images = [BLANK_IMAGE] * len(examples)
    else:
        seen = other_subjects(examples, seed) if condition == "other_image" else examples
        images = [example.cube for example in seen]
    keys = [(e.participant_id, e.session_id) for e in examples]
    return dict(zip(keys, images, strict=True))


def shown_of(question: Question, image: str) -> list[Shown]:
    """A prompt for each cyclic order of the choices, the first of which is answered in words too.

    An open question has one prompt.
    """
    before = said_before(question)
    if not question.choices:
        return [Shown(image, before, question.text, (), generate=True)]
    return [
        Shown(
            image,
            before,
            shown(question, order),
            tuple(lettered(question, order)),
            generate=number == 0,
        )
        for number, order in enumerate(cyclic_orders(len(question.choices)))
    ]


def spread(questions: Sequence[Question], most: int | None) -> list[Question]:
    """At most so many questions of each kind, evenly spaced; both cases of a pair, or neither."""
    if most is None:
        return list(questions)
    units: dict[str, dict[str, list[Question]]] = {}
    for question in questions:
        units.setdefault(question.kind, {}).setdefault(pair_of(question), []).append(question)
    kept = {q.id for kind in units.values() for q in _spaced(list(kind.values()), most)}
    return [question for question in questions if question.id in kept]


def _spaced(units: Sequence[Sequence[Question]], most: int) -> list[Question]:
    wanted = min(len(units), max(1, most // max(len(unit) for unit in units)))
    return [q for n in range(wanted) for q in units[n * len(units) // wanted]]


def pair_of(question: Question) -> str:
    """The pair that a two-turn case belongs to; of any other question its own id."""
    return question.id[:-1] if question.kind.startswith("two-turn-") else question.id
