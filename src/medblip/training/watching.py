"""Gauges that are read at every log entry: speed, memory, the size of the visual prefix."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psutil
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medblip.model import MedBlipForConditionalGeneration


class Gauges:
    """Readings between two log entries.

    Args:
        batch_size: samples of an optimizer step, over all processes.
    """

    def __init__(self, model: MedBlipForConditionalGeneration, batch_size: int) -> None:
        self.device = model.query_tokens.device
        self.batch_size = batch_size
        self.prefix = PrefixWatch(model)
        self.noted: dict[str, float] = {}
        self.start(0)

    def start(self, step: int) -> None:
        """Count from here."""
        self.clock, self.last_step, self.waited = time.monotonic(), step, 0.0

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Time within is spent waiting for data."""
        begun = time.monotonic()
        yield
        self.waited += time.monotonic() - begun

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Time within does not count as training."""
        begun = time.monotonic()
        yield
        self.clock += time.monotonic() - begun

    def read(self, step: int) -> dict[str, float]:
        """Speed, share of time spent waiting for data, memory, ``prefix_norm``, what was noted."""
        seconds = max(time.monotonic() - self.clock, 1e-9)
        rate = (step - self.last_step) * self.batch_size / seconds
        waited = round(self.waited / seconds, 4)
        self.start(step)
        readings = {
            "samples_per_second": round(rate, 2),
            "data_wait_share": waited,
            "memory_bytes": float(memory_bytes(self.device)),
        }
        if (norm := self.prefix.take()) is not None:
            readings["prefix_norm"] = norm
        noted, self.noted = self.noted, {}
        return {**readings, **noted}

    def note(self, measured: dict[str, float]) -> None:
        """Give these out at the next reading, once."""
        self.noted |= measured

    def close(self) -> None:
        self.prefix.close()


class PrefixWatch:
    """Notes the mean length (L2) of prefix vectors at each forward pass in training.

    A prefix far longer or shorter than the token embeddings around it stalls the language model.
    """

    def __init__(self, model: MedBlipForConditionalGeneration) -> None:
        self.model = model
        self.seen: list[Tensor] = []
        self.handle = model.prefix_map.register_forward_hook(self._note)

    @torch.no_grad()
    def _note(self, module: nn.Module, inputs: Any, projected: Tensor) -> None:
        if not module.training or not len(projected):
            return
        prefix = projected.float()
        if (scale := self.model.prefix_scale) is not None:
            prefix = F.layer_norm(prefix, prefix.shape[-1:]) * scale
        self.seen.append(prefix.norm(dim=-1).mean())  # stays on the device until it is taken

    def take(self) -> float | None:
        """Mean since the last call; None if no prefix was made."""
        seen, self.seen = self.seen, []
        return float(torch.stack(seen).mean()) if seen else None

    def close(self) -> None:
        self.handle.remove()


def memory_bytes(device: torch.device) -> int:
    """Peak of a CUDA device so far; elsewhere what the process holds now."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    resident: int = psutil.Process().memory_info().rss
    return resident
