"""Signals that ask a run to stop: the step is finished and saved first; a second one ends it.

SIGINT is Ctrl-C, SIGTERM what machines send that are taken away, SIGUSR1 what Slurm sends ahead of
a time limit (``sbatch --signal=USR1@120``).
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, ClassVar

from transformers import TrainerCallback, TrainerControl, TrainerState

from medblip.errors import MedBlipError
from medblip.training.agreement import largest, process_count

SIGNALS = tuple(s for s in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, s))
NOTICE = b"\nStopping: the running step is finished and saved first. Again, and it ends at once.\n"
# A launcher and a scheduler often send the same signal to each of several processes.
ECHO_S = 5.0


class StoppedError(MedBlipError):
    """A signal stopped the run; nothing that was saved is lost (exit code 128 + signal)."""


class KeyboardStopError(StoppedError):
    """Ctrl-C (exit code 130)."""

    exit_code: ClassVar[int] = 130


class TerminatedError(StoppedError):
    """SIGTERM (exit code 143)."""

    exit_code: ClassVar[int] = 143


class TimeLimitError(StoppedError):
    """SIGUSR1 (exit code 138)."""

    exit_code: ClassVar[int] = 138


ERRORS: dict[str, type[StoppedError]] = {
    "SIGINT": KeyboardStopError,
    "SIGTERM": TerminatedError,
    "SIGUSR1": TimeLimitError,
}


class CutShort(Exception):  # noqa: N818 - no error: a look at the validation split is taken later
    """A signal came while something ran that is cheaply done again."""


@dataclass
class _Asked:
    """The first signal of this process, and when it came."""

    number: int = 0
    when: float = 0.0
    out: Path = Path()


_asked = _Asked()


@contextmanager
def watching(out: Path) -> Iterator[None]:
    """Note signals instead of dying of them; ``out`` is the run that messages name.

    In another thread than the main one signals cannot be had, and stay as they are.
    """
    _asked.number, _asked.out = 0, out
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {name: signal.signal(getattr(signal, name), _note) for name in SIGNALS}
    try:
        yield
    finally:
        _asked.number = 0
        for name, handler in before.items():
            signal.signal(getattr(signal, name), handler)


def _note(number: int, frame: FrameType | None) -> None:
    now = time.monotonic()
    if not _asked.number:
        _asked.number, _asked.when = number, now
        with suppress(OSError):
            os.write(2, NOTICE)  # print is not safe in a signal handler
    elif process_count() == 1 or now - _asked.when > ECHO_S:
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)


def stop_if_asked(done: str = "what was done is kept", *, alone: bool = False) -> None:
    """Leave where a signal came in any process.

    Args:
        done: how far the run is.
        alone: look at this process only, where others may be elsewhere.

    Raises:
        StoppedError: one came.
    """
    if not (number := _asked.number if alone else largest(_asked.number)):
        return
    name = signal.Signals(number).name
    raise ERRORS[name](
        str(_asked.out),
        f"stopped by {name}; {done}",
        f"go on with `medblip train --resume {_asked.out}`",
        code="stopped",
    )


def cut_short_if_asked() -> None:
    """Break off what a process does alone and can do again.

    Raises:
        CutShort: a signal came. Never with several processes, which would wait for this one.
    """
    if _asked.number and process_count() == 1:
        raise CutShort


class StopWhenAsked(TrainerCallback):
    """Saves and stops after the step in which a signal came, in all processes alike."""

    def on_step_end(
        self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        if largest(_asked.number):
            control.should_save = True
            control.should_training_stop = True
        return control
