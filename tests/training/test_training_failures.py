"""What stops a training names stage, step, rows and what to change; the last checkpoint stays."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tiny_run import TinyRun, kept_step, make_run

from medblip.recipe import StageSection
from medblip.training.checkpoints import newest_complete
from medblip.training.failures import (
    Place,
    TrainingDivergedError,
    explained,
    require_finite,
    require_finite_gradient,
)
from medblip.training.out_of_memory import OutOfMemoryError, is_out_of_memory, memory_advice
from medblip.training.run import train
from medblip.training.stage_trainer import StageTrainer

pytestmark = pytest.mark.usefixtures("code_stays")

NAN = float("nan")


def test_finite_losses_pass() -> None:
    require_finite({"loss": 1.0, "language": 1.0}, 3)
    require_finite_gradient(1.0, 3)


@pytest.mark.parametrize("value", [NAN, float("inf"), -float("inf")])
def test_which_part_is_not_finite_is_said(value: float) -> None:
    with pytest.raises(TrainingDivergedError, match=r"itc_record 0\.5, language"):
        require_finite({"loss": NAN, "itc_record": 0.5, "language": value}, 3)
    with pytest.raises(TrainingDivergedError, match="the loss is finite, the gradient is not"):
        require_finite_gradient(value, 3)


@pytest.mark.parametrize(
    ("error", "memory"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB"), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: not enough memory: you tried"), True),
        (RuntimeError("MPS backend out of memory"), True),
        (MemoryError(), True),
        (RuntimeError("shape mismatch"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_memory_is_told_from_other_faults(error: Exception, memory: bool) -> None:
    assert is_out_of_memory(error) is memory


def test_advice_halves_what_can_be_halved() -> None:
    shapes = {"input_ids": (4, 212), "image_tokens": (4, 344, 1408)}
    problem, fix = memory_advice("tune", StageSection(steps=1, batch_size=8), shapes)
    assert problem == (
        "out of memory with 8 of 8 samples at a time (text of 212 tokens, images of 344 tokens)"
    )
    assert "tune.micro_batch_size=4, or model.gradient_checkpointing=true" in fix
    assert "medblip plan" in fix
    alone = StageSection(steps=1, batch_size=8, micro_batch_size=1)
    assert "micro_batch_size" not in memory_advice("tune", alone, {})[1]


def test_a_look_that_is_not_finite_is_told_without_rows(tmp_path: Path) -> None:
    place = Place("tune", StageSection(steps=9), tmp_path, samples=None, sessions=None)  # type: ignore[arg-type]
    trainer = SimpleNamespace(steps_done=4, shapes={})
    with (
        pytest.raises(TrainingDivergedError, match=r"^tune, step 4: .*validation_log_loss nan"),
        explained(place, trainer),
    ):
        require_finite({"validation_accuracy": 0.5, "validation_log_loss": NAN}, 4)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> TinyRun:
    made = make_run(tmp_path_factory.mktemp("tiny"), steps=4, evaluate_every=4)
    values = made.recipe.model_dump()
    values["align"]["steps"] = 0
    return TinyRun(made.root, type(made.recipe).model_validate(values))


def spoil_weights(model: Any) -> None:
    with torch.no_grad():
        model.prefix_map.weight.fill_(NAN)


def spoil_gradient(model: Any) -> None:
    model.query_tokens.register_hook(lambda gradient: gradient * NAN)


def run_out_of_memory(model: Any) -> None:
    raise torch.OutOfMemoryError("CUDA out of memory")


def run_out_of_ram(model: Any) -> None:
    torch.empty(2**60, dtype=torch.uint8)


def fail_in_step(patch: pytest.MonkeyPatch, step: int, spoil: Callable[[Any], None]) -> None:
    """Do something to the model before the forward pass of one step."""
    real = StageTrainer.training_step

    def training_step(self: StageTrainer, model: Any, *args: Any, **kwargs: Any) -> Any:
        if self.steps_done + 1 == step:
            spoil(self.medblip)
        return real(self, model, *args, **kwargs)

    patch.setattr(StageTrainer, "training_step", training_step)


def test_each_failure_is_told_and_the_run_goes_on_from_its_last_checkpoint(
    tiny: TinyRun, tmp_path: Path
) -> None:
    out = tmp_path / "run"

    def go() -> Any:
        return train(tiny.recipe, tiny.study, out, **tiny.places, progress=False)

    for spoil, kind, code in (
        (spoil_weights, TrainingDivergedError, "loss-not-finite"),
        (spoil_gradient, TrainingDivergedError, "gradient-not-finite"),
        (run_out_of_memory, OutOfMemoryError, "out-of-memory"),
        (run_out_of_ram, OutOfMemoryError, "out-of-memory"),
    ):
        with pytest.MonkeyPatch.context() as patch:
            fail_in_step(patch, 3, spoil)
            with pytest.raises(kind) as caught:
                go()
        message = str(caught.value)
        assert caught.value.code == code
        assert caught.value.exit_code == 1
        assert message.startswith("tune, step 3: ")
        assert f"the last good checkpoint is {out / 'tune' / 'checkpoint-2'}" in message
        assert "SIM-A-" not in message  # nobody is named
        if kind is TrainingDivergedError:
            assert_rows(message, tiny)
        else:
            assert "tune.micro_batch_size=1" in message
        assert newest_complete(out / "tune") == out / "tune" / "checkpoint-2"
    assert kept_step(go().folder) == 4


def assert_rows(message: str, tiny: TinyRun) -> None:
    """Lines of the table, of subjects that are trained on; as many as a batch has."""
    found = re.search(r"sessions\.tsv lines ([\d, ]+);", message)
    assert found
    lines = [int(number) for number in found.group(1).split(", ")]
    table = (tiny.root / "study" / "sessions.tsv").read_text().splitlines()
    column = table[0].split("\t").index("participant_id")
    shown = {table[line - 1].split("\t")[column] for line in lines}
    assert len(shown) == len(lines) == tiny.recipe.tune.batch_size
    assert shown <= set(tiny.study.splits.subjects["train"])
