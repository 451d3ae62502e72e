"""Whose a run folder is: the recipe, study and code it was started with, and what has changed.

What changes the result (recipe, data, code) is refused unless it is accepted by name; what may
change its last bits (device, precision, processes, threads) is told. Both are written down.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from medblip.errors import UsageError
from medblip.recipe import Recipe, load_recipe
from medblip.storage import sha256_of_file, write_json
from medblip.study.soundness import table_hashes
from medblip.study.study import Study
from medblip.study.tables import nearest
from medblip.training.disk import saving
from medblip.vqa.question_file import QUESTIONS_FILE

RECIPE_FILE = "recipe.yaml"
CLAIM_FILE = "claim.json"
CHANGES_FILE = "changes.jsonl"
KINDS = ("recipe", "data", "code")
LIBRARIES = ("torch", "transformers", "peft", "accelerate")
SURROUNDINGS = ("device", "precision", "processes", "threads")
PACKAGE = Path(__file__).resolve().parent.parent
# What training runs through; work on anything else does not stop a run.
ROOMS = ("training", "model", "study", "volumes", "vqa", "recipe.py", "storage.py")
SHOWN = 8  # changes that a message names

Changes = dict[str, list[str]]


def new_claim(
    study: Study, environment: Mapping[str, Any], *, questions: bool = False
) -> dict[str, dict[str, str]]:
    """What a run depends on besides its recipe: groups of names with their states.

    Args:
        environment: as in ``environment.json``.
        questions: whether the recipe asks the questions of the study.
    """
    data = {**table_hashes(study.folder), "preprocessing": study.info.preprocessing.fingerprint}
    asked = study.folder / QUESTIONS_FILE
    if questions and asked.is_file():
        data[QUESTIONS_FILE] = sha256_of_file(asked)
    return {
        "data": data,
        "code": {
            **{name: str(environment[name]) for name in LIBRARIES},
            **dict(_own_files()),
        },
        "surroundings": {name: str(environment[name]) for name in SURROUNDINGS},
    }


def _own_files() -> Iterator[tuple[str, str]]:
    """Each file of the package that training may run through, and the start of its hash."""
    for file in sorted(PACKAGE.rglob("*.py")):
        name = file.relative_to(PACKAGE)
        if name.parts[0] in ROOMS:
            yield name.as_posix(), hashlib.sha256(file.read_bytes()).hexdigest()[:16]


def changes_since(out: Path, recipe: Recipe, claim: Mapping[str, Mapping[str, str]]) -> Changes:
    """What is not as it was when the run in ``out`` was claimed, by kind; nothing if it is new."""
    changes: Changes = {}
    if (out / RECIPE_FILE).exists():
        before = _flat(load_recipe(out / RECIPE_FILE).model_dump(mode="json"))
        changes["recipe"] = _differences(before, _flat(recipe.model_dump(mode="json")))
    if (out / CLAIM_FILE).exists():
        claimed = json.loads((out / CLAIM_FILE).read_text(encoding="utf-8"))
        changes["data"] = _names(claimed["data"], claim["data"])
        changes["code"] = _code(claimed["code"], claim["code"])
        changes["surroundings"] = _differences(claimed["surroundings"], claim["surroundings"])
    return {kind: found for kind, found in changes.items() if found}


def require_accepted(
    out: Path, changes: Changes, accepted: Sequence[str], *, finished: bool
) -> None:
    """Refuse to go on with what has changed, unless that is said.

    Args:
        finished: the run is; other code then does no harm, and nothing else can be accepted.

    Raises:
        UsageError: ``changed-since`` something changed that is not accepted.
    """
    refused = [kind for kind in KINDS if kind in changes and kind not in accepted]
    fix = "choose another --out"
    if finished:
        refused = [kind for kind in ("recipe", "data") if kind in changes]
    else:
        option = f"--accept-changes {','.join(kind for kind in KINDS if kind in changes)}"
        command = option if "recipe" in changes else f"`medblip train --resume {out} {option}`"
        fix = f"go on all the same with {command}, or {fix}"
    if refused:
        told = "; ".join(f"another {kind}: {_told(changes[kind])}" for kind in refused)
        raise UsageError(
            str(out),
            f"this {'finished ' if finished else ''}run was started with {told}",
            fix,
            code="changed-since",
        )


def check_kinds(accepted: Sequence[str]) -> None:
    """Refuse kinds of change that there are none of.

    Raises:
        UsageError: ``bad-accept``.
    """
    for kind in accepted:
        if kind not in KINDS:
            fix = nearest(kind, KINDS) or f"expected some of {','.join(KINDS)}"
            raise UsageError("--accept-changes", f"{kind!r} is no kind", fix, code="bad-accept")


def write_claim(out: Path, recipe: Recipe, claim: Mapping[str, Mapping[str, str]]) -> None:
    """From now on the run is of this."""
    recipe.write(out / RECIPE_FILE)
    write_json(out / CLAIM_FILE, claim)


def note_changes(out: Path, changes: Changes, stage: str, step: int) -> None:
    """Add what changed to ``changes.jsonl``, with the time and the step the run goes on from."""
    when = datetime.now(UTC).isoformat(timespec="seconds")
    row = {"when": when, "stage": stage, "step": step, "changes": changes}
    with saving(out), (out / CHANGES_FILE).open("a", encoding="utf-8") as handle:
        handle.write(json.dumps(row, ensure_ascii=False) + "\n")


def _flat(values: Mapping[str, Any], under: str = "") -> dict[str, Any]:
    """Dotted keys; values as JSON has them."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{under}{key}.")
        else:
            flat[f"{under}{key}"] = value
    return flat


def _differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """``"tune.steps: 230 -> 300"``."""
    keys = [*before, *(key for key in now if key not in before)]
    return [
        f"{key}: {_say(before.get(key))} -> {_say(now.get(key))}"
        for key in keys
        if before.get(key) != now.get(key)
    ]


def _names(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    return sorted(key for key in {*before, *now} if before.get(key) != now.get(key))


def _code(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Versions of libraries as they were and are; of our own files the names."""
    libraries = _differences(*({k: c[k] for k in LIBRARIES if k in c} for c in (before, now)))
    return [*libraries, *(name for name in _names(before, now) if name not in LIBRARIES)]


def _say(value: Any) -> str:
    return "none" if value is None else str(value)


def _told(changes: list[str]) -> str:
    rest = len(changes) - SHOWN
    return ", ".join(changes[:SHOWN]) + (f" and {rest} more" if rest > 0 else "")
