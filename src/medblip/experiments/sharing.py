"""Several processes in one experiment's folder: who works on which run, and whose turn it is.

The locks are the system's: whatever ends a process, kill -9 included, frees what it held. Between
machines they hold as far as the shared file system locks files.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from filelock import Timeout

from medblip.errors import UsageError
from medblip.storage import locked
from medblip.training.agreement import process_count
from medblip.training.entering import alone

CLAIM_LOCK = ".trial.lock"  # in a run's folder; that of a training is held for its part alone


@contextmanager
def claimed(run: Path) -> Iterator[bool]:
    """Keep other processes from a run while its trial is trained, scored and kept.

    Processes that a launcher started for one training do each trial together: each has it.

    Args:
        run: its folder, made where missing.

    Yields:
        Whether this process has it; False where another one is at work on it.
    """
    with ExitStack() as held:
        yield process_count() > 1 or _claim(run, held)


@contextmanager
def turn(file: Path) -> Iterator[None]:
    """Wait until no other process changes a file, and keep the others waiting."""
    with locked(file.with_name(f".{file.name}.lock")):
        yield


def _claim(run: Path, held: ExitStack) -> bool:
    try:
        held.enter_context(locked(run / CLAIM_LOCK, timeout=0))
        with alone(run):  # `medblip train` knows nothing of trials
            return True
    except (Timeout, UsageError):
        return False
