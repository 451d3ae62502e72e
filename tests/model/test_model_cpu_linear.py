"""Linear maps through oneDNN against torch's own: values, gradients, names, and when they apply."""

from __future__ import annotations

import copy

import pytest
import torch
from tiny import build, gradients, relative_difference, training_batch
from torch import nn
from transformers.pytorch_utils import Conv1D

from medblip.model import cpu_linear
from medblip.model.cpu_linear import use_onednn

TOLERANCE = 1e-5  # float32, relative to the largest value

pytestmark = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available(), reason="this torch has no oneDNN"
)


def pair(kind: str, bias: bool = True) -> tuple[nn.Module, nn.Module]:
    """A map, and the same through oneDNN."""
    torch.manual_seed(0)
    plain = Conv1D(24, 40) if kind == "conv1d" else nn.Linear(40, 24, bias=bias)
    changed = copy.deepcopy(plain)
    assert use_onednn(changed, wanted=True) == 1
    return plain, changed


@pytest.mark.parametrize(("kind", "bias"), [("linear", True), ("linear", False), ("conv1d", True)])
@pytest.mark.parametrize("shape", [(7, 40), (2, 5, 40), (1, 1, 40), (2, 3, 5, 40)])
@pytest.mark.parametrize("frozen", [True, False])
def test_values_and_gradients_are_those_of_the_plain_map(
    kind: str, bias: bool, shape: tuple[int, ...], frozen: bool
) -> None:
    found: list[list[torch.Tensor]] = []
    for layer in pair(kind, bias):
        layer.requires_grad_(not frozen)
        x = torch.randn(shape, generator=torch.Generator().manual_seed(1)).requires_grad_()
        y = layer(x)
        weights = torch.arange(y.numel()).view_as(y).sin()
        (y * weights).sum().backward()
        found.append([y, x.grad, *(p.grad for p in layer.parameters() if not frozen)])
    for expected, given in zip(*found, strict=True):
        assert given.shape == expected.shape
        assert relative_difference(given, expected) < TOLERANCE


def test_a_frozen_map_does_not_keep_its_input() -> None:
    _, layer = pair("linear")
    layer.requires_grad_(False)
    y = layer(torch.randn(3, 40, requires_grad=True))
    assert [t for t in y.grad_fn.saved_tensors if t is not None and t.shape == (3, 40)] == []


def test_what_it_is_not_for_runs_as_ever() -> None:
    plain, changed = pair("linear")
    x = torch.randn(3, 40)
    assert torch.equal(changed(x[0]), plain(x[0]))  # a vector
    assert torch.equal(changed(x[:0]), plain(x[:0]))  # no rows
    with torch.autocast("cpu", torch.bfloat16):
        assert changed(x).dtype == torch.bfloat16
        assert torch.equal(changed(x), plain(x))
    assert torch.equal(changed.double()(x.double()), plain.double()(x.double()))


@pytest.mark.parametrize("language", ["llama", "gpt2"])
def test_a_whole_model_keeps_its_loss_gradients_and_names(language: str) -> None:
    model = build(language)
    batch = training_batch(model)
    names = list(model.state_dict())
    loss = model(**batch).loss
    expected = gradients(lambda: model(**batch).loss, model)
    assert use_onednn(model, wanted=True) > 10
    assert list(model.state_dict()) == names
    assert relative_difference(model(**batch).loss, loss) < TOLERANCE
    found = gradients(lambda: model(**batch).loss, model)
    assert found.keys() == expected.keys()
    # Measured against the largest of all: some gradients are themselves only rounding.
    largest = max(float(g.abs().max()) for g in expected.values())
    for name, gradient in found.items():
        assert float((gradient - expected[name]).abs().max()) < TOLERANCE * largest, name


def test_a_processor_whose_avx512_mkl_uses_keeps_mkl(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = nn.Linear(2, 2)
    monkeypatch.setattr(cpu_linear, "mkl_leaves_avx512", lambda: False)
    assert use_onednn(layer) == 0
    assert type(layer) is nn.Linear
    monkeypatch.setattr(cpu_linear, "mkl_leaves_avx512", lambda: True)
    assert use_onednn(layer) == 1
