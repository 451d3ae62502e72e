"""Towers out of whole vision-language checkpoints, as transformers writes them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import LAYERS, WIDTH, vision_config, vocabulary
from torch import Tensor, nn
from transformers import (
    Blip2Config,
    Blip2ForConditionalGeneration,
    Blip2ForImageTextRetrieval,
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    PreTrainedModel,
    SiglipConfig,
    SiglipModel,
)

from medblip.errors import InputError
from medblip.model.bases import load_language, load_vision

SMALL = {
    "hidden_size": WIDTH,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "vocab_size": len(vocabulary()),
}


def blip2(**qformer: object) -> Blip2Config:
    return Blip2Config(
        vision_config=vision_config("blip_2_vision_model").to_dict(),
        qformer_config={**SMALL, "encoder_hidden_size": WIDTH, **qformer},
        text_config={"model_type": "opt", **SMALL, "ffn_dim": 48, "word_embed_proj_dim": WIDTH},
        image_text_hidden_size=16,
    )


def retrieval() -> PreTrainedModel:
    return Blip2ForImageTextRetrieval(blip2(use_qformer_text_input=True))


def generation() -> PreTrainedModel:
    return Blip2ForConditionalGeneration(blip2())


def siglip() -> PreTrainedModel:
    vision = vision_config("siglip_vision_model").to_dict()
    return SiglipModel(SiglipConfig(vision_config=vision, text_config=SMALL))


def gemma() -> PreTrainedModel:
    text = {**SMALL, "num_key_value_heads": 2, "head_dim": 8, "sliding_window": 4}
    vision = vision_config("siglip_vision_model").to_dict()
    return Gemma3ForConditionalGeneration(
        Gemma3Config(vision_config=vision, text_config=text, mm_tokens_per_image=4)
    )


def vision_of(model: PreTrainedModel) -> nn.Module:
    return getattr(model, "vision_model", None) or model.model.vision_tower


@pytest.mark.parametrize("make", [retrieval, generation, siglip, gemma])
@pytest.mark.parametrize("shards", ["1GB", "40KB"])
def test_the_vision_tower_of_a_whole_model(
    make: Callable[[], PreTrainedModel], shards: str, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    whole = make().eval()
    whole.save_pretrained(tmp_path, max_shard_size=shards)
    tower, inside = load_vision(tmp_path), vision_of(whole)
    pixels = torch.rand(2, 3, 16, 16)
    expected = inside(pixel_values=pixels).last_hidden_state
    assert torch.equal(tower(pixel_values=pixels).last_hidden_state, expected)


@pytest.mark.parametrize("shards", ["1GB", "40KB"])
def test_the_text_model_of_gemma(shards: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    whole = gemma().eval()
    whole.save_pretrained(tmp_path, max_shard_size=shards)
    ids = torch.arange(9)[None] + 4
    logits: Tensor = load_language(tmp_path)(input_ids=ids).logits
    assert torch.equal(logits, whole(input_ids=ids).logits)


@pytest.mark.parametrize("change", ["missing", "unexpected"])
def test_a_tower_that_is_not_whole_is_refused(change: str, tmp_path: Path) -> None:
    retrieval().save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    tensors = load_file(file)
    name = "vision_model.encoder.layers.1.mlp.fc1.bias"
    if change == "missing":
        del tensors[name]
    else:
        tensors[name.replace("layers.1", "layers.7")] = tensors[name].clone()
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(InputError, match=rf"{change}_keys.*mlp\.fc1\.bias"):
        load_vision(tmp_path)


def test_a_model_without_a_known_vision_tower_is_refused(tmp_path: Path) -> None:
    retrieval().save_pretrained(tmp_path)
    file = tmp_path / "config.json"
    file.write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(InputError, match=r"bert.*holds no vision tower"):
        load_vision(tmp_path)
