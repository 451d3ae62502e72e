"""What is planned: one optimizer step as the trainer makes it, and one answered batch."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import torch
from torch import Tensor

from medblip.model import MedBlipForConditionalGeneration
from medblip.model.likelihood import score_answers
from medblip.recipe import StageSection
from medblip.study.labels import LABELS
from medblip.training.optimizer import parameter_groups
from medblip.training.planning.batch import TextLengths

Autocast = Callable[[], AbstractContextManager[None]]
MAX_GRADIENT_NORM = 1.0


def new_optimizer(
    model: MedBlipForConditionalGeneration, stage: StageSection, *, foreach: bool
) -> torch.optim.Optimizer:
    """The trainer's AdamW with its state, which a run's first step would make.

    Args:
        foreach: many parameters at once, which needs temporary copies; torch's choice on CUDA.
    """
    optimizer = torch.optim.AdamW(parameter_groups(model, stage), foreach=foreach)
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = torch.zeros_like(parameter)
    update(optimizer)
    return optimizer


def training_step(
    model: MedBlipForConditionalGeneration,
    optimizer: torch.optim.Optimizer,
    inputs: dict[str, Tensor],
    autocast: Autocast,
) -> Tensor:
    """Forward under ``autocast``, backward, clipping, AdamW; returns the loss."""
    with autocast():
        loss = model(**inputs).loss
    loss.backward()
    update(optimizer)
    return loss.detach()


def update(optimizer: torch.optim.Optimizer) -> None:
    """Clip the gradients, step, and drop them."""
    groups = optimizer.param_groups
    torch.nn.utils.clip_grad_norm_((p for g in groups for p in g["params"]), MAX_GRADIENT_NORM)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def answering(
    model: MedBlipForConditionalGeneration,
    prompts: Tensor,
    image: dict[str, Tensor],
    lengths: TextLengths,
    autocast: Autocast,
) -> Tensor:
    """Log-probabilities of one answer per label; the prompt runs once for all of them.

    Args:
        prompts: ``(batch, length)`` without padding.
        image: ``pixel_values``.
    """
    candidates = [list(range(lengths.answer))] * len(LABELS)
    with autocast():
        return score_answers(model, candidates, prompts, torch.ones_like(prompts), **image)


__all__ = ["Autocast", "answering", "new_optimizer", "training_step", "update"]
