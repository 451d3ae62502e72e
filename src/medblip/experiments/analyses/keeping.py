"""Analyses in files, so that the same command given again does not compute them again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from medblip.experiments.analyses.estimate import Kept
from medblip.storage import write_json

FOLDER = "analyses"
_KEY_LENGTH = 12

Found = TypeVar("Found", bound=Kept)


def kept_or_made(
    folder: Path,
    name: str,
    version: int,
    on: Sequence[str],
    kind: type[Found],
    make: Callable[[], Found],
) -> Found:
    """An analysis as an earlier call kept it, or made now and kept.

    Args:
        folder: of the experiment.
        name: of the analysis.
        version: of how it is computed; another one computes anew.
        on: all that it depends on besides the study, which the folder stands for: runs, columns.
        kind: of the result.
        make: computes it.
    """
    words = json.dumps([version, *on])
    key = hashlib.sha256(words.encode()).hexdigest()[:_KEY_LENGTH]
    file = folder / FOLDER / f"{name}.{key}.json"
    if file.exists():
        try:
            return kind.model_validate_json(file.read_bytes())
        except ValidationError:
            pass  # of another version of the program
    found = make()
    write_json(file, found.model_dump(mode="json"))
    return found
