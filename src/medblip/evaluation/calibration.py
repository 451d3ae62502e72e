"""Temperature scaling: one number, fitted on validation subjects, kept beside the checkpoint."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from medblip.errors import InputError
from medblip.storage import write_json

CALIBRATION_FILE = "calibration.json"
RANGE = (0.05, 20.0)


@dataclass(frozen=True)
class Temperature:
    """What log-probabilities of candidates are divided by before the softmax.

    Attributes:
        value: 1 changes nothing.
        fitted_on: how many validation subjects it was fitted on; 0 means not calibrated.
    """

    value: float = 1.0
    fitted_on: int = 0

    @property
    def calibrated(self) -> bool:
        return self.fitted_on > 0

    def probabilities(self, scores: NDArray[np.floating]) -> NDArray[np.float64]:
        """``(n, candidates)`` log-probabilities to probabilities."""
        scaled: NDArray[np.float64] = softmax(scores.astype(np.float64) / self.value, axis=-1)
        return scaled

    def save(self, folder: Path) -> None:
        write_json(folder / CALIBRATION_FILE, asdict(self))

    @classmethod
    def load(cls, folder: Path) -> Temperature:
        """From a checkpoint folder; the identity where none was fitted.

        Raises:
            InputError: the file is damaged.
        """
        file = folder / CALIBRATION_FILE
        if not file.exists():
            return cls()
        try:
            values = json.loads(file.read_text(encoding="utf-8"))
            return cls(float(values["value"]), int(values["fitted_on"]))
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                CALIBRATION_FILE,
                f"not a calibration ({error})",
                "run `medblip evaluate` again, which writes it",
                code="bad-calibration",
            ) from error


def fit_temperature(scores: NDArray[np.floating], labels: NDArray[np.int64]) -> Temperature:
    """The temperature with the lowest log loss on ``scores (n, candidates)``."""

    def log_loss(log_temperature: float) -> float:
        scaled = log_softmax(scores.astype(np.float64) / np.exp(log_temperature), axis=1)
        return float(-scaled[np.arange(len(labels)), labels].mean())

    bounds = (float(np.log(RANGE[0])), float(np.log(RANGE[1])))
    found = minimize_scalar(log_loss, bounds=bounds, method="bounded")
    return Temperature(float(np.exp(found.x)), len(labels))
