"""Frozen towers: no dropout in training mode, and layers that can be recomputed all the same."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from tiny import LANGUAGES, VISIONS, build, gradients, largest_difference, training_batch
from torch import nn
from transformers import PreTrainedConfig
from transformers.modeling_layers import GradientCheckpointingLayer

from medblip.model import MedBlipForConditionalGeneration
from medblip.model import modeling_medblip as modeling

KINDS = [("llama", vision) for vision in VISIONS] + [(kind, "dinov2") for kind in LANGUAGES[1:]]
PROBABLE = ("dropout", "drop_path", "pdrop", "layerdrop")


def with_dropout(config: PreTrainedConfig) -> PreTrainedConfig:
    """The same configuration with every kind of dropout it knows at one half."""
    for name, value in config.to_dict().items():
        if any(part in name for part in PROBABLE) and isinstance(value, float):
            setattr(config, name, 0.5)
    return config


def model_with_dropout(
    language: str, vision: str, monkeypatch: pytest.MonkeyPatch
) -> MedBlipForConditionalGeneration:
    """A model whose towers would drop half of everything if they were in training mode."""
    import tiny

    text, image = tiny.text_config, tiny.vision_config
    monkeypatch.setattr(tiny, "text_config", lambda kind="llama": with_dropout(text(kind)))
    monkeypatch.setattr(tiny, "vision_config", lambda kind="dinov2": with_dropout(image(kind)))
    model = build(language, vision)
    for module in model.qformer.modules():  # what is learned may drop out; here it must not
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        elif hasattr(module, "dropout") and isinstance(module.dropout, float):
            module.dropout = 0.0
    return model


@pytest.mark.parametrize(("language", "vision"), KINDS)
def test_training_mode_changes_nothing_in_the_towers(
    language: str, vision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = model_with_dropout(language, vision, monkeypatch)
    batch = training_batch(model)
    model.eval()
    still = model(**batch).loss
    model.train()
    assert largest_difference(model(**batch).loss, still) < 1e-6


@pytest.mark.parametrize(("language", "vision"), KINDS)
def test_recomputed_layers_give_the_same_gradients(
    language: str, vision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = model_with_dropout(language, vision, monkeypatch).train()
    batch = training_batch(model)
    expected = gradients(lambda: model(**batch).loss, model)
    model.gradient_checkpointing_enable()
    runs = count_runs(model)
    found = gradients(lambda: model(**batch).loss, model)
    assert found.keys() == expected.keys()
    worst = max(largest_difference(found[name], expected[name]) for name in expected)
    print(f"{language} {vision}: largest difference of a gradient {worst:.1e}")
    assert worst < 1e-5
    assert set(runs.values()) == {2}, "every layer runs once forward and once more backward"


def count_runs(model: nn.Module) -> Counter[str]:
    """How often each recomputable layer of the towers runs, counted at its first sub-module."""
    runs: Counter[str] = Counter()
    for tower in ("vision_model", "language_model"):
        for name, layer in getattr(model, tower).named_modules():
            if isinstance(layer, GradientCheckpointingLayer):
                inner = next(m for m in layer.modules() if not list(m.children()))
                inner.register_forward_pre_hook(
                    lambda *_, key=f"{tower}.{name}": runs.update([key])
                )
    return runs


def test_one_text_pass_gives_both_contrastive_losses(monkeypatch: pytest.MonkeyPatch) -> None:
    model = build()
    batch = training_batch(model)
    del batch["input_ids"], batch["attention_mask"], batch["labels"]
    calls = []
    run = modeling.MedBlipForConditionalGeneration.embed_texts
    monkeypatch.setattr(
        modeling.MedBlipForConditionalGeneration,
        "embed_texts",
        lambda self, texts: calls.append(len(texts)) or run(self, texts),
    )
    both = model(**batch)
    assert calls == [2]
    for name, other in (("record", "answer"), ("answer", "record")):
        alone = {k: v for k, v in batch.items() if not k.startswith(other)}
        out = model(**alone)
        assert getattr(out, f"itc_{other}") is None
        found, expected = getattr(both, f"itc_{name}"), getattr(out, f"itc_{name}")
        assert largest_difference(found, expected) < 1e-6


def test_a_training_step_keeps_no_cache() -> None:
    model = build()
    batch = training_batch(model)
    assert model(**batch).past_key_values is None
    del batch["labels"]
    with torch.no_grad():
        assert model(**batch).past_key_values is not None
