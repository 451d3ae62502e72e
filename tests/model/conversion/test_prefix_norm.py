"""The prefix with and without its norm: the reference's plain projection is a setting."""

from __future__ import annotations

import torch
from torch import Tensor

from medblip.model import MedBlipConfig
from model.tiny import build, gradients, settings, text_config, training_batch, vision_config


def states() -> Tensor:
    return torch.randn(2, 3, 32, generator=torch.Generator().manual_seed(1))


def test_it_is_on_where_a_configuration_does_not_say() -> None:
    written = MedBlipConfig(
        vision_config=vision_config(), text_config=text_config(), **settings()
    ).to_dict()
    assert written.pop("prefix_norm") is True
    assert MedBlipConfig(**written).prefix_norm is True


def test_with_it_every_prefix_token_has_the_learned_size() -> None:
    model = build(prefix_norm=True)
    with torch.no_grad():
        spread = model.make_prefix(7 * states()).std(-1, correction=0)
    torch.testing.assert_close(spread, model.prefix_scale.detach().expand_as(spread))


def test_without_it_the_prefix_is_the_linear_map_and_nothing_is_left_unused() -> None:
    model = build(prefix_norm=False)
    with torch.no_grad():
        assert torch.equal(model.make_prefix(states()), model.prefix_map(states()))
    learned = {name for name, p in model.named_parameters() if p.requires_grad}
    assert "prefix_scale" not in learned
    got = gradients(lambda: model(**training_batch(model)).loss, model)
    assert got.keys() == learned
