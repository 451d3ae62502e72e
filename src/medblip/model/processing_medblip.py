"""Volumes, records and questions to model inputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers.feature_extraction_utils import BatchFeature
from transformers.processing_utils import ProcessorMixin

from medblip.errors import UsageError
from medblip.model.image_processing_medblip import VolumeInput
from medblip.model.prompt import PromptBuilder, PromptOrder, pad_left
from medblip.study.labels import QUESTION


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
            tokenizer.pad_token = tokenizer.eos_token
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
    ) -> BatchFeature:
        """Inputs of :meth:`MedBlipForConditionalGeneration.generate`.

        Args:
            volumes: scans (path, Volume, Cube or nibabel image); None asks about records alone.
            records: one text each; empty or None asks about the scans alone.
            questions: one for all, or one each; the paper's question by default.

        Returns:
            ``input_ids`` and ``attention_mask`` ``(batch, length)`` int64, left-padded, and
            ``pixel_values (batch, 1, D, H, W)`` where volumes were given.

        Raises:
            UsageError: the lists differ in length, or nothing was given.
            InputError: a scan cannot be used, or a question is empty.
        """
        scans = _as_list(volumes)
        count = max(len(scans), len(_as_list(records)), len(_as_list(questions)))
        if count == 0:
            raise UsageError("processor", "no volume, record or question was given")
        texts = _repeat("records", _as_list(records) or [""], count)
        asked = _repeat("questions", _as_list(questions) or [QUESTION], count)
        if scans and len(scans) != count:
            raise UsageError("volumes", f"{len(scans)} for {count} prompts; give one each")
        builder = self.prompts
        rows = [
            builder.prompt(text, question, image=bool(scans)).ids
            for text, question in zip(texts, asked, strict=True)
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


def _as_list(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]


def _repeat(name: str, values: list[str], count: int) -> list[str]:
    if len(values) == count:
        return values
    if len(values) == 1:
        return values * count
    raise UsageError(name, f"{len(values)} for {count} prompts; give one, or one each")
