"""One question about one scan: what is asked, what may be answered, what is right."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from medblip.errors import InputError

MAX_TEXT_CHARS = 4000  # as long as a record may be
MAX_CHOICES = 8
MAX_TURNS = 32
LETTERS = "ABCDEFGH"


@dataclass(frozen=True, slots=True)
class SessionImage:
    """The primary image of a session of a study, by the keys of ``sessions.tsv``."""

    participant_id: str
    session_id: str


@dataclass(frozen=True, slots=True)
class VolumeFile:
    """A volume by its path relative to the root of its data set, with forward slashes."""

    path: str


ImageKey = SessionImage | VolumeFile


@dataclass(frozen=True, slots=True)
class Turn:
    """An earlier turn of a dialogue: what was asked and what was answered."""

    question: str
    answer: str


@dataclass(frozen=True, slots=True)
class Question:
    """One question; valid once constructed.

    Attributes:
        id: unique in its file.
        image: the scan it is about.
        text: what is asked, without the choices.
        kind: what it tests, e.g. ``skull``; results are given by kind.
        answer: the right answer; one of ``choices`` where there are any.
        choices: in the order they are shown; none for an open question.
        answerable: whether the scan can show it; else ``answer`` says that it cannot.
        turns: what was said before, oldest first.
        prior: an earlier session of the same subject, whose scan is shown before this one.

    Raises:
        InputError: a text is empty or too long, the choices are one, more than eight or equal, the
            answer is not among them, the path could lead out of its root, or the prior session is
            another subject's or the same. The error's ``where`` is the question's id.
    """

    id: str
    image: ImageKey
    text: str
    kind: str
    answer: str
    choices: tuple[str, ...] = ()
    answerable: bool = True
    turns: tuple[Turn, ...] = ()
    prior: SessionImage | None = None

    def __post_init__(self) -> None:
        where = f"question {self.id[:60]!r}"
        _check_texts(self, where)
        _check_choices(self, where)
        if isinstance(self.image, VolumeFile):
            check_path(self.image.path, where)
        if self.prior is not None:
            _check_prior(self.image, self.prior, where)

    @property
    def answer_index(self) -> int:
        """Position of the answer among the choices; ValueError for an open question."""
        return self.choices.index(self.answer)


def folded(text: str) -> str:
    """``text`` as answers are compared: NFC, case folded, blanks joined, without a final period."""
    plain = unicodedata.normalize("NFC", " ".join(text.split())).casefold()
    return plain.removesuffix(".").rstrip()


def check_path(path: str, where: str) -> None:
    """Raise InputError unless ``path`` is relative, with forward slashes and without ``..``."""
    parts = path.split("/")
    if not path or "\\" in path or ":" in path or "\0" in path or {"", "..", "."} & set(parts):
        problem = f"the volume's path is {path[:80]!r}, expected a path inside the data set"
        fix = "write it relative to the root, with forward slashes and without '..'"
        raise InputError(where, problem, fix, code="unsafe-path")


def _check_texts(question: Question, where: str) -> None:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._:+-]{0,199}", question.id):
        problem = "the id must be 1 to 200 letters, digits and . _ : + -, beginning with one"
        raise InputError(where, problem, code="bad-id")
    texts = {"text": question.text, "kind": question.kind, "answer": question.answer}
    texts |= {f"choice {n}": choice for n, choice in enumerate(question.choices, start=1)}
    for n, turn in enumerate(question.turns, start=1):
        texts |= {f"turn {n} question": turn.question, f"turn {n} answer": turn.answer}
    for name, text in texts.items():
        if not text.strip():
            raise InputError(where, f"the {name} is empty", "fill it in", code="missing-field")
        if len(text) > MAX_TEXT_CHARS:
            problem = f"the {name} has {len(text)} characters, expected at most {MAX_TEXT_CHARS}"
            raise InputError(where, problem, "shorten it", code="text-too-long")
        if any("\ud800" <= character <= "\udfff" for character in text):
            problem = f"the {name} holds half a character"  # would fail when it is written
            raise InputError(where, problem, "save it as UTF-8", code="wrong-encoding")
    if len(question.turns) > MAX_TURNS:
        problem = f"{len(question.turns)} turns, expected at most {MAX_TURNS}"
        raise InputError(where, problem, "shorten the dialogue", code="too-many-turns")


def _check_prior(image: ImageKey, prior: SessionImage, where: str) -> None:
    same_subject = isinstance(image, SessionImage) and image.participant_id == prior.participant_id
    if not same_subject or image == prior:
        problem = "the prior session must be another session of the same subject"
        raise InputError(where, problem, "name an earlier one, or none", code="wrong-prior")


def _check_choices(question: Question, where: str) -> None:
    choices = question.choices
    if not choices:
        return
    if not 2 <= len(choices) <= MAX_CHOICES:
        problem = f"{len(choices)} choices, expected none or 2 to {MAX_CHOICES}"
        raise InputError(where, problem, code="wrong-choices")
    if len({folded(choice) for choice in choices}) < len(choices):
        fix = "make the choices differ in more than case"
        raise InputError(where, "two choices are equal", fix, code="equal-choices")
    if question.answer not in choices:
        problem = f"the answer {question.answer[:60]!r} is not among the choices"
        fix = "write it exactly as one of the choices"
        raise InputError(where, problem, fix, code="answer-not-among-choices")
