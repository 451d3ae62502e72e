"""What a forward pass gives."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from torch import Tensor
from transformers.utils.generic import ModelOutput

Layers = tuple[Tensor, ...]


@dataclass
class MedBlipOutput(ModelOutput):
    """Output of :meth:`MedBlipForConditionalGeneration.forward`.

    Attributes:
        loss: weighted sum of the parts that had their inputs.
        logits: ``(batch, kept positions, vocabulary)``; with labels only from the position before
            the first answer token on.
        itc_record, itc_answer, itc_choices, language: the parts of the loss, unweighted.
        query_states: ``(images, queries, hidden)``.
        past_key_values: the language model's cache where ``use_cache`` was asked for.
        hidden_states, attentions: of a causal language model, where asked for by
            ``output_hidden_states`` and ``output_attentions``; one tensor a layer, embeddings
            first: ``(batch, length, width)`` and ``(batch, heads, length, length)``.
        encoder_last_hidden_state, encoder_hidden_states, encoder_attentions,
        decoder_hidden_states, decoder_attentions, cross_attentions: of an encoder-decoder one.
        contrast_features: of :meth:`MedBlipForConditionalGeneration.contrast_features`.
    """

    loss: Tensor | None = None
    logits: Tensor | None = None
    itc_record: Tensor | None = None
    itc_answer: Tensor | None = None
    itc_choices: Tensor | None = None
    language: Tensor | None = None
    query_states: Tensor | None = None
    past_key_values: Any | None = None
    hidden_states: Layers | None = None
    attentions: Layers | None = None
    decoder_hidden_states: Layers | None = None
    decoder_attentions: Layers | None = None
    cross_attentions: Layers | None = None
    encoder_last_hidden_state: Tensor | None = None
    encoder_hidden_states: Layers | None = None
    encoder_attentions: Layers | None = None
    contrast_features: tuple[Tensor, ...] | None = None

    def take(self, result: Any) -> None:
        """Keep what the language model gave beside logits and loss."""
        for name in FROM_LANGUAGE:
            value = getattr(result, name, None)
            nothing = isinstance(value, tuple) and not value  # GPT-2's cross-attention
            setattr(self, name, None if nothing else value)

    def in_order(self) -> MedBlipOutput:
        """The same with the fields in the order above: loss first, as everywhere in transformers.

        As a mapping and as a tuple an output has the order in which its parts were set.
        """
        return MedBlipOutput(**{field.name: getattr(self, field.name) for field in fields(self)})


_NAMES = [field.name for field in fields(MedBlipOutput)]
FROM_LANGUAGE = tuple(_NAMES[_NAMES.index("past_key_values") : _NAMES.index("contrast_features")])

__all__ = ["MedBlipOutput"]
