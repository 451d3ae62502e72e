"""The moving average against its formula, swapping, and its file."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from medblip.training.ema import MovingAverage


def small() -> nn.Linear:
    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    model.bias.requires_grad_(False)
    return model


def walked(model: nn.Linear, average: MovingAverage, steps: int) -> torch.Tensor:
    """Change the weights step by step; returns the average by the formula, in float64."""
    expected = model.weight.detach().double().clone()
    for step in range(1, steps + 1):
        with torch.no_grad():
            model.weight.add_(torch.randn_like(model.weight))
        average.update(step)
        decay = min(average.decay, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * model.weight.detach().double()
    return expected


def test_the_average_follows_its_formula() -> None:
    model = small()
    average = MovingAverage(model, 0.9)
    expected = walked(model, average, 200)
    torch.testing.assert_close(average.averages["weight"].double(), expected, rtol=1e-5, atol=1e-6)
    assert list(average.averages) == ["weight"]  # what is not learned is not averaged


def test_weights_are_back_after_the_average_was_applied() -> None:
    model = small()
    average = MovingAverage(model, 0.9)
    expected = walked(model, average, 5).float()
    before = model.weight.detach().clone()
    with average.applied():
        torch.testing.assert_close(model.weight.detach(), expected)
    assert torch.equal(model.weight, before)
    torch.testing.assert_close(average.averages["weight"], expected)


def test_a_saved_average_goes_on_alike(tmp_path: Path) -> None:
    model = small()
    average = MovingAverage(model, 0.9)
    walked(model, average, 3)
    average.save(tmp_path)
    other = MovingAverage(model, 0.9)
    assert not torch.equal(other.averages["weight"], average.averages["weight"])
    other.load(tmp_path)
    assert torch.equal(other.averages["weight"], average.averages["weight"])
