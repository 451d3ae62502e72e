"""One batch of a stage, of the shapes that its collator makes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor
from transformers import PreTrainedConfig

from medblip.errors import UsageError
from medblip.model import MedBlipConfig
from medblip.model.configuration_medblip import MedQFormerConfig
from medblip.model.losses import IGNORED
from medblip.recipe import StageSection

CHOICES = 4  # of a closed question, as M3D-VQA has them


@dataclass(frozen=True)
class TextLengths:
    """Tokens of one sample's texts; the defaults are typical of records with seven fields.

    Attributes:
        record, question_answer: the contrastive texts.
        prompt: prefix, record and question together.
        prefixes: in the prompt, one a scan: 2 where its question compares with an earlier scan.
        answer: its end-of-sequence token included.
    """

    record: int = 90
    question_answer: int = 20
    prompt: int = 140
    answer: int = 6
    prefixes: int = 1


def prompt_ids(config: MedBlipConfig, batch: int, lengths: TextLengths) -> Tensor:
    """Prompts ``(batch, lengths.prompt)`` without padding: each prefix, then random tokens.

    Raises:
        UsageError: the prompt is no longer than its prefixes.
    """
    prefix = lengths.prefixes * cast(MedQFormerConfig, config.qformer_config).num_query_tokens
    if lengths.prompt <= prefix:
        raise UsageError(
            "prompt length",
            f"{lengths.prompt} tokens leave no room after a prefix of {prefix}",
            f"give more than {prefix}",
            code="short-prompt",
        )
    places = torch.full((batch, prefix), cast(int, config.image_token_id))
    return torch.cat([places, _ids(config, batch, lengths.prompt - prefix)], 1)


def image_inputs(config: MedBlipConfig, images: int) -> dict[str, Tensor]:
    """``pixel_values (images, 1, D, H, W)`` in [0, 1]."""
    edge = config.volume_size
    return {"pixel_values": torch.rand(images, 1, edge, edge, edge)}


def training_batch(
    config: MedBlipConfig, stage: StageSection, batch: int, lengths: TextLengths, pixels: bool
) -> dict[str, Tensor]:
    """Inputs of ``forward`` for one step: every sample with its images, all of one length.

    Args:
        pixels: volumes, for a stage that trains the patch embedding; else cached image tokens.
    """
    images = batch * lengths.prefixes
    inputs = image_inputs(config, images) if pixels else _cached_tokens(config, stage, images)
    if batch > 1:  # as the collator: one pair alone has nothing to be told apart from
        inputs["contrast_rows"] = torch.arange(batch) * lengths.prefixes + lengths.prefixes - 1
        for name, length in (("record", lengths.record), ("answer", lengths.question_answer)):
            inputs |= _masked(f"{name}_ids", f"{name}_mask", _ids(config, batch, length))
    if stage.itc_choices > 0:
        inputs |= _choices(config, batch, lengths)
    if stage.language > 0:
        inputs |= _language_inputs(config, batch, lengths)
    return inputs


def _choices(config: MedBlipConfig, batch: int, lengths: TextLengths) -> dict[str, Tensor]:
    """A closed question a sample, none of whose texts is another's too."""
    ids = _ids(config, batch * CHOICES, lengths.question_answer)
    return {
        **_masked("choice_ids", "choice_mask", ids),
        "choice_rows": torch.arange(batch) * lengths.prefixes + lengths.prefixes - 1,
        "choice_places": torch.arange(batch * CHOICES).view(batch, CHOICES),
        "choice_right": torch.zeros(batch, dtype=torch.int64),
    }


def _language_inputs(config: MedBlipConfig, batch: int, lengths: TextLengths) -> dict[str, Tensor]:
    ids = prompt_ids(config, batch, lengths)
    answer = _ids(config, batch, lengths.answer)
    if config.is_encoder_decoder:
        return {**_masked("input_ids", "attention_mask", ids), "labels": answer}
    labels = torch.cat([torch.full_like(ids, IGNORED), answer], 1)
    return {**_masked("input_ids", "attention_mask", torch.cat([ids, answer], 1)), "labels": labels}


def _cached_tokens(config: MedBlipConfig, stage: StageSection, images: int) -> dict[str, Tensor]:
    kept = 1 + round(config.num_patches * (1 - stage.token_dropout))
    width = cast(PreTrainedConfig, config.vision_config).hidden_size
    return {
        "image_tokens": torch.randn(images, kept, width),
        "image_mask": torch.ones(images, kept, dtype=torch.bool),
    }


def _ids(config: MedBlipConfig, batch: int, length: int) -> Tensor:
    return torch.randint(0, cast(PreTrainedConfig, config.text_config).vocab_size, (batch, length))


def _masked(ids_name: str, mask_name: str, ids: Tensor) -> dict[str, Tensor]:
    return {ids_name: ids, mask_name: torch.ones_like(ids)}


__all__ = ["TextLengths", "image_inputs", "prompt_ids", "training_batch"]
