"""What stops a training that cannot go on: where that was, of which rows, what to change."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pandas as pd

from medblip.errors import MedBlipError
from medblip.recipe import StageSection
from medblip.study.places import in_lines
from medblip.study.schema import SESSION_KEY
from medblip.study.study import SESSIONS_FILE
from medblip.training.checkpoints import newest_complete
from medblip.training.data import StageDataset
from medblip.training.interrupts import stop_if_asked
from medblip.training.out_of_memory import OutOfMemoryError, is_out_of_memory, memory_advice

SHOWN = 16  # lines of a batch that a message names


class TrainingDivergedError(MedBlipError):
    """The loss or its gradient is not a number any more (exit code 1)."""


class Running(Protocol):
    """What a message needs to know of a trainer."""

    @property
    def steps_done(self) -> int: ...

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]: ...


def require_finite(losses: Mapping[str, float], step: int) -> None:
    """Stop at a loss that is no number, before it reaches the weights.

    Args:
        losses: the loss itself and its parts.
        step: counted from 1.

    Raises:
        TrainingDivergedError: one is infinite or not a number.
    """
    if all(math.isfinite(value) for value in losses.values()):
        return
    told = ", ".join(f"{name} {value:.4g}" for name, value in losses.items())
    raise TrainingDivergedError(
        f"step {step}",
        f"the loss is not finite ({told})",
        "lower the stage's learning rates, or set precision=float32",
        code="loss-not-finite",
    )


def require_finite_gradient(norm: float, step: int) -> None:
    """Stop at a gradient that is no number, before the optimizer uses it.

    Raises:
        TrainingDivergedError: its norm is infinite or not a number.
    """
    if not math.isfinite(norm):
        raise TrainingDivergedError(
            f"step {step}",
            f"the loss is finite, the gradient is not (norm {norm})",
            "lower the stage's learning rates or raise its warmup, or set precision=float32",
            code="gradient-not-finite",
        )


@dataclass(frozen=True)
class Place:
    """What a message says of a stage.

    Attributes:
        stage: its name in the recipe; ``section`` its settings.
        folder: of its checkpoints.
        samples: in the order of training.
        sessions: the study's table, whose index is line numbers.
    """

    stage: str
    section: StageSection
    folder: Path
    samples: StageDataset
    sessions: pd.DataFrame

    def rows(self, step: int) -> str:
        """The lines of ``sessions.tsv`` that optimizer step ``step`` (from 1) shows."""
        size = self.section.batch_size
        drawn = range((step - 1) * size, min(step * size, len(self.samples)))
        shown = [self.samples.examples[self.samples.schedule[i].example] for i in drawn]
        keys = pd.MultiIndex.from_frame(self.sessions[list(SESSION_KEY)])
        lines = pd.Series(self.sessions.index, index=keys)
        return in_lines(
            SESSIONS_FILE, [lines[e.participant_id, e.session_id] for e in shown], shown=SHOWN
        )

    @property
    def last_checkpoint(self) -> str:
        found = newest_complete(self.folder)
        return f"the last good checkpoint is {found}" if found else "no checkpoint was written yet"


@contextmanager
def explained(place: Place, trainer: Running) -> Iterator[None]:
    """Name stage, step, rows and last checkpoint where a training fails.

    Raises:
        TrainingDivergedError: see `require_finite` and `require_finite_gradient`.
        OutOfMemoryError: memory ran out, of the device or of the machine.
    """
    try:
        yield
    except TrainingDivergedError as error:
        step = trainer.steps_done + 1
        in_step = error.where == f"step {step}"  # else in the look after the step before
        rows = f"the batch is {place.rows(step)}; " if in_step else ""
        raise TrainingDivergedError(
            f"{place.stage}, {error.where}",
            f"{error.problem}; {rows}{place.last_checkpoint}",
            f"{error.fix}; look at these rows too" if in_step else error.fix,
            code=error.code,
        ) from error
    except (RuntimeError, MemoryError) as error:
        stop_if_asked("the last checkpoint is kept", alone=True)  # it may have killed a loader
        if not is_out_of_memory(error):
            raise
        problem, fix = memory_advice(place.stage, place.section, trainer.shapes)
        raise OutOfMemoryError(
            f"{place.stage}, step {trainer.steps_done + 1}",
            f"{problem}; {place.last_checkpoint}",
            fix,
            code="out-of-memory",
        ) from error
