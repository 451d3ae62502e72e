"""Trainer whose losses are those of the whole batch, however a step is divided."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from medblip.model.configuration_medblip import LOSSES
from medblip.model.modeling_medblip import MedBlipForConditionalGeneration
from medblip.training.agreement import total
from medblip.training.failures import require_finite
from medblip.training.joint_batch import ADDED_UP, Batch, Features, JointBatch
from medblip.training.processes import keep_frozen_apart
from medblip.training.safe_trainer import SafeTrainer
from medblip.training.watching import Gauges

OF_LANGUAGE = ("input_ids", "attention_mask", "labels")


class JointTrainer(SafeTrainer):
    """Trainer of one optimizer step in one piece, or in several as :class:`JointBatch` says.

    Random numbers of a step (dropout) are drawn from its number, the piece's and the process's
    alone, so no state of a generator has to be kept: a run goes on alike from any checkpoint, and
    evaluating in between changes nothing.

    Args:
        gauges: told the time spent waiting for data.
    """

    def __init__(self, *args: Any, gauges: Gauges, **kwargs: Any) -> None:
        self.gauges = gauges
        self.measured: dict[str, list[float]] = {}
        self.piece = 0
        self.joint: JointBatch | None = None
        super().__init__(*args, **kwargs)
        self.model_accepts_loss_kwargs = False  # the loss is already a mean
        pieces = self.args.world_size * self.args.gradient_accumulation_steps
        self.loss_is_scaled_for_ga = pieces > 1
        keep_frozen_apart(self.medblip)

    @property
    def medblip(self) -> MedBlipForConditionalGeneration:
        """The model itself, without what wraps it on several processes."""
        return cast(MedBlipForConditionalGeneration, self.accelerator.unwrap_model(self.model))

    def get_batch_samples(self, *args: Any, **kwargs: Any) -> Any:
        with self.gauges.waiting():
            batches, items = super().get_batch_samples(*args, **kwargs)
        self.piece = 0  # a new optimizer step begins
        self.joint = self._join(batches) if self.loss_is_scaled_for_ga else None
        return batches, items

    def _join(self, batches: Sequence[Batch]) -> JointBatch:
        joint = JointBatch.of(self.medblip, self.args.world_size, batches)
        if joint.contrasts and len(batches) > 1:
            with self.compute_loss_context_manager():
                joint.contrast([self._features(i, batch) for i, batch in enumerate(batches)])
        return joint

    @torch.no_grad()
    def _features(self, piece: int, batch: Batch) -> Features:
        """Of a piece's first pass, under the random numbers of its second one."""
        self._seed(piece)
        self.medblip.train()
        inputs = {name: value for name, value in batch.items() if name not in OF_LANGUAGE}
        out = self.medblip(**self._prepare_inputs(inputs), return_features=True)
        features: Features = out.contrast_features
        return features

    def _seed(self, piece: int) -> None:
        place = (self.args.seed, self.state.global_step, piece, self.args.process_index)
        torch.manual_seed(int(np.random.SeedSequence(place).generate_state(1)[0]))

    def training_step(self, *args: Any, **kwargs: Any) -> Tensor:
        self._seed(self.piece)
        passed = super().training_step(*args, **kwargs)
        self.piece += 1
        return passed if self.joint is None else self.value

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        out = model(**inputs, return_features=self.joint is not None)
        if self.joint is None:
            loss, pairs = out.loss, len(inputs.get("contrast_rows", ()))
            parts = {name: part for name in LOSSES if (part := getattr(out, name)) is not None}
        else:
            loss, pairs = self.joint.loss(out, self.piece), self.joint.pairs
            parts = self.joint.parts(out, self.piece)
            self.value = self.joint.value(parts)
        if pairs < 2:  # nothing was contrasted: no measurement
            parts = {name: part for name, part in parts.items() if name in ADDED_UP}
        self._measure(loss if self.joint is None else self.value, parts)
        return (loss, out) if return_outputs else loss

    def _measure(self, loss: Tensor, parts: Mapping[str, Tensor]) -> None:
        """Note the losses; one transfer from the device for all of them."""
        values = torch.stack([x.detach().float() for x in (loss, *parts.values())]).tolist()
        require_finite(dict(zip(("loss", *parts), values, strict=True)), self.steps_done + 1)
        for name, value in zip(parts, values[1:], strict=True):
            if self.piece == 0:
                self.measured.setdefault(name, []).append(value)
            elif name in ADDED_UP:
                self.measured[name][-1] += value

    def take_measured(self) -> dict[str, float]:
        """Means of the losses by part since the last call, over all processes."""
        means = {name: sum(values) / len(values) for name, values in self.measured.items()}
        self.measured = {}
        if self.joint is not None:
            shared = [name for name in ADDED_UP if name in means]
            means |= zip(shared, total([means[name] for name in shared]), strict=True)
        return means
