"""What is written down while a stage runs: losses by part, validation, the best model."""

from __future__ import annotations

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
from medblip.training.progress import Progress
from medblip.training.run_folder import Keeper
from medblip.training.validation import Validation
from medblip.training.watching import Gauges

# A row's columns by the names that Trainer logs them under.
COLUMNS = {
    **{part: part for part in PARTS},
    "grad_norm": "gradient_norm",
    "learning_rate": "learning_rate",
    "samples_per_second": "samples_per_second",
    "memory_bytes": "memory_bytes",
    "prefix_norm": "prefix_norm",
}


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
        gauges: stand still while the model is validated.
        average: what is validated and kept instead of the weights.
        bar: shows the accuracy.
    """

    def __init__(
        self,
        name: str,
        stage: StageSection,
        rows: MetricsFile,
        validation: Validation | None,
        keeper: Keeper | None,
        gauges: Gauges,
        average: MovingAverage | None = None,
        bar: Progress | None = None,
    ) -> None:
        self.name = name
        self.stage = stage
        self.rows = rows
        self.validation = validation
        self.keeper = keeper
        self.average = average
        self.bar = bar
        self.gauges = gauges

    def on_train_begin(self, args: Any, state: TrainerState, control: Any, **kwargs: Any) -> None:
        self.gauges.start(state.global_step)

    def on_log(
        self,
        args: Any,
        state: TrainerState,
        control: Any,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        found = logs or {}
        row = {ours: float(found[theirs]) for theirs, ours in COLUMNS.items() if theirs in found}
        if any(part in row for part in PARTS):  # Trainer's last entry sums up and has no losses
            self._append(state, row)

    def on_step_end(
        self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        due = state.global_step % self.stage.evaluate_every == 0
        if self.validation and (due or state.global_step == state.max_steps):
            average = self.average.applied() if self.average else nullcontext()
            with self.gauges.paused(), average:
                self._look(self.validation, kwargs["model"], state)
            control.should_training_stop |= self.patience_is_over()
        return control

    def _look(
        self,
        validation: Validation,
        model: MedBlipForConditionalGeneration,
        state: TrainerState,
    ) -> None:
        measured = validation.measure(model)
        self._append(state, measured)
        self.gauges.note(measured)  # for trackers, which see log entries alone
        if self.bar:
            self.bar.show(measured)
        if self.keeper:
            self.keeper.keep(state.global_step, measured)

    def patience_is_over(self) -> bool:
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
