"""Configuration of MedBLIP: three sub-configurations and the numbers that join them."""

# No `from __future__ import annotations` here: `@strict` checks no field whose type is a string.
import copy
import difflib
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, ClassVar, Literal, cast

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig
from transformers.configuration_utils import PreTrainedConfig, SubConfigSpec

from medblip.recipe import Recipe, load_recipe

# The parts of the loss, as outputs, weights and logs call them.
LOSSES = ("itc_record", "itc_answer", "itc_choices", "language")
# Keys that transformers itself hands to a configuration beside its typed fields.
_TRANSFORMERS_KEYS = frozenset(
    {
        "attn_implementation",
        "auto_map",
        "experts_implementation",
        "model_type",
        "name_or_path",
        "output_attentions",
        "pad_token_id",
        "bos_token_id",
        "eos_token_id",
        "tie_word_embeddings",
        "torch_dtype",
        "use_cache",
    }
)


def _reject_unknown_keys(config: PreTrainedConfig, keys: set[str]) -> None:
    """transformers accepts a misspelled key silently; say which one was probably meant."""
    known = {field.name for field in fields(config)}
    for key in sorted(keys - known - _TRANSFORMERS_KEYS):
        if key.startswith("_"):
            continue
        nearest = difflib.get_close_matches(key, known, n=1)
        hint = f"; did you mean `{nearest[0]}`?" if nearest else f"; known: {sorted(known)}"
        raise ValueError(f"{type(config).__name__}: unknown key `{key}`{hint}")


@strict
class MedQFormerConfig(PreTrainedConfig):
    """Size of the MedQFormer (section 3.2 of the paper: 32 queries of 768, 12 layers).

    Args:
        num_query_tokens: learned queries, each of which becomes one prefix token.
        hidden_size, num_hidden_layers, num_attention_heads, intermediate_size: as in BERT.
        cross_attention_frequency: every n-th layer attends to the image, starting with the first.
        encoder_hidden_size: width of the image tokens; set from the vision configuration.
        max_text_positions: longest text of the text stream, in tokens.
    """

    model_type = "medblip_qformer"
    base_config_key = "qformer_config"

    num_query_tokens: int = 32
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    hidden_act: str = "gelu"
    hidden_dropout_prob: float | int = 0.1
    attention_probs_dropout_prob: float | int = 0.1
    layer_norm_eps: float | int = 1e-12
    initializer_range: float | int = 0.02
    cross_attention_frequency: int = 2
    encoder_hidden_size: int = 1408
    max_text_positions: int = 512

    def __post_init__(self, **kwargs: Any) -> None:
        _reject_unknown_keys(self, set(kwargs))
        super().__post_init__(**kwargs)

    def validate_architecture(self) -> None:
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"hidden_size {self.hidden_size} is not a multiple of "
                f"num_attention_heads {self.num_attention_heads}"
            )


@strict
class MedBlipConfig(PreTrainedConfig):
    """Configuration of :class:`MedBlipForConditionalGeneration`.

    Args:
        vision_config: any 2D ViT of :data:`medblip.model.vision.TOWERS`.
        text_config: any causal or encoder-decoder language model of transformers.
        qformer_config: see :class:`MedQFormerConfig`.
        volume_size: edge of the cubic volume in voxels.
        volume_patch_size: edge of one patch in voxels; ``volume_size`` is a multiple of it.
        patch_init: ``inflate`` starts from the 2D tower's own filter and positions, ``random``
            is a truncated normal of 0.02 (the paper's reference code).
        prefix_norm: bring the prefix to the size of the token embeddings by a layer norm and a
            learned scale; False is the plain linear map of the paper's reference code.
        skip_background: drop tokens whose whole patch is background before the vision blocks.
        itc_hidden_size: width of the contrastive space.
        itc_temperature: temperature at the start of training; it is learned.
        itc_label_smoothing: of the contrastive targets.
        itc_targets: ``same_text`` counts pairs with the same text as positives of each other;
            ``one_hot`` is BLIP-2's form.
        loss_weights: weights of ``itc_record`` (Eq. 4), ``itc_answer`` (Eq. 4), ``itc_choices``
            (:func:`medblip.model.losses.choice_loss`) and ``language`` (Eq. 5, the paper's lambda).
        prompt_order: ``image_text_question`` (Eq. 2) or ``question_image_text`` (Table 5).
        lora: keyword arguments of ``peft.LoraConfig`` or None for a frozen language model.
        image_token_id: placeholder of a prefix position in ``input_ids``; one past the language
            model's vocabulary, so that no text can ever contain it.
        base_dtype: of the frozen weights in memory; what is learned is float32.
        vision_base, language_base: where the frozen weights come from:
            ``{"source", "revision", "sha256"}``; None means they lie in this checkpoint.
    """

    model_type = "medblip"
    attribute_map: ClassVar[dict[str, str]] = {}
    sub_configs_defaults: ClassVar[dict[str, Any]] = {
        "vision_config": SubConfigSpec(config_class=AutoConfig, model_type="blip_2_vision_model"),
        "text_config": SubConfigSpec(config_class=AutoConfig, model_type="gpt2"),
        "qformer_config": MedQFormerConfig,
    }

    vision_config: dict[str, Any] | PreTrainedConfig | None = None
    text_config: dict[str, Any] | PreTrainedConfig | None = None
    qformer_config: dict[str, Any] | PreTrainedConfig | None = None
    volume_size: int = 224
    volume_patch_size: int = 32
    patch_init: Literal["inflate", "random"] = "inflate"
    prefix_norm: bool = True
    skip_background: bool = False
    itc_hidden_size: int = 256
    itc_temperature: float | int = 0.07
    itc_label_smoothing: float | int = 0.1
    itc_targets: Literal["same_text", "one_hot"] = "same_text"
    loss_weights: dict[str, float | int] | None = None
    prompt_order: Literal["image_text_question", "question_image_text"] = "image_text_question"
    lora: dict[str, Any] | None = None
    image_token_id: int | None = None
    base_dtype: Literal["float32", "bfloat16"] = "float32"
    vision_base: dict[str, Any] | None = None
    language_base: dict[str, Any] | None = None
    initializer_range: float | int = 0.02

    def __post_init__(self, **kwargs: Any) -> None:
        _reject_unknown_keys(self, set(kwargs))
        # A loaded tower's own configuration must stay its own: transformers writes this one's
        # attention implementation into the sub-configurations, and None there silently turns a
        # causal language model into one that sees the future.
        for name in self.sub_configs_defaults:
            setattr(self, name, copy.deepcopy(getattr(self, name)))
        super().__post_init__(**kwargs)
        weights: dict[str, float | int] = dict.fromkeys(LOSSES, 1.0)
        unknown = set(self.loss_weights or {}) - set(weights)
        if unknown:
            raise ValueError(f"loss_weights: unknown {sorted(unknown)}; known: {sorted(weights)}")
        self.loss_weights = weights | (self.loss_weights or {})
        vision, text, qformer = (
            cast(PreTrainedConfig, config)
            for config in (self.vision_config, self.text_config, self.qformer_config)
        )
        self.is_encoder_decoder = bool(text.is_encoder_decoder)
        qformer.encoder_hidden_size = vision.hidden_size
        if self.image_token_id is None:
            self.image_token_id = text.vocab_size

    @classmethod
    def from_recipe(
        cls, recipe: Recipe | str | Path, overrides: Sequence[str] = ()
    ) -> "MedBlipConfig":
        """The configuration of the model a recipe describes.

        Args:
            recipe: one in memory, the name of a shipped one (``paper/biomedlm-lora``), or a file.
            overrides: ``key.path=value`` pairs upon a recipe that is read.

        Raises:
            InputError: see :func:`medblip.recipe.load_recipe`, and
                :func:`medblip.model.architecture.config_of`.
        """
        from medblip.model.architecture import config_of  # which itself needs this class

        return config_of(recipe if isinstance(recipe, Recipe) else load_recipe(recipe, overrides))

    @property
    def grid_size(self) -> int:
        """Patches along one edge of the volume."""
        return self.volume_size // self.volume_patch_size

    @property
    def num_patches(self) -> int:
        """Image tokens without CLS: 343 in the paper."""
        return self.grid_size**3

    def validate_architecture(self) -> None:
        if self.volume_patch_size < 1 or self.volume_size % self.volume_patch_size:
            raise ValueError(
                f"volume_size {self.volume_size} is not a multiple of "
                f"volume_patch_size {self.volume_patch_size}"
            )
        for role in ("vision_base", "language_base"):
            missing = {"source", "sha256"} - set(getattr(self, role) or {"source", "sha256"})
            if missing:
                raise ValueError(f"{role} lacks {sorted(missing)}")


__all__ = ["MedBlipConfig", "MedQFormerConfig"]
