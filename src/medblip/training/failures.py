"""What stops a training that cannot go on, and what it says."""

from __future__ import annotations

import math

from medblip.errors import MedBlipError


class TrainingDivergedError(MedBlipError):
    """The loss is not a number any more (exit code 1)."""


def require_finite(loss: float, step: int) -> None:
    """Stop at a loss that is no number, before it reaches the weights.

    Raises:
        TrainingDivergedError: it is infinite or not a number.
    """
    if not math.isfinite(loss):
        raise TrainingDivergedError(
            f"step {step}",
            f"the loss is {loss}",
            "lower learning_rate, or set precision=float32",
            code="loss-not-finite",
        )
