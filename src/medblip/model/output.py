"""What a forward pass gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor
from transformers.utils.generic import ModelOutput


@dataclass
class MedBlipOutput(ModelOutput):
    """Output of :meth:`MedBlipForConditionalGeneration.forward`.

    Attributes:
        loss: weighted sum of the parts that had their inputs.
        logits: ``(batch, kept positions, vocabulary)``; with labels only from the position before
            the first answer token on.
        itc_record, itc_answer, language: the parts of the loss, unweighted.
        query_states: ``(images, queries, hidden)``.
        past_key_values: the language model's cache where ``use_cache`` was asked for.
        encoder_last_hidden_state: of encoder-decoder language models.
    """

    loss: Tensor | None = None
    logits: Tensor | None = None
    itc_record: Tensor | None = None
    itc_answer: Tensor | None = None
    language: Tensor | None = None
    query_states: Tensor | None = None
    past_key_values: Any | None = None
    encoder_last_hidden_state: Tensor | None = None


__all__ = ["MedBlipOutput"]
