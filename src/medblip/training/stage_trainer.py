"""One stage of training on transformers' Trainer: the schedule's order, the losses by part."""

from __future__ import annotations

from collections.abc import Sequence, Sized
from pathlib import Path
from typing import Any, Protocol, cast

import torch
from torch.utils.data import SequentialSampler
from transformers import TrainingArguments

from medblip.recipe import StageSection
from medblip.training.agreement import process_count
from medblip.training.augmentation import Augmentation, with_pixels
from medblip.training.division import divide
from medblip.training.joint_trainer import JointTrainer
from medblip.training.loading import loader_arguments
from medblip.training.optimizer import new_optimizer
from medblip.training.watching import Gauges


class Kept(Protocol):
    """State of a stage that is neither weight nor optimizer, and belongs into checkpoints."""

    def save(self, folder: Path) -> None: ...

    def load(self, folder: Path) -> None: ...


class StageTrainer(JointTrainer):
    """Trainer that reads its schedule in order and reports the loss by part.

    Args:
        stage: what is trained, and how.
        gauges: read at every log entry.
        kept: more state to write into checkpoints and read from them.
    """

    def __init__(
        self,
        *args: Any,
        stage: StageSection,
        gauges: Gauges,
        kept: Sequence[Kept] = (),
        **kwargs: Any,
    ) -> None:
        self.stage = stage
        self.augmentation = Augmentation(stage.augment)
        self.kept = kept
        super().__init__(*args, gauges=gauges, **kwargs)

    def _get_train_sampler(self, train_dataset: Any = None) -> SequentialSampler:
        return SequentialSampler(cast(Sized, train_dataset or self.train_dataset))

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        if self.optimizer is None:
            self.optimizer = new_optimizer(self.medblip, self.stage)
        return self.optimizer

    def _prepare_inputs(self, inputs: dict[str, Any]) -> dict[str, Any]:
        return with_pixels(super()._prepare_inputs(inputs), self.augmentation)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        means = self.take_measured()
        readings = self.gauges.read(self.state.global_step) if means else {}
        super().log({**logs, **means, **readings}, start_time)

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        # The learned weights alone; not the pickled arguments that the base class adds.
        if not self.args.should_save:  # the first process does
            return
        folder = Path(output_dir or str(self.args.output_dir))
        self.medblip.save_pretrained(folder)
        for state in self.kept:
            state.save(folder)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        self.load(Path(resume_from_checkpoint))

    def load(self, folder: Path) -> None:
        """Weights, and what else is kept, of a checkpoint."""
        self.medblip.load_learned(folder)
        for state in self.kept:
            state.load(folder)


def stage_arguments(
    folder: Path,
    stage: StageSection,
    seed: int,
    precision: str,
    device: torch.device,
    *,
    compiled: bool = False,
) -> TrainingArguments:
    """What Trainer needs to know of a stage.

    Args:
        folder: of the stage's checkpoints.
        precision: ``float32`` or ``bfloat16``.
        compiled: by ``torch.compile``.
    """
    division = divide(stage, process_count())
    return TrainingArguments(
        output_dir=str(folder),
        max_steps=stage.steps,
        per_device_train_batch_size=division.micro_batch,
        gradient_accumulation_steps=division.accumulation,
        ddp_find_unused_parameters=False,  # every micro-batch reaches all that is learned: Collator
        lr_scheduler_type="cosine",
        warmup_steps=int(stage.warmup * stage.steps),
        max_grad_norm=stage.max_gradient_norm,
        logging_steps=min(10, stage.steps),
        logging_nan_inf_filter=False,
        save_steps=stage.save_every,
        save_total_limit=2,
        seed=seed,
        bf16=precision == "bfloat16",
        torch_compile=compiled,
        use_cpu=device.type == "cpu",
        report_to="none",
        remove_unused_columns=False,
        **loader_arguments(device),
        disable_tqdm=False,
    )
