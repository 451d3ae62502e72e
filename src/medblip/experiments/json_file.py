"""What an experiment keeps as JSON, read again: a damaged file is told by name."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from medblip.errors import InputError

T = TypeVar("T")


def read_kept(file: Path, make: Callable[[Any], T], fix: str) -> T:
    """``make`` of what the file holds.

    Args:
        make: raises KeyError, TypeError, ValueError or AttributeError where it is not as written.
        fix: what to do about a damaged file.

    Raises:
        InputError: the file cannot be read, is no JSON, or is not as it was written.
    """
    try:
        return make(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        problem = f"is damaged ({type(error).__name__}: {error})"
        raise InputError(str(file), problem, fix, code="damaged-experiment") from error
