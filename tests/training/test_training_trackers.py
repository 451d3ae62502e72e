"""Trackers are opt-in; TensorBoard's files hold what the run logged."""

from __future__ import annotations

from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from transformers import TrainerControl, TrainerState, TrainingArguments

from medblip.errors import UsageError
from medblip.training.trackers import AVAILABLE, require_trackers, tracker_callbacks


def test_nothing_is_tracked_unless_asked_for(tmp_path: Path) -> None:
    assert tracker_callbacks([], tmp_path) == []


def test_tensorboard_gets_the_losses(tmp_path: Path) -> None:
    folder = tmp_path / "tensorboard"
    (callback,) = tracker_callbacks(["tensorboard"], folder)
    arguments = TrainingArguments(output_dir=str(tmp_path), report_to="none", use_cpu=True)
    state, control = TrainerState(global_step=7), TrainerControl()
    callback.on_train_begin(arguments, state, control)
    callback.on_log(arguments, state, control, logs={"language": 0.5, "prefix_norm": 2.0})
    callback.on_train_end(arguments, state, control)
    assert [p.parent for p in tmp_path.rglob("events.*")] == [folder]
    events = EventAccumulator(str(folder)).Reload()
    assert [(e.step, e.value) for e in events.Scalars("train/language")] == [(7, 0.5)]


def test_unknown_and_missing_trackers_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    require_trackers(["tensorboard"])
    with pytest.raises(UsageError, match="not known"):
        require_trackers(["wandering"])
    monkeypatch.setitem(AVAILABLE, "mlflow", lambda: False)
    with pytest.raises(UsageError, match=r"medblip\[mlflow\]"):
        require_trackers(["mlflow"])
