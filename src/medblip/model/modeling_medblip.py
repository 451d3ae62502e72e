"""MedBLIP: volume -> patch tokens -> queries -> prefix -> language model (Chen and Hong).

Shapes in the comments are those of the paper's recipe: 224^3 voxels, 343 patches and CLS of width
1408, 32 queries of width 768.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel, initialization

from medblip.model.bases import new_language, new_vision
from medblip.model.checkpoint import CheckpointMixin
from medblip.model.configuration_medblip import LOSSES, MedBlipConfig, MedQFormerConfig
from medblip.model.contrast_medblip import MedBlipContrastMixin, Text
from medblip.model.frozen import allow_recomputing, freeze
from medblip.model.generation_medblip import MedBlipGenerationMixin
from medblip.model.lora import add_lora
from medblip.model.losses import IGNORED, answer_loss, positions_to_keep
from medblip.model.medqformer import MedQFormer
from medblip.model.options import refuse_unknown
from medblip.model.output import MedBlipOutput
from medblip.model.patch_embedding import PatchEmbedding3d
from medblip.model.peft_trace import PeftTraceMixin
from medblip.model.vision import encode_tokens, tower_of
from medblip.model.vocabulary import VocabularyMixin


class MedBlipPreTrainedModel(  # type: ignore[misc]
    VocabularyMixin, PeftTraceMixin, CheckpointMixin, PreTrainedModel
):
    config_class = MedBlipConfig
    base_model_prefix = "medblip"
    main_input_name = "input_ids"
    input_modalities = ["image", "text"]  # noqa: RUF012
    supports_gradient_checkpointing = True
    accepts_loss_kwargs = False  # the loss is a mean already: Trainer may divide it by its steps
    # Of the towers, which say for themselves what they can; MedQFormer's is torch's own.
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True
    _no_split_modules = ["MedQFormerLayer", "PatchEmbedding3d"]  # noqa: RUF012
    _skip_keys_device_placement = ["past_key_values"]  # noqa: RUF012

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        std = self.config.initializer_range
        if isinstance(module, nn.Linear | nn.Embedding):
            initialization.normal_(module.weight, std=std)
            if isinstance(module, nn.Linear):
                initialization.zeros_(module.bias)
        elif isinstance(module, nn.LayerNorm):
            initialization.ones_(module.weight)
            initialization.zeros_(module.bias)
        elif isinstance(module, PatchEmbedding3d):
            initialization.trunc_normal_(module.projection.weight, std=std)
            initialization.zeros_(module.projection.bias)  # type: ignore[arg-type]  # it has one
            initialization.trunc_normal_(module.cls_token, std=std)
            initialization.trunc_normal_(module.positions, std=std)
        elif isinstance(module, MedBlipForConditionalGeneration):
            initialization.trunc_normal_(module.query_tokens, std=std)
            if module.prefix_scale is not None:
                initialization.constant_(module.prefix_scale, std)
            initialization.constant_(module.temperature, module.config.itc_temperature)


class MedBlipForConditionalGeneration(  # type: ignore[misc]
    MedBlipPreTrainedModel, MedBlipContrastMixin, MedBlipGenerationMixin
):
    """The whole system. Learned: everything but the two towers, and LoRA where configured.

    Args:
        config: sizes of everything.
        vision_model, language_model: ready towers; built from the configuration if None.
    """

    def __init__(
        self,
        config: MedBlipConfig,
        vision_model: PreTrainedModel | None = None,
        language_model: PreTrainedModel | None = None,
    ) -> None:
        if vision_model or language_model:
            config = copy.copy(config)  # which takes the towers' own configurations below
        super().__init__(config)
        vision_config = cast(PreTrainedConfig, config.vision_config)
        q = cast(MedQFormerConfig, config.qformer_config)
        text_config = cast(PreTrainedConfig, config.text_config)
        # None leaves it to `torch.get_default_dtype`, which `from_pretrained` sets.
        dtype = torch.bfloat16 if config.base_dtype == "bfloat16" else None
        self.vision_model = vision_model or new_vision(vision_config, dtype)
        self.language_model = language_model or new_language(text_config, dtype)
        # One object each, so that what transformers sets on one side holds on the other.
        config.vision_config = self.vision_model.config
        config.text_config = self.language_model.config
        language_width = self.get_input_embeddings().embedding_dim

        self.patch_embedding = PatchEmbedding3d(
            vision_config.hidden_size, config.volume_size, config.volume_patch_size
        )
        self.query_tokens = nn.Parameter(torch.zeros(1, q.num_query_tokens, q.hidden_size))
        self.qformer = MedQFormer(q)
        self.text_map = nn.Linear(language_width, q.hidden_size)
        self.text_positions = nn.Embedding(q.max_text_positions, q.hidden_size)
        self.image_contrast = nn.Linear(q.hidden_size, config.itc_hidden_size)
        self.text_contrast = nn.Linear(q.hidden_size, config.itc_hidden_size)
        self.temperature = nn.Parameter(torch.tensor(float(config.itc_temperature)))
        self.prefix_map = nn.Linear(q.hidden_size, language_width)
        self.prefix_scale = nn.Parameter(torch.tensor(1.0)) if config.prefix_norm else None

        self.post_init()  # draws what is learned; the towers have their weights already
        freeze(self.vision_model)
        freeze(self.language_model)
        if config.lora is not None:
            add_lora(self.language_model, config.lora)
        language_arguments = inspect.signature(self.language_model.forward).parameters
        self._takes_position_ids = "position_ids" in language_arguments
        self._takes_logits_to_keep = "logits_to_keep" in language_arguments
        self._arguments = {*language_arguments, *inspect.signature(self.forward).parameters}

    @classmethod
    def from_components(
        cls,
        config: MedBlipConfig,
        vision_model: PreTrainedModel,
        language_model: PreTrainedModel,
    ) -> MedBlipForConditionalGeneration:
        """A new model round two pretrained towers, its entry started as ``config`` says."""
        model = cls(config, vision_model, language_model)
        if config.patch_init == "inflate":
            source = tower_of(vision_model.config).patch_filter(vision_model)
            model.patch_embedding.inflate(source)
        if model.prefix_scale is not None:
            # The prefix starts at the size of the token embeddings: unscaled ones stall training.
            # They are asked for and not read, since some models (BioGPT) scale what they hold.
            table = model.get_input_embeddings()
            with torch.no_grad():
                words = table(torch.arange(table.num_embeddings, device=table.weight.device))
                model.prefix_scale.fill_(float(words.float().std()))
        return model

    # ------------------------------------------------------------------ what transformers sets
    def set_attn_implementation(
        self, attn_implementation: str | dict[str, Any], *args: Any, **kwargs: Any
    ) -> None:
        """Of both towers, or by name: ``{"text_config": "eager"}``; MedQFormer's is torch's own."""
        wanted = attn_implementation
        if isinstance(wanted, str):
            # By name, or transformers warns that it finds no model of its own for the MedQFormer.
            wanted = dict.fromkeys(("", "vision_config", "text_config"), wanted)
        super().set_attn_implementation(wanted, *args, **kwargs)
        if isinstance(attn_implementation, str):
            self.config.qformer_config._attn_implementation = attn_implementation

    def train(self, mode: bool = True) -> MedBlipForConditionalGeneration:
        """Training mode for what is learned; the frozen towers never drop anything out."""
        super().train(mode)
        self.vision_model.eval()
        self.language_model.eval()
        for name, module in self.language_model.named_modules():
            if "lora_" in name:
                module.train(mode)
        for tower in (self.vision_model, self.language_model):
            allow_recomputing(tower, mode)
        return self

    # ------------------------------------------------------------------ image -> prefix
    def encode_image(self, pixel_values: Tensor) -> tuple[Tensor, Tensor | None]:
        """Volumes to image tokens.

        Args:
            pixel_values: ``(batch, 1, 224, 224, 224)`` float in [0, 1], RAS+, background 0.

        Returns:
            ``(batch, 344, 1408)`` and a boolean mask ``(batch, 344)``, or None if all are real.
        """
        if len(pixel_values) == 0:  # what learns here still gets a gradient, of 0
            blank = pixel_values.new_zeros(1, *pixel_values.shape[1:])
            tokens, mask = self.encode_image(blank)
            return tokens[:0], None if mask is None else mask[:0]
        tokens = self.patch_embedding(pixel_values)
        foreground = None
        if self.config.skip_background:
            foreground = self.patch_embedding.foreground(pixel_values)
        return encode_tokens(self.vision_model, tokens, foreground)

    def query_image(self, image_tokens: Tensor, image_mask: Tensor | None = None) -> Tensor:
        """The query stream: ``(batch, 344, 1408)`` -> ``(batch, 32, 768)``."""
        queries = self.query_tokens.expand(len(image_tokens), -1, -1)
        image_tokens = image_tokens.to(self.query_tokens.dtype)
        hidden: Tensor = self.qformer(queries, None, image_tokens, image_mask)
        return hidden

    def make_prefix(self, query_states: Tensor) -> Tensor:
        """``(batch, 32, 768)`` -> ``(batch, 32, language width)`` at the size of its embeddings.

        With ``config.prefix_norm`` off, the linear map alone.
        """
        projected: Tensor = self.prefix_map(query_states)
        if self.prefix_scale is None:
            return projected
        return F.layer_norm(projected, projected.shape[-1:]) * self.prefix_scale

    def _embed(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Token embeddings; padding may be an id that the embedding table does not reach."""
        embedded: Tensor = self.get_input_embeddings()(ids.masked_fill(~mask.bool(), 0))
        return embedded

    # ------------------------------------------------------------------ prompt
    def embed_prompt(
        self, input_ids: Tensor, attention_mask: Tensor, prefix: Tensor | None
    ) -> Tensor:
        """Token embeddings with the prefix at its placeholders.

        Args:
            input_ids: ``(batch, length)``, ``config.image_token_id`` at prefix positions. Rows
                without placeholders are prompts without an image.
            prefix: ``(images, 32, width)``, in the order in which the prompts announce them: row
                by row, and in a row the previous scan before the current one.

        Raises:
            ValueError: placeholders and prefixes do not match.
        """
        places = (input_ids == self.config.image_token_id) & attention_mask.bool()
        embeddings = self._embed(input_ids, attention_mask.bool() & ~places)
        found = [n for n in places.sum(1).tolist() if n]
        given = [] if prefix is None else [prefix.shape[1]] * prefix.shape[0]
        # A prompt with a previous scan holds two prefixes, one after the other.
        if sum(found) != sum(given) or any(n % given[0] for n in found):
            raise ValueError(
                f"the prompts with an image hold {found} prefix positions, the images give "
                f"{given}; pass one volume for each that a prompt announces"
            )
        if prefix is None:
            return embeddings
        # To where they meet: the parts of a dispatched model may lie on several devices.
        places = places.unsqueeze(-1).to(embeddings.device)
        return embeddings.masked_scatter(places, prefix.to(embeddings))

    def prepare_prompt(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        pixel_values: Tensor | None = None,
        image_tokens: Tensor | None = None,
        image_mask: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Image and text to language model inputs.

        Returns:
            ``inputs_embeds (batch, length, width)``, ``attention_mask``, query states or None.
        """
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)
        if pixel_values is not None:
            image_tokens, image_mask = self.encode_image(pixel_values)
        if image_tokens is None:
            return self.embed_prompt(input_ids, attention_mask, None), attention_mask, None
        states = self.query_image(image_tokens, image_mask)
        embeddings = self.embed_prompt(input_ids, attention_mask, self.make_prefix(states))
        return embeddings, attention_mask, states

    # ------------------------------------------------------------------ forward
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        pixel_values: Tensor | None = None,
        image_tokens: Tensor | None = None,
        image_mask: Tensor | None = None,
        record_ids: Tensor | None = None,
        record_mask: Tensor | None = None,
        answer_ids: Tensor | None = None,
        answer_mask: Tensor | None = None,
        contrast_rows: Tensor | None = None,
        choice_ids: Tensor | None = None,
        choice_mask: Tensor | None = None,
        choice_rows: Tensor | None = None,
        choice_places: Tensor | None = None,
        choice_right: Tensor | None = None,
        return_features: bool = False,
        return_dict: bool | None = None,
        **kwargs: Any,
    ) -> Any:
        """All losses whose inputs are given.

        Args:
            input_ids, attention_mask: prompts ``(batch, length)``, left-padded; for causal models
                the answer follows the prompt. None skips the language model.
            labels: answer tokens, -100 elsewhere; ``(batch, length)`` for causal models,
                ``(batch, answer length)`` for encoder-decoder ones.
            pixel_values: volumes, or ``image_tokens`` with ``image_mask`` from the token cache, in
                the order in which the prompts announce them: row by row, and in a row the previous
                scan before the current one.
            record_ids, record_mask: record of each image, for ITC(I, T).
            answer_ids, answer_mask: question and answer of each image, for ITC(I, Q&A).
            contrast_rows: which images the contrastive texts belong to; None for all but previous
                scans.
            choice_ids, choice_mask: closed questions with their choices, ``(texts, length)``.
            choice_rows, choice_places, choice_right: of each such question its image, the texts of
                its choices and the right one among them; see
                :func:`medblip.model.losses.choice_loss`.
            return_features: give ``contrast_features`` instead of the contrastive losses: for a
                batch of which this is a part.
            return_dict: False gives a tuple of what is not None; ``config.return_dict`` if None.
            kwargs: passed to the language model, e.g. ``output_hidden_states``, ``use_cache``.

        Returns:
            :class:`MedBlipOutput`, or a tuple.

        Raises:
            TypeError: the language model knows no such argument.
            ValueError: images and placeholders, or volumes and ``volume_size``, do not match.
        """
        refuse_unknown(kwargs, self._arguments)
        if kwargs.pop("inputs_embeds", None) is not None:  # PEFT passes a None
            raise ValueError("give input_ids: the prefix finds its places among them")
        if pixel_values is not None:
            image_tokens, image_mask = self.encode_image(pixel_values)
        out = MedBlipOutput()
        if image_tokens is not None:
            out.query_states = self.query_image(image_tokens, image_mask)
            record, answer = _text(record_ids, record_mask), _text(answer_ids, answer_mask)
            if contrast_rows is None and input_ids is not None and (record or answer):
                contrast_rows = self._current_scans(input_ids, attention_mask)
            states = out.query_states if contrast_rows is None else out.query_states[contrast_rows]
            if return_features:
                texts = [text for text in (record, answer) if text is not None]
                out.contrast_features = self.contrast_features(states, texts) if texts else None
            else:
                out.itc_record, out.itc_answer = self.contrast(states, (record, answer))
            choices = (choice_ids, choice_mask, choice_rows, choice_places, choice_right)
            if any(tensor is not None for tensor in choices):
                out.itc_choices = self.contrast_choices(out.query_states, *_all_of(choices))
        if input_ids is not None:
            self._language(out, input_ids, attention_mask, labels, **kwargs)
        out.loss = self._total(out)
        out = out.in_order()
        wanted = self.config.return_dict if return_dict is None else return_dict
        return out if wanted else out.to_tuple()

    def _current_scans(self, input_ids: Tensor, attention_mask: Tensor | None) -> Tensor | None:
        """Rows, among the images, of each prompt's last one; None where no prompt has two."""
        places = input_ids == self.config.image_token_id
        if attention_mask is not None:
            places = places & attention_mask.bool()
        held = places.sum(1) // self.query_tokens.shape[1]
        return held[held > 0].cumsum(0) - 1 if bool((held > 1).any()) else None

    def _language(
        self,
        out: MedBlipOutput,
        input_ids: Tensor,
        attention_mask: Tensor | None,
        labels: Tensor | None,
        **kwargs: Any,
    ) -> None:
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)
        if labels is not None:
            # Nobody reads a training step's cache, and recomputed layers would fill it twice.
            kwargs.setdefault("use_cache", False)
        prefix = None if out.query_states is None else self.make_prefix(out.query_states)
        real = attention_mask[:, -input_ids.shape[1] :]  # it begins with the cache's, if any
        embeddings = self.embed_prompt(input_ids, real, prefix)
        if self.config.is_encoder_decoder:
            result = self.language_model(
                inputs_embeds=embeddings, attention_mask=attention_mask, labels=labels, **kwargs
            )
            out.logits, out.language = result.logits, result.loss
        else:
            keep = positions_to_keep(labels)
            result = self.run_decoder(embeddings, attention_mask, keep, **kwargs)
            out.logits = result.logits
            if labels is not None:
                out.language = answer_loss(result.logits, labels)
        out.take(result)

    def run_decoder(
        self, embeddings: Tensor, attention_mask: Tensor, keep: int = 0, **kwargs: Any
    ) -> Any:
        """A causal language model on embeddings; ``keep`` last positions of logits, 0 for all.

        Returns the language model's own output: ``logits``, ``past_key_values`` if asked for.
        """
        if self._takes_position_ids:
            places = (attention_mask.long().cumsum(1) - 1).clamp(min=0)
            kwargs.setdefault("position_ids", places[:, -embeddings.shape[1] :])
        if self._takes_logits_to_keep:
            kwargs.setdefault("logits_to_keep", keep)
        result = self.language_model(
            inputs_embeds=embeddings, attention_mask=attention_mask, **kwargs
        )
        if not self._takes_logits_to_keep and keep:
            result.logits = result.logits[:, -keep:]
        return result

    def _total(self, out: MedBlipOutput) -> Tensor | None:
        weights = self.config.loss_weights
        parts = [
            weights[name] * part
            for name in LOSSES
            if weights[name] > 0 and (part := getattr(out, name)) is not None
        ]
        return sum(parts[1:], parts[0]) if parts else None


def _all_of(choices: Sequence[Tensor | None]) -> list[Tensor]:
    given = [tensor for tensor in choices if tensor is not None]
    if len(given) < len(choices):
        raise ValueError("choices need all of choice_ids, _mask, _rows, _places and _right")
    return given


def _text(ids: Tensor | None, mask: Tensor | None) -> Text | None:
    if ids is None:
        return None
    return ids, torch.ones_like(ids) if mask is None else mask


__all__ = ["IGNORED", "MedBlipForConditionalGeneration", "MedBlipOutput"]
