"""What is written down while a stage runs: losses by part, validation, the best model."""

from __future__ import annotations

from contextlib import nullcontext, suppress
from functools import partial
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState

from medblip.model import MedBlipForConditionalGeneration
from medblip.model.configuration_medblip import LOSSES
from medblip.recipe import StageSection
from medblip.training.agreement import by_first_process
from medblip.training.ema import MovingAverage
from medblip.training.failures import require_finite
from medblip.training.interrupts import CutShort
from medblip.training.metrics_file import MetricsFile
from medblip.training.progress import Progress
from medblip.training.run_folder import Keeper
from medblip.training.validation import Validation
from medblip.training.watching import Gauges

# A row's columns by the names that Trainer logs them under.
COLUMNS = {
    **{part: part for part in LOSSES},
    "grad_norm": "gradient_norm",
    "learning_rate": "learning_rate",
    "samples_per_second": "samples_per_second",
    "data_wait_share": "data_wait_share",
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
    """Writes metrics rows, validates, keeps the best model.

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
        if any(part in row for part in LOSSES):  # Trainer's last entry sums up and has no losses
            self._append(state.global_step, row)

    def on_step_end(
        self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        if self.validation and self._due(state.global_step):
            with suppress(CutShort):  # `catch_up` looks when the run goes on
                self._look(self.validation, kwargs["model"], state.global_step)
            control.should_training_stop |= self.patience_is_over()
        return control

    def catch_up(self, model: MedBlipForConditionalGeneration, step: int) -> None:
        """Look at a loaded checkpoint of ``step`` as on the way there, if that was cut short."""
        looked = any("validation_log_loss" in row for row in self._rows_of(step))
        if self.validation and self._due(step) and not looked:
            self._look(self.validation, model, step)

    def _due(self, step: int) -> bool:
        return step % self.stage.evaluate_every == 0 or step == self.stage.steps

    def _look(
        self,
        validation: Validation,
        model: MedBlipForConditionalGeneration,
        step: int,
    ) -> None:
        with self.gauges.paused(), self.average.applied() if self.average else nullcontext():
            measured = validation.measure(model)
            require_finite(measured, step)
            if self.keeper:
                by_first_process(partial(self.keeper.keep, step, measured))
        self._append(step, measured)
        self.gauges.note(measured)  # for trackers, which see log entries alone
        if self.bar:
            self.bar.show(measured)

    def patience_is_over(self) -> bool:
        """From the written rows, so that a resumed run stops where the first would have."""
        if self.stage.patience is None:
            return False
        losses = [
            row["validation_log_loss"]
            for row in self.rows.read()
            if row["stage"] == self.name and "validation_log_loss" in row
        ]
        return bool(losses) and len(losses) - 1 - losses.index(min(losses)) >= self.stage.patience

    def _append(self, step: int, values: dict[str, float]) -> None:
        by_first_process(lambda: self.rows.append({"stage": self.name, "step": step, **values}))

    def _rows_of(self, step: int) -> list[dict[str, Any]]:
        rows = self.rows.read()
        return [row for row in rows if row["stage"] == self.name and row["step"] == step]
