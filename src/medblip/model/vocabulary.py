"""The language model's vocabulary as the whole model's: embeddings, and what resizing changes."""

from __future__ import annotations

from typing import Any, cast

from torch import nn
from transformers import PreTrainedModel


class VocabularyMixin:
    """Token embeddings, their output map, and ``resize_token_embeddings``."""

    config: Any
    base_identities: Any
    language_model: PreTrainedModel

    def get_input_embeddings(self) -> nn.Embedding:
        return cast(nn.Embedding, self.language_model.get_input_embeddings())

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.language_model.set_input_embeddings(value)

    def get_output_embeddings(self) -> nn.Module:
        return self.language_model.get_output_embeddings()

    def set_output_embeddings(self, new_embeddings: nn.Module) -> None:
        self.language_model.set_output_embeddings(new_embeddings)

    def resize_token_embeddings(self, *args: Any, **kwargs: Any) -> nn.Embedding:
        """As in transformers; what the vocabulary decides moves along.

        ``config.image_token_id`` stays outside of the vocabulary: where new tokens reach it, it
        becomes the id after the last. Make the processor anew then, with
        ``MedBlipProcessor.for_model``; an old one's prompts are refused beside an image.

        A language model whose vocabulary has another size is not its recorded base any more:
        ``config.language_base`` becomes None, and it is saved with the checkpoint.
        """
        before = self.get_input_embeddings().num_embeddings
        embeddings: nn.Embedding = super().resize_token_embeddings(  # type: ignore[misc]
            *args, **kwargs
        )
        size = embeddings.num_embeddings
        self.config.image_token_id = max(self.config.image_token_id, size)
        if size != before:
            self.config.language_base = None
            known = self.base_identities.items()
            self.base_identities = {role: i for role, i in known if role != "language"}
        return embeddings


__all__ = ["VocabularyMixin"]
