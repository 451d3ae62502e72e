"""A scan on the page, what was asked about it, and what in the answers is right or wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from medblip.vqa.questions import SessionImage, Turn

Found = Literal["right", "missing", "wrong"]


@dataclass(frozen=True, slots=True)
class Mark:
    """A fact of the true answer or of ours: right, missing in ours, or wrong in ours."""

    fact: str
    found: Found


@dataclass(frozen=True)
class CaseTurn:
    """A question, the true answer, and what was generated.

    Attributes:
        before: what was said before, where it is not a turn of the same case.
        right: by the main score: likelihood of closed questions, facts of open ones.
        marks: facts; none where neither answer states any.
    """

    before: tuple[Turn, ...]
    question: str
    choices: tuple[str, ...]
    truth: str
    said: str
    right: bool
    marks: tuple[Mark, ...]


@dataclass(frozen=True)
class FigureCase:
    """A scan and what was asked about it.

    Attributes:
        scan: whose it is.
        title: what it is.
        picture: PNG of three planes; empty where the volume is no longer in the cache.
        turns: at least one.
    """

    scan: SessionImage
    title: str
    picture: bytes
    turns: tuple[CaseTurn, ...]

    @property
    def right(self) -> bool:
        return all(turn.right for turn in self.turns)
