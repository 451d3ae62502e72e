"""One stage of training on transformers' Trainer: the schedule's order, the losses by part."""

from __future__ import annotations

from collections.abc import Sequence, Sized
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import SequentialSampler
from transformers import Trainer, TrainingArguments

from medblip.model.modeling_medblip import MedBlipForConditionalGeneration
from medblip.model.output import MedBlipOutput
from medblip.recipe import StageSection
from medblip.training.failures import require_finite
from medblip.training.optimizer import new_optimizer
from medblip.training.parts import PARTS
from medblip.training.watching import Gauges


class Kept(Protocol):
    """State of a stage that is neither weight nor optimizer, and belongs into checkpoints."""

    def save(self, folder: Path) -> None: ...

    def load(self, folder: Path) -> None: ...


class StageTrainer(Trainer):
    """Trainer that reads its schedule in order and reports the loss by part.

    Random numbers of a step (dropout, augmentation) are drawn from its number alone, so no state
    of a generator has to be kept: a run goes on alike from any checkpoint, and evaluating in
    between changes nothing.

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
        self.gauges = gauges
        self.kept = kept
        self.measured: dict[str, list[float]] = {}
        self.micro_step = 0
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
            self.optimizer = new_optimizer(self.medblip, self.stage)
        return self.optimizer

    def get_batch_samples(self, *args: Any, **kwargs: Any) -> Any:
        self.micro_step = 0  # a new optimizer step begins
        return super().get_batch_samples(*args, **kwargs)

    def training_step(self, *args: Any, **kwargs: Any) -> Tensor:
        place = (self.args.seed, self.state.global_step, self.micro_step, self.args.process_index)
        torch.manual_seed(int(np.random.SeedSequence(place).generate_state(1)[0]))
        self.micro_step += 1
        return super().training_step(*args, **kwargs)

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        out = model(**inputs)
        self._measure(out)
        return (out.loss, out) if return_outputs else out.loss

    def _measure(self, out: MedBlipOutput) -> None:
        """Note the losses; one transfer from the device for all of them."""
        parts = {name: part for name in PARTS if (part := getattr(out, name)) is not None}
        values = torch.stack([x.detach().float() for x in (out.loss, *parts.values())]).tolist()
        require_finite(values[0], self.state.global_step + 1)
        for name, value in zip(parts, values[1:], strict=True):
            self.measured.setdefault(name, []).append(value)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        means = {name: sum(values) / len(values) for name, values in self.measured.items()}
        self.measured = {}
        readings = self.gauges.read(self.state.global_step) if means else {}
        super().log({**logs, **means, **readings}, start_time)

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        # The learned weights alone; not the pickled arguments that the base class adds.
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
    return TrainingArguments(
        output_dir=str(folder),
        max_steps=stage.steps,
        per_device_train_batch_size=stage.micro_batch_size or stage.batch_size,
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
        dataloader_num_workers=0,
        dataloader_pin_memory=device.type == "cuda",
        disable_tqdm=False,
    )
