"""What was noticed about a file, a row or a study, and what to do about it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

from medblip.errors import MedBlipError

Level = Literal["error", "warning", "note"]
LEVELS: tuple[Level, ...] = ("error", "warning", "note")  # the gravest first


@dataclass(frozen=True, slots=True)
class Finding:
    """One observation about an input.

    Attributes:
        code: short stable name, e.g. ``left-right-unknown``.
        level: ``error`` means the input is not used, ``warning`` that it is used with a doubt,
            ``note`` that something was handled and nothing is lost.
        where: file (relative to the data set), row and field.
        problem: what was found and what was expected.
        fix: what the user can do.
    """

    code: str
    level: Level
    where: str
    problem: str
    fix: str = ""

    @classmethod
    def from_error(cls, error: MedBlipError, where: str | None = None) -> Finding:
        """The finding that stands for an input that raised ``error``."""
        return cls(error.code, "error", where or error.where, error.problem, error.fix)

    def as_dict(self) -> dict[str, str]:
        return asdict(self)

    def __str__(self) -> str:
        text = f"[{self.level}] {self.where}: {self.problem}"
        return f"{text}; {self.fix}" if self.fix else text
