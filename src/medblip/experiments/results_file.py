"""``results.json``: small enough for git and still read by people, line by line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from medblip.storage import write_text

DIGITS = 4  # significant ones: more than any interval here is worth


def write_results(path: Path, values: dict[str, Any]) -> None:
    """Write `results_text` atomically.

    Raises:
        ValueError: a number is not finite.
    """
    write_text(path, results_text(values))


def results_text(values: dict[str, Any]) -> str:
    """JSON, numbers rounded, what holds no list or dict on one line.

    Raises:
        ValueError: a number is not finite.
    """
    return _text(_rounded(values), "") + "\n"


def _rounded(value: Any) -> Any:
    """To `DIGITS` significant digits, so that small p-values keep theirs."""
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}")
    if isinstance(value, dict):
        return {key: _rounded(below) for key, below in value.items()}
    return [_rounded(below) for below in value] if isinstance(value, list | tuple) else value


def _text(value: Any, indent: str) -> str:
    below = list(value.values() if isinstance(value, dict) else value) if _holds(value) else []
    if not any(_holds(inner) for inner in below):
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    deeper = f"{indent} "
    texts = [_text(inner, deeper) for inner in below]
    if isinstance(value, dict):
        names = [json.dumps(str(key), ensure_ascii=False) for key in value]
        texts = [f"{name}: {text}" for name, text in zip(names, texts, strict=True)]
    opening, closing = "{}" if isinstance(value, dict) else "[]"
    lines = ",\n".join(f"{deeper}{text}" for text in texts)
    return f"{opening}\n{lines}\n{indent}{closing}"


def _holds(value: Any) -> bool:
    return isinstance(value, dict | list)
