"""What is written down while a stage runs: losses by part, validation, the best model."""

from __future__ import annotations

import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState

from medblip.model import MedBlipForConditionalGeneration
from medblip.recipe import StageSection
from medblip.training.checkpoints import mark_complete
from medblip.training.ema import MovingAverage
from medblip.training.metrics_file import MetricsFile
from medblip.training.parts import PARTS
from medblip.training.run_folder import Keeper
from medblip.training.validation import Validation

# Trainer's own names for what else is worth a column.
ALSO = {"grad_norm": "gradient_norm", "learning_rate": "learning_rate"}


class Averaging(TrainerCallback):
    """Takes each step's weights into a moving average."""

    def __init__(self, average: MovingAverage) -> None:
        self.average = average

    def on_step_end(self, args: Any, state: TrainerState, control: Any, **kwargs: Any) -> None:
        self.average.update(state.global_step)


class Record(TrainerCallback):
    """Writes metrics rows, validates, marks complete checkpoints, keeps the best model.

    Args:
        name, stage: of the stage.
        rows: where rows are appended.
        validation: measures the model now and then; None where nobody is held out.
        keeper: keeps the best model; None where the last one counts.
        average: what is validated and kept instead of the weights.
    """

    def __init__(
        self,
        name: str,
        stage: StageSection,
        rows: MetricsFile,
        validation: Validation | None,
        keeper: Keeper | None,
        average: MovingAverage | None = None,
    ) -> None:
        self.name = name
        self.stage = stage
        self.rows = rows
        self.validation = validation
        self.keeper = keeper
        self.average = average
        self.clock = time.monotonic()
        self.last_step = 0

    def on_train_begin(self, args: Any, state: TrainerState, control: Any, **kwargs: Any) -> None:
        self.clock, self.last_step = time.monotonic(), state.global_step

    def on_log(
        self,
        args: Any,
        state: TrainerState,
        control: Any,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        found = logs or {}
        parts = {k: v for k, v in found.items() if k in PARTS}
        if not parts:
            return
        now = time.monotonic()
        steps = state.global_step - self.last_step
        rate = steps * self.stage.batch_size / max(now - self.clock, 1e-9)
        self.clock, self.last_step = now, state.global_step
        also = {ours: float(found[theirs]) for theirs, ours in ALSO.items() if theirs in found}
        self._append(state, {**parts, **also, "samples_per_second": round(rate, 2)})

    def on_step_end(
        self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        due = state.global_step % self.stage.evaluate_every == 0
        if self.validation and (due or state.global_step == state.max_steps):
            started = time.monotonic()
            with self.average.applied() if self.average else nullcontext():
                self._look(self.validation, kwargs["model"], state)
            control.should_training_stop |= self._patience_is_over()
            self.clock += time.monotonic() - started  # not training time
        return control

    def _look(
        self,
        validation: Validation,
        model: MedBlipForConditionalGeneration,
        state: TrainerState,
    ) -> None:
        measured = validation.measure(model)
        self._append(state, measured)
        if self.keeper:
            self.keeper.keep(state.global_step, measured)

    def _patience_is_over(self) -> bool:
        """From the written rows, so that a resumed run stops where the first would have."""
        if self.stage.patience is None:
            return False
        losses = [
            row["validation_log_loss"]
            for row in self.rows.read()
            if row["stage"] == self.name and "validation_log_loss" in row
        ]
        return len(losses) - 1 - losses.index(min(losses)) >= self.stage.patience

    def _append(self, state: TrainerState, values: dict[str, float]) -> None:
        self.rows.append({"stage": self.name, "step": state.global_step, **values})

    def on_save(self, args: Any, state: TrainerState, control: Any, **kwargs: Any) -> None:
        mark_complete(Path(args.output_dir) / f"checkpoint-{state.global_step}")
