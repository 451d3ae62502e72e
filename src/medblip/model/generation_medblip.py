"""Generation: image and prompt become embeddings, then the language model's own ``generate``."""

from __future__ import annotations

from typing import Any, NoReturn

import torch
from torch import Tensor
from transformers import GenerationConfig, GenerationMixin, PreTrainedModel

from medblip.errors import UsageError

# Options that read the prompt's token ids, which a prompt with an image does not have: the value
# that turns each off, and why it cannot be on.
_NEEDS_PROMPT_IDS: dict[str, tuple[Any, str]] = {
    "assistant_model": (
        None,
        "an assistant is given token ids and cannot see the image; "
        "`prompt_lookup_num_tokens` speeds up without one",
    ),
    "guidance_scale": (1, "the prompt without its condition would have to be token ids"),
    "prefill_chunk_size": (None, "transformers fills the cache in pieces of token ids alone"),
    "token_healing": (False, "it rewrites the last token id of the prompt"),
}


class MedBlipGenerationMixin(GenerationMixin):
    """``generate`` and its settings, both those of ``language_model``."""

    language_model: PreTrainedModel
    prepare_prompt: Any

    @property
    def generation_config(self) -> GenerationConfig:
        """The language model's own settings; changing one changes the other."""
        return self.language_model.generation_config

    @generation_config.setter
    def generation_config(self, value: GenerationConfig) -> None:
        # transformers sets one before there is a language model, which brings its own.
        if "language_model" in self.__dict__.get("_modules", {}):
            self.language_model.generation_config = value

    @torch.no_grad()
    def generate(  # type: ignore[override]  # an image beside the ids; options by name
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        pixel_values: Tensor | None = None,
        image_tokens: Tensor | None = None,
        image_mask: Tensor | None = None,
        **kwargs: Any,
    ) -> Any:
        """Answer tokens; every option of transformers' ``generate`` that needs no prompt ids.

        Only new tokens are returned, for causal and for encoder-decoder models alike (the latter
        with their decoder start token first). Penalties for repetition see them alone too.
        ``max_length`` counts the prompt of a causal model, as everywhere in transformers.

        Args:
            input_ids, attention_mask: prompts ``(batch, length)``, padded on the left.
            pixel_values, image_tokens, image_mask: as in ``forward``.
            kwargs: options of transformers' ``generate``.

        Returns:
            int64 ``(batch * num_return_sequences, new tokens)``, or with
            ``return_dict_in_generate`` transformers' output that holds them as ``sequences``.

        Raises:
            UsageError: an option that needs the prompt as token ids.
            ValueError: an option that transformers does not know, or images and prompts that do
                not match.
        """
        _refuse_prompt_options(kwargs, self.generation_config)
        embeddings, attention_mask, _ = self.prepare_prompt(
            input_ids, attention_mask, pixel_values, image_tokens, image_mask
        )
        language_model: Any = self.language_model
        return language_model.generate(
            inputs_embeds=embeddings, attention_mask=attention_mask, **kwargs
        )

    def init_continuous_batching(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Refused: transformers' continuous batching has no place for an image.

        Raises:
            UsageError: always.
        """
        raise UsageError(
            "generate_batch",
            "continuous batching takes token ids alone and has no place for an image",
            "call `generate` with a batch; for text alone, `model.language_model.generate_batch`",
            code="cannot-apply",
        )


def _refuse_prompt_options(options: dict[str, Any], default: GenerationConfig) -> None:
    settings = options.get("generation_config") or default
    for name, (off, reason) in _NEEDS_PROMPT_IDS.items():
        value = options.get(name, getattr(settings, name, None))
        if value is not None and value != off:
            raise UsageError(
                "generate", f"`{name}` cannot apply: {reason}", "leave it out", code="cannot-apply"
            )


__all__ = ["MedBlipGenerationMixin"]
