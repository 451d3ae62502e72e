"""Experiment trackers, none unless asked for by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from transformers import TrainerCallback
from transformers.integrations.integration_utils import (
    MLflowCallback,
    TensorBoardCallback,
    TrackioCallback,
    is_mlflow_available,
    is_tensorboard_available,
    is_trackio_available,
)

from medblip.errors import UsageError

AVAILABLE: Mapping[str, Callable[[], bool]] = {
    "tensorboard": is_tensorboard_available,
    "trackio": is_trackio_available,
    "mlflow": is_mlflow_available,
}


def require_trackers(names: Sequence[str]) -> None:
    """Refuse trackers that are not known or not installed, before anything long runs.

    Raises:
        UsageError: with the extra that brings it.
    """
    for name in names:
        if name not in AVAILABLE:
            raise UsageError(
                f"--track {name}",
                "is not known",
                f"one of {', '.join(AVAILABLE)}",
                code="unknown-tracker",
            )
        if not AVAILABLE[name]():
            raise UsageError(
                f"--track {name}",
                "is not installed",
                f"pip install 'medblip[{name}]'",
                code="missing-extra",
            )


def tracker_callbacks(names: Sequence[str], folder: Path) -> list[TrainerCallback]:
    """What logs a stage to each tracker.

    TensorBoard's files go into ``folder``; trackio and MLflow keep theirs where their own settings
    say, on this machine unless those name a server.
    """
    makers: dict[str, Callable[[], TrainerCallback]] = {
        "tensorboard": lambda: _tensorboard(folder),
        "trackio": TrackioCallback,
        "mlflow": MLflowCallback,
    }
    return [makers[name]() for name in names]


def _tensorboard(folder: Path) -> TrainerCallback:
    from torch.utils.tensorboard import SummaryWriter  # needs the extra

    # A folder of our own: the default's name has the machine's name in it.
    return TensorBoardCallback(SummaryWriter(log_dir=str(folder)))
