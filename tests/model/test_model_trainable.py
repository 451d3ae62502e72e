"""What is learned, by exact names and by count: the paper's 151 M and its LoRA."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
import torch
from tiny import CAUSAL, LAYERS, build, language_tower, training_batch
from torch import nn
from transformers import (
    BioGptConfig,
    BioGptForCausalLM,
    Blip2VisionConfig,
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedModel,
    T5Config,
    T5ForConditionalGeneration,
)

from medblip.errors import UsageError
from medblip.model import MedBlipConfig, MedBlipForConditionalGeneration
from medblip.model.lora import add_lora, linear_names, query_value_modules

LINEAR = ("weight", "bias")


def block(name: str) -> Iterator[str]:
    """Names of one attention block's parameters."""
    for part in ("attention.query", "attention.key", "attention.value", "output.dense"):
        yield from (f"{name}.{part}.{kind}" for kind in LINEAR)
    yield from (f"{name}.output.LayerNorm.{kind}" for kind in LINEAR)


def learned_names() -> set[str]:
    names = {"query_tokens", "temperature", "prefix_scale", "text_positions.weight"}
    names |= {"patch_embedding.cls_token", "patch_embedding.positions"}
    for layer in ("patch_embedding.projection", "qformer.layernorm"):
        names |= {f"{layer}.{kind}" for kind in LINEAR}
    for layer in ("text_map", "image_contrast", "text_contrast", "prefix_map"):
        names |= {f"{layer}.{kind}" for kind in LINEAR}
    for i in range(LAYERS):
        layer = f"qformer.encoder.layer.{i}"
        names |= {*block(f"{layer}.attention")}
        names |= {*block(f"{layer}.crossattention")} if i % 2 == 0 else set()
        parts = ("intermediate_query.dense", "output_query.dense", "output_query.LayerNorm")
        names |= {f"{layer}.{part}.{kind}" for part in parts for kind in LINEAR}
    return names


LORA_NAMES = {
    "llama": ("model.layers.{}.self_attn", ("q_proj", "v_proj")),
    "opt": ("model.decoder.layers.{}.self_attn", ("q_proj", "v_proj")),
    "biogpt": ("biogpt.layers.{}.self_attn", ("q_proj", "v_proj")),
    "gpt2": ("transformer.h.{}.attn", ("c_attn",)),
}


def trained(model: nn.Module) -> set[str]:
    return {name for name, p in model.named_parameters() if p.requires_grad}


@pytest.mark.parametrize("kind", CAUSAL)
def test_what_trains_is_exactly_this(kind: str) -> None:
    place, targets = LORA_NAMES[kind]
    lora = {
        f"language_model.{place.format(i)}.{target}.lora_{side}.default.weight"
        for i in range(LAYERS)
        for target in targets
        for side in "AB"
    }
    assert sorted(trained(build(kind))) == sorted(learned_names() | lora)
    assert sorted(trained(build(kind, lora=None))) == sorted(learned_names())


def test_lora_of_t5_is_in_every_attention_block() -> None:
    found = {n for n in trained(build("t5")) if "lora_" in n}
    # encoder self-attention, decoder self- and cross-attention
    assert len(found) == LAYERS * 3 * 2 * 2
    assert {n.split(".lora_")[0].rsplit(".", 1)[-1] for n in found} == {"q", "v"}


@pytest.mark.parametrize("kind", ["llama", "t5"])
def test_every_learned_parameter_gets_a_gradient_and_no_frozen_one(kind: str) -> None:
    model = build(kind)
    model(**training_batch(model)).loss.backward()
    with_gradient = {n for n, p in model.named_parameters() if p.grad is not None}
    assert with_gradient == trained(model)
    silent = {n for n in with_gradient if not model.get_parameter(n).grad.any()}
    # The bias of a key moves all scores of a query alike, which a softmax does not see.
    assert {n for n in silent if not n.endswith("attention.key.bias")} == set()


def test_the_towers_never_drop_anything_out_while_the_rest_trains() -> None:
    model = build(lora={"r": 2, "lora_dropout": 0.5}).train()
    modes = {name: module.training for name, module in model.named_modules()}
    assert modes["qformer"]
    assert modes["language_model.model.layers.0.self_attn.q_proj.lora_dropout.default"]
    towers = ("vision_model", "language_model")
    on = {n for n, mode in modes.items() if mode and n.startswith(towers) and "lora_" not in n}
    # Whole layers are, so that they can be recomputed; nothing inside them is.
    assert on == {n for n in modes if re.search(r"(layers?|h)\.\d+$", n) and n.startswith(towers)}
    assert not any(module.training for module in model.eval().modules())


# --------------------------------------------------------------------------- the paper's sizes
def paper_model() -> MedBlipForConditionalGeneration:
    config = MedBlipConfig(
        vision_config=Blip2VisionConfig(num_hidden_layers=39),
        text_config=biomedlm_config(),
        lora={"r": 8},
    )
    with torch.device("meta"):
        return MedBlipForConditionalGeneration(config)


def biomedlm_config() -> GPT2Config:
    return GPT2Config(n_embd=2560, n_layer=32, n_head=20, vocab_size=28896, n_positions=1024)


def millions(parameters: Iterator[nn.Parameter] | list[nn.Parameter]) -> float:
    return sum(p.numel() for p in parameters) / 1e6


def test_the_papers_parameter_table() -> None:
    model = paper_model()
    entry = model.patch_embedding
    table = {
        "vision tower": millions(model.vision_model.parameters()),
        "MedQFormer": millions(model.qformer.parameters()),
        "convolution": millions(entry.projection.parameters()),
        "positions, CLS, queries": millions([entry.positions, entry.cls_token, model.query_tokens]),
        "text map": millions(model.text_map.parameters()),
        "LoRA": millions(p for n, p in model.named_parameters() if "lora_" in n),
    }
    assert {name: round(count, 2) for name, count in table.items()} == {
        "vision tower": 985.95,
        "MedQFormer": 105.14,
        "convolution": 46.14,
        "positions, CLS, queries": 0.51,
        "text map": 1.97,
        "LoRA": 2.62,
    }
    learned = table["MedQFormer"] + table["convolution"] + table["positions, CLS, queries"]
    assert round(learned, 1) == 151.8
    frozen = millions(p for p in model.language_model.parameters() if not p.requires_grad)
    assert round(frozen) == 2594


LARGE = {
    "BioGPT-Large": (
        BioGptForCausalLM,
        BioGptConfig(
            hidden_size=1600,
            num_hidden_layers=48,
            num_attention_heads=25,
            intermediate_size=6400,
            vocab_size=57717,
        ),
        16,
        4.92,
    ),
    "FLAN-T5-XL": (
        T5ForConditionalGeneration,
        T5Config(
            d_model=2048,
            d_kv=64,
            d_ff=5120,
            num_layers=24,
            num_heads=32,
            feed_forward_proj="gated-gelu",
        ),
        8,
        4.72,
    ),
    "BioMedLM": (GPT2LMHeadModel, biomedlm_config(), 8, 2.62),
}


@pytest.mark.parametrize("name", LARGE)
def test_lora_has_the_papers_size(name: str) -> None:
    model_class, config, rank, expected = LARGE[name]
    with torch.device("meta"):
        model = model_class(config)
        model.requires_grad_(False)
        add_lora(model, {"r": rank})
    assert round(millions(p for p in model.parameters() if p.requires_grad), 2) == expected


# --------------------------------------------------------------------------- LoRA targets
class Odd(PreTrainedModel):
    """A model whose attention has names that are not known."""

    config_class = GPT2Config

    def __init__(self) -> None:
        super().__init__(GPT2Config())
        self.attention_in = nn.Linear(4, 4)


def test_an_unknown_attention_is_listed_and_can_be_named() -> None:
    with pytest.raises(UsageError, match=r"no query and value .*called \['attention_in'\]"):
        query_value_modules(Odd())
    model = Odd()
    model.requires_grad_(False)
    add_lora(model, {"r": 2, "target_modules": ["attention_in"], "fan_in_fan_out": False})
    assert trained(model) == {f"attention_in.lora_{side}.default.weight" for side in "AB"}


@pytest.mark.parametrize(
    ("kind", "targets", "named"),
    [
        ("llama", ["q_proj", "v_prj"], r"\['v_prj'\] .*'o_proj', 'q_proj', .*'v_proj'\]"),
        ("llama", r".*self_atn\.q_proj", r"self_atn.*'q_proj'"),  # a pattern
        ("llama", [], r"\[\] match no module of llama"),
        ("gpt2", ["q_proj", "v_proj"], r"of gpt2; .*\['c_attn', 'c_fc', 'c_proj', 'lm_head'\]"),
        ("biogpt", ["c_attn"], r"'k_proj', 'out_proj', 'output_projection', 'q_proj', 'v_proj'"),
        ("t5", ["q", "value"], r"\['value'\] .*\['k', 'lm_head', 'o', 'q', 'v', 'wi', 'wo'\]"),
    ],
)
def test_a_target_that_matches_nothing_is_refused_with_those_that_exist(
    kind: str, targets: str | list[str], named: str
) -> None:
    with pytest.raises(UsageError, match=named) as caught:
        build(kind, lora={"r": 2, "target_modules": targets})
    assert caught.value.code == "no-lora-target"


@pytest.mark.parametrize(
    ("targets", "found"),
    [(r".*layers\.1\..*(q|v)_proj", {"q_proj", "v_proj"}), ("all-linear", None)],
)
def test_targets_may_be_a_pattern(targets: str, found: set[str] | None) -> None:
    model = build(lora={"r": 2, "target_modules": targets})
    names = [n.split(".lora_")[0] for n in trained(model) if "lora_" in n]
    every = set(linear_names(language_tower())) - {"lm_head"}  # PEFT leaves the output map out
    assert {n.rsplit(".", 1)[-1] for n in names} == (found or every)
    assert any(".layers.0." in n for n in names) == (found is None)
