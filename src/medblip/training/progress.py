"""The bar of a stage."""

from __future__ import annotations

from typing import Any

from tqdm import tqdm
from transformers import ProgressCallback, TrainerControl, TrainerState

from medblip.model.configuration_medblip import LOSSES


class Progress(ProgressCallback):
    """A bar with the time left, losses by part, prefix, speed, memory, validation accuracy."""

    def __init__(self, title: str) -> None:
        super().__init__()
        self.title = title
        self.looked: dict[str, str] = {}

    def on_train_begin(
        self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.bar = tqdm(
            total=state.max_steps, initial=state.global_step, desc=self.title, unit="step"
        )
        self.training_bar: Any = self.bar  # the name the base class updates and closes
        self.current_step = state.global_step

    def on_log(
        self,
        args: Any,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        found = logs or {}
        shown = {part: f"{found[part]:.3f}" for part in LOSSES if part in found}
        if not shown:
            return
        if "prefix_norm" in found:
            shown["prefix"] = f"{found['prefix_norm']:.2f}"
        shown["samples/s"] = f"{found['samples_per_second']:.1f}"
        shown["GiB"] = f"{found['memory_bytes'] / 2**30:.1f}"
        self.bar.set_postfix({**shown, **self.looked})

    def show(self, measured: dict[str, float]) -> None:
        """Show what the last look at the validation split found."""
        self.looked = {"validated": f"{measured['validation_accuracy']:.1%}"}
