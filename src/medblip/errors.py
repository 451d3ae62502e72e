"""Errors a user can act on: each names where, what was found, what was expected, and the fix."""

from __future__ import annotations

from typing import ClassVar


class MedBlipError(Exception):
    """Base of every error that MedBLIP raises on purpose.

    Args:
        where: file, row or field the problem lies in, as the user would write it.
        problem: what was found and what was expected.
        fix: what to do about it; may be empty where nothing can be done.
        code: short stable name of the fault, e.g. ``truncated-file``; tests and tables use it.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, where: str, problem: str, fix: str = "", *, code: str = "error") -> None:
        self.where = where
        self.problem = problem
        self.fix = fix
        self.code = code
        super().__init__(self._message())

    def _message(self) -> str:
        message = f"{self.where}: {self.problem}"
        return f"{message}; {self.fix}" if self.fix else message

    def __reduce__(self) -> tuple[object, ...]:
        # Errors cross process boundaries; the keyword-only code must survive.
        return (_rebuild, (type(self), self.where, self.problem, self.fix, self.code))


def _rebuild(
    cls: type[MedBlipError], where: str, problem: str, fix: str, code: str
) -> MedBlipError:
    return cls(where, problem, fix, code=code)


class UsageError(MedBlipError):
    """The command or call was used wrongly (exit code 2)."""

    exit_code = 2


class InputError(MedBlipError):
    """A scan, table, text or checkpoint cannot be used (exit code 3)."""

    exit_code = 3


class PartlyDoneError(MedBlipError):
    """Some of what was asked was done, the rest is listed (exit code 4)."""

    exit_code = 4
