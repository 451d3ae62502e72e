"""``questions.jsonl`` of a study folder: one question a line, written and read back."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from medblip.errors import InputError
from medblip.storage import write_text
from medblip.study.tables import nearest
from medblip.volumes.locating import locate
from medblip.vqa.json_lines import LIMITS, LineLimits, read_lines
from medblip.vqa.priors import Visits, check_prior
from medblip.vqa.question_set import QuestionSet, gather
from medblip.vqa.questions import ImageKey, Question, SessionImage, Turn, VolumeFile

QUESTIONS_FILE = "questions.jsonl"
REQUIRED = ("id", "text", "kind", "answer")
OPTIONAL = (
    *("participant_id", "session_id", "prior_session_id", "volume"),
    *("choices", "answerable", "turns"),
)


def write_questions(path: Path, questions: Iterable[Question]) -> None:
    """Write the questions atomically, in their order."""
    write_text(path, "".join(f"{json.dumps(as_dict(q), ensure_ascii=False)}\n" for q in questions))


def as_dict(question: Question) -> dict[str, Any]:
    """The object of one line; what is empty is left out."""
    image = question.image
    if isinstance(image, VolumeFile):
        key = {"volume": image.path}
    else:
        key = {"participant_id": image.participant_id, "session_id": image.session_id}
        if question.prior is not None:
            key |= {"prior_session_id": question.prior.session_id}
    value: dict[str, Any] = {
        "id": question.id,
        **key,
        "kind": question.kind,
        "text": question.text,
        "answer": question.answer,
    }
    if question.choices:
        value["choices"] = list(question.choices)
    if not question.answerable:
        value["answerable"] = False
    if question.turns:
        value["turns"] = [{"question": t.question, "answer": t.answer} for t in question.turns]
    return value


def read_questions(
    path: Path,
    *,
    sessions: Collection[tuple[str, str]] | None = None,
    root: Path | None = None,
    visits: Visits | None = None,
    limits: LineLimits = LIMITS,
) -> QuestionSet:
    """Read a file of questions; a bad line is skipped with one ``error`` finding.

    Args:
        sessions: known ``(participant_id, session_id)``; questions about others are skipped.
            None accepts any.
        root: folder that volumes' paths start from; those that are not there are skipped. None
            checks only that the path could not lead out of it.
        visits: what is known of each session as an earlier one; questions whose prior session is
            not there or not earlier are skipped. None accepts any.

    Raises:
        InputError: the file cannot be read or is too large.
    """
    return gather(_entries(path, sessions, root, visits, limits))


def _entries(
    path: Path,
    sessions: Collection[tuple[str, str]] | None,
    root: Path | None,
    visits: Visits | None,
    limits: LineLimits,
) -> Iterator[tuple[str, Question | InputError]]:
    for place, value in read_lines(path, limits):
        if isinstance(value, InputError):
            yield place, value
            continue
        try:
            question = _question(value, place)
            _check_image(question.image, place, sessions, root)
            if visits is not None:
                check_prior(question, visits, place)
            yield place, question
        except InputError as error:
            yield place, error


def _question(value: Mapping[str, Any], place: str) -> Question:
    for key in value:
        if key not in REQUIRED and key not in OPTIONAL:
            fix = nearest(key, (*REQUIRED, *OPTIONAL))
            raise InputError(place, f"the key {key!r} is not known", fix, code="unknown-key")
    identifier, text, kind, answer = (text_of(value, key, place) for key in REQUIRED)
    answerable = value.get("answerable", True)
    if not isinstance(answerable, bool):
        raise InputError(place, "answerable must be true or false", code="wrong-type")
    image = _image(value, place)
    return Question(
        id=identifier,
        image=image,
        text=text,
        kind=kind,
        answer=answer,
        choices=tuple(texts_of(value, "choices", place)),
        answerable=answerable,
        turns=tuple(_turn(turn, place) for turn in _listed(value, "turns", place)),
        prior=_prior(value, image, place),
    )


def text_of(value: Mapping[str, Any], key: str, place: str) -> str:
    """A text that must be there; InputError where it is missing or no text."""
    if key not in value:
        raise InputError(place, f"{key} is missing", "add it", code="missing-field")
    if not isinstance(value[key], str):
        problem = f"{key} is a {type(value[key]).__name__}, expected a text"
        raise InputError(place, problem, code="wrong-type")
    return str(value[key])


def texts_of(value: Mapping[str, Any], key: str, place: str) -> list[str]:
    """A list of texts that may be absent."""
    listed = _listed(value, key, place)
    if not all(isinstance(text, str) for text in listed):
        raise InputError(place, f"{key} must hold texts only", code="wrong-type")
    return [str(text) for text in listed]


def _listed(value: Mapping[str, Any], key: str, place: str) -> list[Any]:
    listed = value.get(key, [])
    if not isinstance(listed, list):
        problem = f"{key} is a {type(listed).__name__}, expected a list"
        raise InputError(place, problem, code="wrong-type")
    return listed


def _turn(value: Any, place: str) -> Turn:
    if not isinstance(value, dict) or set(value) != {"question", "answer"}:
        problem = "a turn must be an object with question and answer"
        raise InputError(place, problem, code="wrong-type")
    return Turn(text_of(value, "question", place), text_of(value, "answer", place))


def _image(value: Mapping[str, Any], place: str) -> ImageKey:
    by_session = "participant_id" in value or "session_id" in value
    if by_session == ("volume" in value):
        problem = "expected either participant_id and session_id, or volume"
        raise InputError(place, problem, "say which scan is asked about", code="missing-image")
    if by_session:
        return SessionImage(*(text_of(value, k, place) for k in ("participant_id", "session_id")))
    return VolumeFile(text_of(value, "volume", place))


def _prior(value: Mapping[str, Any], image: ImageKey, place: str) -> SessionImage | None:
    if "prior_session_id" not in value:
        return None
    if isinstance(image, VolumeFile):
        problem = "prior_session_id stands beside volume, expected participant_id and session_id"
        raise InputError(place, problem, "a volume has no sessions", code="wrong-prior")
    return SessionImage(image.participant_id, text_of(value, "prior_session_id", place))


def _check_image(
    image: ImageKey,
    place: str,
    sessions: Collection[tuple[str, str]] | None,
    root: Path | None,
) -> None:
    if isinstance(image, VolumeFile):
        check_volume(image, root)
    elif sessions is not None and (image.participant_id, image.session_id) not in sessions:
        problem = "the study does not have this subject with this session"
        fix = "write participant_id and session_id as in sessions.tsv"
        raise InputError(place, problem, fix, code="unknown-session")


def check_volume(image: VolumeFile, root: Path | None) -> None:
    """Raise InputError if a root is given and the volume is not a file inside it."""
    if root is not None:
        locate(root / image.path, root)
