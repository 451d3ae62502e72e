"""A recipe's model with random weights: real, or a shadow that takes no memory."""

from __future__ import annotations

from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from medblip.model import MedBlipConfig, MedBlipForConditionalGeneration, MedBlipOutput
from medblip.model.configuration_medblip import LOSSES
from medblip.model.losses import answer_loss
from medblip.recipe import Recipe, StageSection

ModelT = TypeVar("ModelT", bound=MedBlipForConditionalGeneration)


class ShadowMedBlip(MedBlipForConditionalGeneration):
    """The model on tensors that hold no values: what reads ids and labels goes by shape instead.

    Every prompt begins with its prefixes and no row is padded, as in ``batch.py``.

    Attributes:
        answer_length: tokens of each answer; the real model reads it off the labels.
    """

    answer_length: int

    def embed_prompt(
        self, input_ids: Tensor, attention_mask: Tensor, prefix: Tensor | None
    ) -> Tensor:
        if prefix is None:
            return super().embed_prompt(input_ids, attention_mask, prefix)
        prefixes = prefix.reshape(len(input_ids), -1, prefix.shape[-1])  # of a prompt, in a row
        places = prefixes.shape[1]
        words = self._embed(input_ids[:, places:], attention_mask[:, places:])
        return torch.cat([prefixes.to(words.dtype), words], 1)

    def forward(  # type: ignore[override]  # by name only
        self, *, labels: Tensor | None = None, **inputs: Any
    ) -> MedBlipOutput:
        if labels is None or self.config.is_encoder_decoder:
            return super().forward(labels=labels, **inputs)
        kept = self.answer_length + 1
        only: dict[str, Any] = {"logits_to_keep": kept} if self._takes_logits_to_keep else {}
        out = super().forward(**inputs, **only, use_cache=False)
        out.language = answer_loss(out.logits[:, -kept:], labels)
        out.loss = self._total(out)
        return out


def new_model(recipe: Recipe, stage: StageSection, model_class: type[ModelT]) -> ModelT:
    """The recipe's model before ``stage``, its frozen towers stored as the recipe says.

    Two things are fixed that a recipe leaves open: no patch is left out as background, and
    ``flash_attention_2`` is torch's own fused attention, which keeps the same tensors.

    Raises:
        InputError: see :meth:`MedBlipConfig.from_recipe`.
    """
    section = recipe.model
    config = MedBlipConfig.from_recipe(recipe)
    config.skip_background = False
    config.loss_weights = {name: getattr(stage, name) for name in LOSSES}
    model = model_class(config)
    attention = "eager" if section.attention == "eager" else "sdpa"
    model.language_model.set_attn_implementation(attention)
    if not section.train_patch_embedding:
        model.patch_embedding.requires_grad_(False)
    return model.train()  # type: ignore[return-value]


def new_shadow(
    recipe: Recipe, stage: StageSection, answer_length: int, mode: FakeTensorMode
) -> ShadowMedBlip:
    """The recipe's model in tensors of ``mode``: shapes and dtypes without memory."""
    with torch.device("meta"):  # draws no weights, which fake tensors could not
        model = new_model(recipe, stage, ShadowMedBlip)
    model.answer_length = answer_length
    with mode:
        _replace_tensors(model)
    return model


def _replace_tensors(model: nn.Module) -> None:
    """Fake CPU tensors for all parameters and buffers; tied ones stay tied."""
    replaced: dict[int, Tensor] = {}
    for module in model.modules():
        for held in (module._parameters, module._buffers):
            for name, tensor in held.items():
                if tensor is not None:
                    fake = replaced.setdefault(id(tensor), _fake_like(tensor))
                    held[name] = fake  # type: ignore[assignment]


def _fake_like(tensor: Tensor) -> Tensor:
    empty = torch.empty(tensor.shape, dtype=tensor.dtype)
    if isinstance(tensor, nn.Parameter):
        return nn.Parameter(empty, requires_grad=tensor.requires_grad)
    return empty


__all__ = ["ShadowMedBlip", "new_model", "new_shadow"]
