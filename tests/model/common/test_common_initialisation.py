"""Weights and buffers are all drawn by ``_init_weights``, on every device and from nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from common_inputs import KINDS, assert_same_tensors, config_of, inputs, new_model
from tiny import LANGUAGES, VISIONS, language_tower, vision_tower
from transformers import initialization

from medblip.model import MedBlipForConditionalGeneration

DRAWN = ("normal_", "trunc_normal_", "uniform_", "xavier_uniform_", "kaiming_uniform_")


@contextmanager
def one_seed_a_tensor(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Each tensor's values then depend on how it is drawn, not on when."""

    def seeded(draw: Callable[..., Any]) -> Callable[..., Any]:
        def drawn(*args: Any, **kwargs: Any) -> Any:
            torch.manual_seed(0)
            return draw(*args, **kwargs)

        return drawn

    with monkeypatch.context() as patch:
        for name in DRAWN:
            patch.setattr(initialization, name, seeded(getattr(initialization, name)))
        yield


def test_weights_missing_from_a_checkpoint_are_drawn_as_new_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Without LoRA, which PEFT draws itself: our loader takes no checkpoint that lacks it. Nor with
    # GPT-2 and T5, where transformers' own towers differ in this.
    with one_seed_a_tensor(monkeypatch):
        expected = new_model(lora=None)
        found = MedBlipForConditionalGeneration.from_pretrained(
            None, config=config_of(lora=None), state_dict={}
        )
    assert not any(tensor.is_meta for tensor in (*found.parameters(), *found.buffers()))
    assert_same_tensors(found, expected)


@pytest.mark.parametrize("language", KINDS)
def test_a_model_from_the_meta_device_has_all_it_needs(language: str) -> None:
    """No tensor is left behind there: each is a parameter or a buffer, and is filled again."""
    with torch.device("meta"):
        model = MedBlipForConditionalGeneration(config_of(language)).eval()
    assert all(tensor.is_meta for tensor in (*model.parameters(), *model.buffers()))
    model.to_empty(device="cpu")
    for buffer in model.buffers():
        buffer.fill_(7)  # so that one left as it was would be seen
    model.init_weights()
    for name, buffer in new_model(language).named_buffers():
        assert torch.equal(model.get_buffer(name), buffer), name
    with torch.no_grad():
        assert torch.isfinite(model(**inputs(language)).logits).all()


def test_towers_may_be_built_under_a_default_device(tmp_path: Path) -> None:
    model = new_model()
    model.save_pretrained(tmp_path)
    with torch.device("cpu"):
        assert_same_tensors(MedBlipForConditionalGeneration.from_pretrained(tmp_path), model)
    torch.set_default_device("cpu")
    try:
        assert_same_tensors(MedBlipForConditionalGeneration.from_pretrained(tmp_path), model)
    finally:
        torch.set_default_device(None)


def test_loading_onto_the_meta_device_is_refused(tmp_path: Path) -> None:
    new_model().save_pretrained(tmp_path)
    with torch.device("meta"), pytest.raises(RuntimeError, match="meta device"):
        MedBlipForConditionalGeneration.from_pretrained(tmp_path)


def test_learned_weights_start_as_the_configuration_says() -> None:
    model = new_model(initializer_range=0.05, itc_temperature=0.1)
    learned = {
        name: p.detach()
        for name, p in model.named_parameters()
        if p.requires_grad and "lora_" not in name
    }
    for name, values in learned.items():
        if name == "temperature":
            assert float(values) == pytest.approx(0.1)
        elif name == "prefix_scale":
            assert float(values) == pytest.approx(0.05)
        elif name.endswith("bias"):
            assert not values.any(), name
        elif "norm" in name.lower():
            assert (values == 1).all(), name
        else:
            # Within six standard errors, and the cut of a truncated normal.
            assert float(values.std()) == pytest.approx(0.05, rel=0.1 + 4 / values.numel() ** 0.5)


def test_the_models_of_these_tests_are_tiny() -> None:
    for kind in LANGUAGES:
        tower = language_tower(kind)
        assert sum(p.numel() for p in tower.parameters()) < 1e5
        assert tower.config.num_hidden_layers <= 2
    for kind in VISIONS:
        assert vision_tower(kind).config.num_hidden_layers <= 2
    assert sum(p.numel() for p in new_model().parameters()) < 2e5
