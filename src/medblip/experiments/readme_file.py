"""The small results file that is kept in git: an experiment's ``results.json`` without its bulk."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any

from medblip.errors import InputError
from medblip.experiments.outcome import SCHEMA
from medblip.experiments.results_file import results_text
from medblip.storage import write_text

MAX_BYTES = 200_000
KEPT = ("schema", "created", "medblip", "notice", "simulated", "command", "facts", "hours")
_TABLE = ("table", "title", "columns", "notes")
_ROW = ("key", "title", "role", "paper_row")
_CELL = ("accuracy", "n_subjects", "n_rows", "paper_percent", "against_best_control")
_CLAIM = ("table", "claim", "answer", "text")


def read_results(path: Path) -> dict[str, Any]:
    """What ``results.json`` or its small copy holds.

    Raises:
        InputError: it cannot be read, is no such file, or its numbers mean nothing (tiny size).
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        problem = f"cannot be read as JSON ({type(error).__name__})"
        fix = "give the results.json that `medblip experiment` wrote"
        raise InputError(str(path), problem, fix, code="bad-results") from None
    if not isinstance(value, dict) or value.get("schema") != SCHEMA:
        fix = "give the results.json that `medblip experiment` wrote"
        raise InputError(str(path), f"its schema is not {SCHEMA}", fix, code="bad-results")
    if value.get("means_nothing"):
        problem = f"not to be shown as results: {value['means_nothing']}"
        fix = "give results of another --recipe-size"
        raise InputError(str(path), problem, fix, code="means-nothing")
    return value


def keep_results(source: Path, kept: Path) -> None:
    """Write the small copy of ``results.json``.

    Absolute paths in its command lose their folders, which are of one machine.

    Raises:
        InputError: see `read_results`; or the copy would be larger than `MAX_BYTES`.
    """
    found = read_results(source)
    try:
        value = _without_bulk(found)
    except (KeyError, TypeError, AttributeError) as error:
        problem = f"is not whole ({type(error).__name__}: {error})"
        raise InputError(str(source), problem, "run it again", code="bad-results") from None
    text = results_text(value)
    if len(text.encode()) > MAX_BYTES:
        problem = f"its copy would have {len(text.encode())} bytes, expected at most {MAX_BYTES}"
        raise InputError(str(source), problem, code="file-too-large")
    write_text(kept, text)


def _without_bulk(found: Mapping[str, Any]) -> dict[str, Any]:
    tables = [
        {**_only(table, _TABLE), "rows": [_row(row) for row in table["rows"]]}
        for table in found["tables"]
        if "rows" in table
    ]
    return {
        **_only(found, KEPT),
        "command": _without_folders(found["command"]),
        "tables": tables,
        "claims": [_only(claim, _CLAIM) for claim in found["claims"]],
        "failed": found["failed"],
    }


def _row(row: Mapping[str, Any]) -> dict[str, Any]:
    return {**_only(row, _ROW), "cells": [_only(cell, _CELL) for cell in row["cells"]]}


def _only(value: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: value[name] for name in names if name in value}


def _without_folders(command: str) -> str:
    words = shlex.split(command)
    return shlex.join(PurePath(w).name if PurePath(w).is_absolute() else w for w in words)
