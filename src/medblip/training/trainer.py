"""One stage of training on transformers' Trainer: the schedule, the losses by part, safe saves."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Sized
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn
from torch.utils.data import SequentialSampler
from tqdm import tqdm
from transformers import (
    ProgressCallback,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from medblip.errors import MedBlipError
from medblip.model.modeling_medblip import MedBlipForConditionalGeneration
from medblip.recipe import StageSection
from medblip.training.validation import Validation

PARTS = ("itc_record", "itc_answer", "language")
COMPLETE = "COMPLETE"
# Weight decay would pull these towards a size they have no reason to take.
NO_DECAY = ("query_tokens", "positions", "temperature", "prefix_scale", "cls_token")


class TrainingDivergedError(MedBlipError):
    """The loss is not a number any more (exit code 1)."""


class StageTrainer(Trainer):
    """Trainer that reads its schedule in order and reports the loss by part."""

    def __init__(self, *args: Any, stage: StageSection, **kwargs: Any) -> None:
        self.stage = stage
        self.parts: dict[str, list[float]] = {}
        super().__init__(*args, **kwargs)
        self.model_accepts_loss_kwargs = False  # the loss is already a mean

    @property
    def medblip(self) -> MedBlipForConditionalGeneration:
        """The model itself, without what wraps it on several processes."""
        return cast(MedBlipForConditionalGeneration, self.accelerator.unwrap_model(self.model))

    def _get_train_sampler(self, train_dataset: Any = None) -> SequentialSampler:
        return SequentialSampler(cast(Sized, train_dataset or self.train_dataset))

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        if self.optimizer is None:
            groups = parameter_groups(self.medblip, self.stage)
            self.optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.98))
        return self.optimizer

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        out = model(**inputs)
        if out.loss is None or not math.isfinite(float(out.loss.detach())):
            raise TrainingDivergedError(
                f"step {self.state.global_step + 1}",
                f"the loss is {out.loss}",
                "lower learning_rate, or set precision=float32",
                code="loss-not-finite",
            )
        for name in PARTS:
            if (part := getattr(out, name)) is not None:
                self.parts.setdefault(name, []).append(float(part.detach()))
        return (out.loss, out) if return_outputs else out.loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        means = {name: sum(values) / len(values) for name, values in self.parts.items()}
        self.parts = {}
        super().log({**logs, **means}, start_time)

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        # The learned weights alone; not the pickled arguments that the base class adds.
        self.medblip.save_pretrained(output_dir or str(self.args.output_dir))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        self.medblip.load_learned(Path(resume_from_checkpoint))


def parameter_groups(
    model: MedBlipForConditionalGeneration, stage: StageSection
) -> list[dict[str, Any]]:
    """AdamW groups: matrices with decay, the rest without; prefix map and LoRA at their rates."""
    rates = {
        "decayed": stage.learning_rate,
        "plain": stage.learning_rate,
        "prefix": stage.prefix_learning_rate,
        "lora": stage.lora_learning_rate,
    }
    members: dict[str, list[nn.Parameter]] = {name: [] for name in rates}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            members[_group_of(name, parameter)].append(parameter)
    return [
        {
            "params": parameters,
            "lr": rates[name],
            "weight_decay": stage.weight_decay if name == "decayed" else 0.0,
        }
        for name, parameters in members.items()
        if parameters
    ]


def _group_of(name: str, parameter: nn.Parameter) -> str:
    if "lora_" in name:
        return "lora"
    if name.startswith("prefix_"):
        return "prefix"
    if parameter.ndim < 2 or any(part in name for part in NO_DECAY):
        return "plain"
    return "decayed"


class MetricsFile:
    """``metrics.jsonl``: one row a log entry; rows of steps that are run again are dropped."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, row: dict[str, Any]) -> None:
        with self.path.open("a", encoding="utf-8") as handle:
            handle.write(json.dumps(row) + "\n")
            handle.flush()
            os.fsync(handle.fileno())

    def read(self) -> list[dict[str, Any]]:
        if not self.path.exists():
            return []
        rows = []
        for line in self.path.read_text(encoding="utf-8").splitlines():
            try:
                rows.append(json.loads(line))
            except json.JSONDecodeError:
                continue  # the last line of a killed run may be cut
        return rows

    def rewind(self, stage: str, step: int) -> None:
        """Forget rows of ``stage`` after ``step``: they will be written again."""
        kept = [r for r in self.read() if r["stage"] != stage or r["step"] <= step]
        self.path.write_text("".join(json.dumps(r) + "\n" for r in kept), encoding="utf-8")


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


class Record(TrainerCallback):
    """Writes metrics rows, validates, marks complete checkpoints, keeps the best model."""

    def __init__(
        self,
        name: str,
        stage: StageSection,
        rows: MetricsFile,
        validation: Validation | None,
        keep_best: Callable[[int, dict[str, float]], None] | None,
    ) -> None:
        self.name = name
        self.stage = stage
        self.rows = rows
        self.validation = validation
        self.keep_best = keep_best
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
        parts = {k: v for k, v in (logs or {}).items() if k in PARTS}
        if not parts:
            return
        now = time.monotonic()
        steps = state.global_step - self.last_step
        rate = steps * self.stage.batch_size / max(now - self.clock, 1e-9)
        self.clock, self.last_step = now, state.global_step
        row = {"stage": self.name, "step": state.global_step, **parts}
        self.rows.append({**row, "samples_per_second": round(rate, 2)})

    def on_step_end(
        self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        due = state.global_step % self.stage.evaluate_every == 0
        if self.validation and (due or state.global_step == state.max_steps):
            started = time.monotonic()
            measured = self.validation.measure(kwargs["model"])
            self.rows.append({"stage": self.name, "step": state.global_step, **measured})
            if self.keep_best:
                self.keep_best(state.global_step, measured)
            self.clock += time.monotonic() - started  # not training time
        return control

    def on_save(self, args: Any, state: TrainerState, control: Any, **kwargs: Any) -> None:
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        sync_folder(folder)
        marker = folder / COMPLETE
        marker.touch()
        sync_folder(folder)


def sync_folder(folder: Path) -> None:
    """Flush every file of a folder, and the folder, to the disk."""
    for path in (*(p for p in folder.rglob("*") if p.is_file()), folder):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def newest_complete(folder: Path) -> Path | None:
    """The latest checkpoint whose marker was written, or None."""
    found = [p.parent for p in folder.glob(f"checkpoint-*/{COMPLETE}")]
    return max(found, key=lambda p: int(p.name.split("-")[1]), default=None)


def stage_arguments(
    folder: Path, stage: StageSection, seed: int, precision: str, device: torch.device
) -> TrainingArguments:
    """What Trainer needs to know of a stage."""
    return TrainingArguments(
        output_dir=str(folder),
        max_steps=stage.steps,
        per_device_train_batch_size=stage.batch_size,
        lr_scheduler_type="cosine",
        warmup_steps=int(stage.warmup * stage.steps),
        max_grad_norm=1.0,
        logging_steps=min(10, stage.steps),
        logging_nan_inf_filter=False,
        save_steps=stage.save_every,
        save_total_limit=2,
        seed=seed,
        bf16=precision == "bfloat16",
        use_cpu=device.type == "cpu",
        report_to="none",
        remove_unused_columns=False,
        dataloader_num_workers=0,
        dataloader_pin_memory=device.type == "cuda",
        disable_tqdm=False,
    )
