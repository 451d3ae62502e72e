"""A reader for NeuroQA-type JSONL: yes/no, multiple-choice and open questions about 3D brain MRI.

Of NeuroQA (arXiv 2605.20525) we could read the abstract only, not the released files. So the names
of the keys are settings, and their defaults are assumptions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medblip.errors import InputError
from medblip.study.text import clean_text
from medblip.vqa.json_lines import LIMITS, LineLimits, read_lines
from medblip.vqa.question_file import check_volume, text_of
from medblip.vqa.question_set import QuestionSet, gather
from medblip.vqa.questions import LETTERS, Question, VolumeFile, folded

YES_NO = ("yes", "no")


@dataclass(frozen=True, slots=True)
class NeuroQaKeys:
    """Which key of a line holds what; all names are assumptions, and all are settings.

    Attributes:
        choices: a list of texts, or an object from letter to text; absent, null or empty where
            there are none. A question without choices that is answered yes or no gets these two.
        answer: one of the choices, or its letter.
        answerable: may be absent, which means true.
    """

    id: str = "id"
    image: str = "image"
    question: str = "question"
    kind: str = "question_type"
    choices: str = "choices"
    answer: str = "answer"
    answerable: str = "answerable"


KEYS = NeuroQaKeys()


def read_neuroqa(
    path: Path,
    *,
    root: Path | None = None,
    keys: NeuroQaKeys = KEYS,
    limits: LineLimits = LIMITS,
) -> QuestionSet:
    """Read such a file; a bad line is skipped with one ``error`` finding.

    Args:
        root: folder that the volumes' paths start from; as for `read_m3d`.

    Raises:
        InputError: the file cannot be read or is too large.
    """
    return gather(_entries(path, root, keys, limits))


def _entries(
    path: Path, root: Path | None, keys: NeuroQaKeys, limits: LineLimits
) -> Iterator[tuple[str, Question | InputError]]:
    for place, value in read_lines(path, limits):
        if isinstance(value, InputError):
            yield place, value
            continue
        try:
            question = _question(value, keys, place)
            check_volume(VolumeFile(text_of(value, keys.image, place)), root)
            yield place, question
        except InputError as error:
            yield place, error


def _question(value: Mapping[str, Any], keys: NeuroQaKeys, place: str) -> Question:
    said = clean_text(text_of(value, keys.answer, place))[0]
    choices, letters = _choices(value.get(keys.choices), place)
    if not choices and folded(said) in YES_NO:
        choices, said = YES_NO, folded(said)
    answerable = value.get(keys.answerable, True)
    if not isinstance(answerable, bool):
        problem = f"{keys.answerable} must be true or false"
        raise InputError(place, problem, code="wrong-type")
    return Question(
        id=text_of(value, keys.id, place),
        image=VolumeFile(text_of(value, keys.image, place)),
        text=clean_text(text_of(value, keys.question, place))[0],
        kind=text_of(value, keys.kind, place),
        answer=_among(said, choices, letters),
        choices=choices,
        answerable=answerable,
    )


def _choices(value: Any, place: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The choices and their letters."""
    if not value:
        return (), ()
    texts = list(value.values()) if isinstance(value, dict) else value
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        problem = "the choices must be a list of texts or an object from letter to text"
        raise InputError(place, problem, code="wrong-type")
    letters = tuple(str(key).upper() for key in value) if isinstance(value, dict) else LETTERS
    return tuple(clean_text(text)[0] for text in texts), tuple(letters)


def _among(said: str, choices: tuple[str, ...], letters: tuple[str, ...]) -> str:
    """The choice that ``said`` names by its text or by its letter; else ``said`` itself."""
    for choice in choices:
        if folded(choice) == folded(said):
            return choice
    by_letter = dict(zip(letters, choices, strict=False))
    return by_letter.get(said.removesuffix(".").upper(), said)
