"""Volumes, records and questions to model inputs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import torch
from transformers.feature_extraction_utils import BatchFeature
from transformers.processing_utils import ProcessorMixin

from medblip.errors import UsageError
from medblip.model.asked import line_up
from medblip.model.bases import resolve_base
from medblip.model.image_processing_medblip import VolumeInput
from medblip.model.processor_files import check_processor, list_tokenizer
from medblip.model.prompt import PromptBuilder, PromptOrder, pad_left

_HUB = ("revision", "cache_dir", "force_download", "local_files_only", "token")


class MedBlipProcessor(ProcessorMixin):
    """The image processor and the language model's tokenizer, as one.

    Args:
        image_processor, tokenizer: the two halves.
        image_token_id, num_query_tokens, prompt_order, encoder_decoder: as in the model's
            configuration; see :meth:`for_model`.
        max_length: longest prompt in tokens; what does not fit is cut from the record's middle.
    """

    def __init__(
        self,
        image_processor: Any,
        tokenizer: Any,
        image_token_id: int = 0,
        num_query_tokens: int = 32,
        prompt_order: PromptOrder = "image_text_question",
        encoder_decoder: bool = False,
        max_length: int = 512,
    ) -> None:
        if tokenizer.pad_token_id is None:
            tokenizer.pad_token = _end_token(tokenizer)
        tokenizer.padding_side = "left"  # generation goes on at the right end of every prompt
        super().__init__(image_processor, tokenizer)
        self.image_token_id = image_token_id
        self.num_query_tokens = num_query_tokens
        self.prompt_order = prompt_order
        self.encoder_decoder = encoder_decoder
        self.max_length = max_length

    @classmethod
    def for_model(
        cls, config: Any, image_processor: Any, tokenizer: Any, max_length: int = 512
    ) -> MedBlipProcessor:
        """A processor that fits a :class:`MedBlipConfig`."""
        return cls(
            image_processor,
            tokenizer,
            image_token_id=config.image_token_id,
            num_query_tokens=config.qformer_config.num_query_tokens,
            prompt_order=config.prompt_order,
            encoder_decoder=config.is_encoder_decoder,
            max_length=max_length,
        )

    def save_pretrained(
        self, save_directory: str | os.PathLike[str], push_to_hub: bool = False, **kwargs: Any
    ) -> list[str]:
        """Write the processor's files, and the hashes of the tokenizer's beside them."""
        folder = Path(save_directory)
        written: list[str] = super().save_pretrained(folder)
        list_tokenizer(folder, self.tokenizer)
        if push_to_hub:  # only now: the hashes belong to what is uploaded
            self.push_to_hub(kwargs.pop("repo_id", folder.name), **kwargs)
        return written

    @classmethod
    def from_pretrained(  # type: ignore[override]  # options by name
        cls, pretrained_model_name_or_path: str | os.PathLike[str], **kwargs: Any
    ) -> Self:
        """Load the processor of a checkpoint folder or hub id.

        Raises:
            InputError: there is none, or its tokenizer is not the one it was saved with.
        """
        folder = Path(pretrained_model_name_or_path)
        if not folder.is_dir():
            hub = {name: kwargs.pop(name) for name in _HUB if name in kwargs}
            folder = resolve_base(str(pretrained_model_name_or_path), **hub)
        check_processor(folder / kwargs.get("subfolder", ""))
        loaded: Self = super().from_pretrained(folder, **kwargs)
        return loaded

    @property
    def prompts(self) -> PromptBuilder:
        """The builder of prompt ids behind :meth:`__call__`."""
        return PromptBuilder(
            self.tokenizer,
            self.image_token_id,
            self.num_query_tokens,
            self.prompt_order,
            self.encoder_decoder,
            self.max_length,
        )

    def __call__(
        self,
        volumes: VolumeInput | Sequence[VolumeInput] | None = None,
        records: str | Sequence[str] | None = None,
        questions: str | Sequence[str] | None = None,
        return_tensors: str = "pt",
        previous: VolumeInput | Sequence[VolumeInput | None] | None = None,
    ) -> BatchFeature:
        """Inputs of :meth:`MedBlipForConditionalGeneration.generate`.

        Args:
            volumes: scans (path, Volume, Cube, nibabel image, or a pair of array and affine);
                None asks about records alone.
            records: one text each; empty or None asks about the scans alone.
            questions: one for all, or one each; the paper's question by default.
            previous: an earlier scan of the same subject for each prompt, to compare with; None
                in a list where a prompt has none.

        Returns:
            ``input_ids`` and ``attention_mask`` ``(batch, length)`` int64, left-padded, and
            ``pixel_values (scans, 1, D, H, W)`` where volumes were given: prompt by prompt, the
            previous scan of each before the current one.

        Raises:
            UsageError: the lists differ in length, nothing was given, or a previous scan without
                a current one.
            InputError: a scan cannot be used, or a question is empty.
        """
        asked = line_up(volumes, records, questions, previous)
        scans = [scan for one in asked for scan in one.scans]
        builder = self.prompts
        rows = [
            builder.prompt(
                one.record,
                one.question,
                image=one.volume is not None,
                previous=one.previous is not None,
            ).ids
            for one in asked
        ]
        ids, mask = pad_left(rows, self.tokenizer.pad_token_id)
        data = {"input_ids": torch.tensor(ids), "attention_mask": torch.tensor(mask)}
        if scans:
            data |= self.image_processor(scans, return_tensors=return_tensors)
        return BatchFeature(data, tensor_type=return_tensors)

    def batch_decode(self, *args: Any, **kwargs: Any) -> list[str]:
        """The tokenizer's ``batch_decode``, special tokens left out."""
        kwargs.setdefault("skip_special_tokens", True)
        texts: list[str] = self.tokenizer.batch_decode(*args, **kwargs)
        return [text.strip() for text in texts]


def _end_token(tokenizer: Any) -> str:
    """What pads where there is no token for it; the mask tells it from a real end."""
    if tokenizer.eos_token is None:
        raise UsageError(
            type(tokenizer).__name__,
            "has neither a padding nor an end-of-sequence token",
            "name its end token, for example with `tokenizer.eos_token = '</s>'`",
            code="no-end-token",
        )
    token: str = tokenizer.eos_token
    return token
