"""Measuring a recipe's step without memory: peak bytes by kind, and floating-point operations."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from medblip.recipe import Recipe, StageSection
from medblip.training.planning.batch import (
    TextLengths,
    image_inputs,
    prompt_ids,
    training_batch,
)
from medblip.training.planning.cpu_scratch import scratch_bytes
from medblip.training.planning.cuda_rules import CudaRules
from medblip.training.planning.flops import Flops, counting_flops
from medblip.training.planning.live_bytes import LiveBytes
from medblip.training.planning.model import new_shadow
from medblip.training.planning.parts import parameter_table
from medblip.training.planning.steps import answering, new_optimizer, training_step
from medblip.training.precision import autocast, resolve_precision

Device = Literal["cuda", "cpu"]
_CUDA_GRANULARITY = 512  # bytes; of CUDA's caching allocator


@dataclass(frozen=True)
class Peak:
    """Bytes of tensors at the moment of their largest total.

    Attributes:
        activations: everything a step makes on its way: what backward will need, what is
            recomputed, copies of weights in the autocast's dtype, temporaries.
    """

    frozen_weights: int
    learned_weights: int
    gradients: int
    optimizer: int
    inputs: int
    activations: int

    @property
    def total(self) -> int:
        return sum(vars(self).values())


class Shadow:
    """A recipe's model in fake tensors.

    Args:
        stage: of the recipe, to be trained.
        device: whose arithmetic, kernels and optimizer to follow. ``cpu`` follows this machine's.

    Attributes:
        precision: of the step's arithmetic, resolved for the device.
        parameters: counts by part.
    """

    def __init__(
        self, recipe: Recipe, stage: StageSection, lengths: TextLengths, device: Device
    ) -> None:
        self.recipe, self.stage, self.lengths, self.device = recipe, stage, lengths, device
        self.precision = _precision(recipe.precision, device)
        self.mode = FakeTensorMode()
        self.model = new_shadow(recipe, stage, lengths.answer, self.mode)
        self.parameters = parameter_table(self.model.named_parameters())
        self._learned = [p for p in self.model.parameters() if p.requires_grad]
        self._frozen = [p for p in self.model.parameters() if not p.requires_grad]
        with self.mode:
            self.optimizer = new_optimizer(self.model, stage, foreach=device == "cuda")

    def training_peak(self, batch: int, checkpointing: bool) -> Peak:
        """Peak of a step; the optimizer has its state, as it has not in a run's first step."""
        with self._acting(checkpointing), self._counting() as live:
            inputs = self._training_inputs(batch)
            live.hold("inputs", inputs.values())
            live.hold("optimizer", self._optimizer_state())
            training_step(self.model, self.optimizer, inputs, self._autocast)
        return _peak(live)

    def answering_peak(self, batch: int) -> Peak:
        """Peak of scoring one answer per label for ``batch`` prompts, with nothing of training."""
        with self._acting(training=False), self._counting() as live:
            image = image_inputs(self.model.config, batch * self.lengths.prefixes)
            live.hold("inputs", image.values())
            self._answer(image, batch)
        return _peak(live)

    def training_flops(self, checkpointing: bool) -> Flops:
        """Of one sample's share of a step."""
        pair = 2  # the smallest batch with something to contrast
        with self._acting(checkpointing), counting_flops(self.model) as counted:
            inputs = self._training_inputs(pair)
            training_step(self.model, self.optimizer, inputs, self._autocast)
        return counted().shared_by(pair)

    def answering_flops(self) -> Flops:
        """Of the answer to one prompt."""
        with self._acting(training=False), counting_flops(self.model) as counted:
            self._answer(image_inputs(self.model.config, self.lengths.prefixes), 1)
        return counted()

    # ------------------------------------------------------------------ inside
    def _optimizer_state(self) -> list[Tensor]:
        return [t for state in self.optimizer.state.values() for t in state.values()]

    def _training_inputs(self, batch: int) -> dict[str, Tensor]:
        pixels = self.recipe.model.train_patch_embedding or self.stage is self.recipe.end_to_end
        return training_batch(self.model.config, self.stage, batch, self.lengths, pixels)

    def _answer(self, image: dict[str, Tensor], batch: int) -> None:
        prompts = prompt_ids(self.model.config, batch, self.lengths)
        answering(self.model, prompts, image, self.lengths, self._autocast)

    def _autocast(self) -> AbstractContextManager[None]:
        return autocast(torch.device("cpu"), self.precision)

    @contextmanager
    def _acting(self, checkpointing: bool = False, training: bool = True) -> Iterator[None]:
        """On fake tensors, as the device would, with or without recomputed layers."""
        self.model.train(training)
        for parameter in self._learned:
            parameter.requires_grad_(training)
        self._set_checkpointing(checkpointing)
        with self.mode, self._rules():
            yield

    def _set_checkpointing(self, on: bool) -> None:
        # Backward, and with it what it recomputes, runs outside the rules that `_acting` enters.
        again = {"use_reentrant": False, "context_fn": lambda: (nullcontext(), self._rules())}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # the names before transformers 5.23
            if on:
                self.model.gradient_checkpointing_enable(again)
            else:
                self.model.gradient_checkpointing_disable()

    def _rules(self) -> AbstractContextManager[Any]:
        return CudaRules() if self.device == "cuda" else nullcontext()

    @contextmanager
    def _counting(self) -> Iterator[LiveBytes]:
        cuda = self.device == "cuda"
        live = LiveBytes(_CUDA_GRANULARITY) if cuda else LiveBytes(scratch=scratch_bytes)
        live.hold("frozen_weights", (*self._frozen, *self.model.buffers()))
        live.hold("learned_weights", self._learned)
        with ExitStack() as hooks:
            for parameter in self._learned:
                if parameter.requires_grad:
                    hook = parameter.register_post_accumulate_grad_hook(
                        lambda p: live.hold("gradients", [p.grad])
                    )
                    hooks.callback(hook.remove)
            with live:
                yield live


def _precision(asked: str, device: Device) -> str:
    if device == "cuda" and asked == "auto":
        return "bfloat16"  # native on every card since 2020
    return resolve_precision(asked, torch.device("cpu"))


def _peak(live: LiveBytes) -> Peak:
    return Peak(**{name: live.peak[name] for name in Peak.__dataclass_fields__})


__all__ = ["Device", "Peak", "Shadow"]
