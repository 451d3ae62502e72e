"""Recipes of tiny models that state their architectures, to be planned in no time."""

from __future__ import annotations

from typing import Any

from medblip.recipe import Recipe
from medblip.training.planning import TextLengths

WIDTH = 32
VISION = {
    "model_type": "blip_2_vision_model",
    "hidden_size": WIDTH,
    "intermediate_size": 48,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
}
LANGUAGES: dict[str, dict[str, Any]] = {
    "gpt2": {
        "model_type": "gpt2",
        "n_embd": WIDTH,
        "n_head": 2,
        "n_positions": 256,
        "vocab_size": 100,
        "bos_token_id": 0,
        "eos_token_id": 0,
    },
    "biogpt": {
        "model_type": "biogpt",
        "hidden_size": WIDTH,
        "num_attention_heads": 2,
        "intermediate_size": 48,
        "max_position_embeddings": 256,
        "vocab_size": 100,
    },
    "t5": {
        "model_type": "t5",
        "d_model": WIDTH,
        "d_kv": 16,
        "d_ff": 48,
        "num_heads": 2,
        "vocab_size": 100,
        "decoder_start_token_id": 0,
    },
}
DEPTHS = {
    "gpt2": ("n_layer",),
    "biogpt": ("num_hidden_layers",),
    "t5": ("num_layers", "num_decoder_layers"),
}
LENGTHS = TextLengths(record=20, question_answer=9, prompt=30, answer=4)


def tiny_recipe(language: str = "gpt2", layers: int = 1, **model: Any) -> Recipe:
    """A recipe in float32 with 8 patches, 4 queries and pixels as input."""
    depth = dict.fromkeys(DEPTHS[language], layers)
    qformer = {
        "num_query_tokens": 4,
        "hidden_size": WIDTH,
        "num_hidden_layers": layers,
        "num_attention_heads": 2,
        "intermediate_size": 48,
    }
    section = {
        "vision_architecture": {**VISION, "num_hidden_layers": layers},
        "language_architecture": {**LANGUAGES[language], **depth},
        "volume_size": 16,
        "volume_patch_size": 8,
        "train_patch_embedding": True,
        "skip_background": False,
        "qformer": qformer,
        "lora": {"r": 2, "lora_dropout": 0.0},
        **model,
    }
    stage = {"batch_size": 3, "token_dropout": 0, "token_noise": 0}
    stages = {"align": {**stage, "steps": 0}, "tune": {**stage, "steps": 1}}
    return Recipe.model_validate(
        {"name": "tiny", "precision": "float32", "model": section, **stages}
    )
