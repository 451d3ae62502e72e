"""Checkpoints that are whole or absent, and which of them to go on from.

A checkpoint is written into a folder beside, flushed to the disk, given its marker ``COMPLETE``
with the size of each file, and renamed into place. Only then are older ones removed.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from medblip.storage import write_json
from medblip.training.agreement import any_process, is_first_process
from medblip.training.disk import CannotSaveError, require_space, saving
from medblip.training.folders import size_of, sync_names, sync_tree

COMPLETE = "COMPLETE"
STAGING = ".checkpoint.part"
KEPT = 2


@contextmanager
def whole_checkpoint(folder: Path, step: int, estimate: int) -> Iterator[Path]:
    """Write ``checkpoint-{step}`` below the yielded folder; it is moved into ``folder`` when whole.

    With several processes each writes its part into the same place; the first one moves it.

    Args:
        estimate: bytes it may take, where there is no earlier one to go by.

    Raises:
        CannotSaveError: it does not fit or could not be written; what was there before stays.
    """
    staging = folder / STAGING
    name = f"checkpoint-{step}"
    before = newest_complete(folder)
    expected = size_of(before) if before else estimate
    with _together(folder, staging, expected):
        if is_first_process():
            shutil.rmtree(staging, ignore_errors=True)
            staging.mkdir(parents=True)
            require_space(folder, expected)
    with _together(folder, staging, expected):
        yield staging
    with _together(folder, staging, expected):
        if is_first_process():
            _move_in(staging / name, folder / name)
    if is_first_process():
        shutil.rmtree(staging, ignore_errors=True)
        _prune(folder)


@contextmanager
def _together(folder: Path, staging: Path, expected: int) -> Iterator[None]:
    """A part of a save that fails in all processes if it fails in one."""
    failure: CannotSaveError | None = None
    try:
        with saving(folder, expected):
            yield
    except CannotSaveError as error:
        failure = error
    if any_process(failure is not None):
        if is_first_process():
            shutil.rmtree(staging, ignore_errors=True)
        problem = "another process could not write its part of a checkpoint"
        raise failure or CannotSaveError(str(folder), problem, "see its message")


def _move_in(written: Path, place: Path) -> None:
    sync_tree(written)
    write_json(written / COMPLETE, {"files": _sizes(written)})
    sync_names(written)
    shutil.rmtree(place, ignore_errors=True)  # a damaged one of the same step
    written.rename(place)
    sync_names(place.parent)


def _sizes(folder: Path) -> dict[str, int]:
    files = (p for p in sorted(folder.rglob("*")) if p.is_file() and p.name != COMPLETE)
    return {p.relative_to(folder).as_posix(): p.stat().st_size for p in files}


def is_complete(folder: Path) -> bool:
    """Whether the marker is there, and every file as long as the marker says."""
    try:
        text = (folder / COMPLETE).read_text(encoding="utf-8")
        if not text:  # of version 0.1.0, which listed no files
            return True
        sizes = json.loads(text)["files"]
        return all((folder / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError, KeyError, TypeError):
        return False


def newest_complete(folder: Path) -> Path | None:
    """The latest whole checkpoint, or None."""
    return next(iter(_complete(folder)), None)


def step_of(checkpoint: Path) -> int:
    """Optimizer steps that had been made when it was written."""
    return int(checkpoint.name.split("-")[1])


def _complete(folder: Path) -> list[Path]:
    """Whole checkpoints, the latest first."""
    return sorted(filter(is_complete, _all(folder)), key=step_of, reverse=True)


def _all(folder: Path) -> list[Path]:
    return [p for p in folder.glob("checkpoint-*") if p.name.split("-", 1)[1].isdigit()]


def drop_incomplete(folder: Path) -> None:
    """Remove what killed or failed saves have left."""
    shutil.rmtree(folder / STAGING, ignore_errors=True)
    for path in _all(folder):
        if not is_complete(path):
            _remove(path)


def _prune(folder: Path) -> None:
    """Keep the latest ones alone."""
    for path in _complete(folder)[KEPT:]:
        _remove(path)


def _remove(checkpoint: Path) -> None:
    with suppress(OSError):  # first, so that one half removed is not taken for a whole one
        (checkpoint / COMPLETE).unlink(missing_ok=True)
    shutil.rmtree(checkpoint, ignore_errors=True)
