"""An exponential moving average of what is learned, kept beside the weights in training."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

EMA_FILE = "ema.safetensors"


class MovingAverage:
    """``average = decay * average + (1 - decay) * weight`` after each optimizer step.

    Args:
        model: its parameters that require gradients now are averaged.
        decay: e.g. 0.999; early steps use ``(1 + n) / (10 + n)`` where that is less, so that the
            average does not remember the start.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.weights = {n: p for n, p in model.named_parameters() if p.requires_grad}
        self.averages = {n: p.detach().clone() for n, p in self.weights.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after optimizer step ``step``, counted from 1."""
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(
            list(self.averages.values()), list(self.weights.values()), weight=1 - decay
        )

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The model with the averages as its weights; the weights are back afterwards."""
        self.swap()
        try:
            yield
        finally:
            self.swap()

    @torch.no_grad()
    def swap(self) -> None:
        """Exchange weights and averages."""
        for name, weight in self.weights.items():
            held: Tensor = weight.detach().clone()
            weight.copy_(self.averages[name])
            self.averages[name].copy_(held)

    def save(self, folder: Path) -> None:
        save_file(self.averages, folder / EMA_FILE)

    def load(self, folder: Path) -> None:
        for name, tensor in load_file(folder / EMA_FILE).items():
            self.averages[name].copy_(tensor)
