"""The bar of a stage."""

from __future__ import annotations

from typing import Any

from tqdm import tqdm
from transformers import ProgressCallback, TrainerControl, TrainerState

from medblip.training.parts import PARTS


class Progress(ProgressCallback):
    """A bar with the stage's name, the losses by part and the validation accuracy."""

    def __init__(self, title: str) -> None:
        super().__init__()
        self.title = title

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
        shown = {k: f"{v:.3f}" for k, v in (logs or {}).items() if k in PARTS}
        if shown:
            self.bar.set_postfix(shown)
