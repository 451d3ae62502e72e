"""A file of one JSON object a line, read strictly: a bad line is a finding, the others are read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from medblip.errors import InputError

MAX_FILE_BYTES = 1 << 30
MAX_LINE_BYTES = 1 << 16
MAX_LINES = 2_000_000


@dataclass(frozen=True, slots=True)
class LineLimits:
    """What a file of lines may hold.

    Attributes:
        max_file_bytes, max_lines: larger files are refused.
        max_line_bytes: a longer line is skipped with a finding.
    """

    max_file_bytes: int = MAX_FILE_BYTES
    max_line_bytes: int = MAX_LINE_BYTES
    max_lines: int = MAX_LINES


LIMITS = LineLimits()


def read_lines(
    path: Path, limits: LineLimits = LIMITS
) -> Iterator[tuple[str, dict[str, Any] | InputError]]:
    """Yield ``(place, object)`` or ``(place, error)`` of each line that is not blank.

    Raises:
        InputError: the file cannot be read, holds nothing, or is larger than the limits.
    """
    blank = True
    try:
        size = path.stat().st_size
        if size > limits.max_file_bytes:
            problem = f"the file has {size} bytes, expected at most {limits.max_file_bytes}"
            raise InputError(path.name, problem, "part it", code="file-too-large")
        with path.open("rb") as handle:
            for number, line in enumerate(_bounded(handle, limits.max_line_bytes), start=1):
                place = f"{path.name} line {number}"
                if number > limits.max_lines:
                    problem = f"more than {limits.max_lines} lines"
                    raise InputError(path.name, problem, "part the file", code="file-too-large")
                if line.strip():
                    blank = False
                    yield place, _object(line, place, limits.max_line_bytes)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise InputError(path.name, f"cannot be read: {reason}", code="unreadable-file") from error
    if blank:
        fix = "write one JSON object a line"
        raise InputError(path.name, "the file is empty", fix, code="empty-file")


def _bounded(handle: Any, most: int) -> Iterator[bytes]:
    """The lines, of an overlong one only its first ``most + 1`` bytes."""
    while line := handle.readline(most + 1):
        rest = line
        while len(rest) > most and not rest.endswith(b"\n"):
            rest = handle.readline(most + 1)
        yield line


def _object(line: bytes, place: str, most: int) -> dict[str, Any] | InputError:
    if len(line) > most:
        problem = f"the line has more than {most} bytes"
        return InputError(place, problem, "shorten it", code="line-too-long")
    try:
        value = json.loads(
            line.decode("utf-8-sig"), object_pairs_hook=_once, parse_constant=_no_number
        )
    except UnicodeDecodeError:
        return InputError(place, "is not UTF-8 text", "save it as UTF-8", code="wrong-encoding")
    except (ValueError, RecursionError) as error:
        problem = f"is not JSON: {error or type(error).__name__}"
        return InputError(place, problem, "write one JSON object a line", code="not-json")
    if not isinstance(value, dict):
        problem = f"holds a {type(value).__name__}, expected an object"
        return InputError(place, problem, "write one JSON object a line", code="not-an-object")
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        raise ValueError("a key is there twice")
    return value


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")
