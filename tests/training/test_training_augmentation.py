"""Augmented volumes: bounds, background, left and right, each sample by its own seed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from medblip.recipe import AugmentSection
from medblip.training.augmentation import Augmentation, with_pixels
from medblip.training.pixels import to_pixels

SIZE = 24
ALL = {
    "rotate_degrees": 15,
    "scale": 0.1,
    "shift": 0.05,
    "gamma": 0.3,
    "noise": 0.1,
    "bias_field": 0.3,
}
SEEDS = torch.tensor([11, 12, 13])


def heads(count: int = 3) -> Tensor:
    """``(count, 1, 24, 24, 24)``: balls on background, brighter towards high first axis."""
    grid = np.indices((SIZE,) * 3) - (SIZE - 1) / 2
    ball = (grid**2).sum(0) < (SIZE / 3) ** 2
    bright = 100 + 10 * grid[0]
    cube = np.where(ball, bright, 0).astype(np.uint8)
    return to_pixels([cube] * count)


def augmented(volumes: Tensor, seeds: Tensor = SEEDS, **section: float) -> Tensor:
    return Augmentation(AugmentSection(**section))(volumes, seeds)


def centre(volume: Tensor) -> Tensor:
    """Of brightness, in voxels from the middle, by axis."""
    places = torch.stack(torch.meshgrid([torch.arange(SIZE) - (SIZE - 1) / 2] * 3, indexing="ij"))
    return (places * volume).flatten(1).sum(1) / volume.sum()


def test_nothing_changes_where_nothing_is_asked() -> None:
    volumes = heads()
    assert augmented(volumes) is volumes


@pytest.mark.parametrize("kind", ALL)
def test_each_change_can_be_had_alone_and_keeps_its_bounds(kind: str) -> None:
    volumes = heads()
    changed = augmented(volumes, **{kind: ALL[kind]})
    assert changed.shape == volumes.shape
    assert changed.dtype == torch.float32
    assert float(changed.min()) >= 0 and float(changed.max()) <= 1
    assert not torch.equal(changed, volumes)
    assert not torch.equal(changed[0], changed[1])  # drawn anew for each
    inside = volumes > 0
    if kind in ("gamma", "noise", "bias_field"):
        assert torch.equal(changed > 0, inside)  # background stays, and nothing joins it
    if kind == "bias_field":
        factor = changed[inside] / volumes[inside]
        assert 0.7 - 1e-5 <= float(factor.min()) < 0.95
        assert 1.05 < float(factor.max()) <= 1.3 + 1e-5
    if kind == "gamma":
        exponent = changed[inside].log() / volumes[inside].log()
        assert float(exponent.min()) >= 0.7 - 1e-3 and float(exponent.max()) <= 1.3 + 1e-3
    if kind == "noise":
        middle = (volumes > 0.3) & (volumes < 0.7)  # away from where it is clamped
        assert float((changed - volumes)[middle].std()) == pytest.approx(0.1, rel=0.1)


def test_a_move_is_within_what_was_asked() -> None:
    volumes = heads(20)
    seeds = torch.arange(20)
    shifted = augmented(volumes, seeds, shift=0.1)
    moves = torch.stack([centre(v) - centre(volumes[0]) for v in shifted])
    assert float(moves.abs().max()) <= 0.1 * SIZE + 0.05
    assert float(moves.abs().max()) > 0.07 * SIZE
    scaled = augmented(volumes, seeds, scale=0.2)
    growth = scaled.sum((1, 2, 3, 4)) / volumes.sum((1, 2, 3, 4))
    assert 0.8**3 * 0.97 <= float(growth.min()) < 0.7
    assert 1.4 < float(growth.max()) <= 1.2**3 * 1.03
    turned = augmented(volumes, seeds, rotate_degrees=30)
    assert torch.allclose(turned.sum((1, 2, 3, 4)), volumes.sum((1, 2, 3, 4)), rtol=0.02)


def test_left_stays_left() -> None:
    """Half of the ball is brighter: under any draw that half stays where it was."""
    volumes = heads(60)
    changed = augmented(volumes, torch.arange(60), rotate_degrees=20, scale=0.1, gamma=0.2)
    for volume in changed:
        # Turned by 20 degrees about each axis at most: it is within 45 of where it was.
        place = centre(volume[0])
        assert float(place[0]) > 0.5 * float(centre(volumes[0][0])[0])
        assert float(place[0]) > float(place[1:].abs().max())


def test_no_drawn_move_mirrors() -> None:
    augmentation = Augmentation(AugmentSection(rotate_degrees=45, scale=0.49, shift=0.49))
    for seed in range(200):
        assert np.linalg.det(augmentation.draw(seed).affine[:, :3]) > 0


def test_a_sample_is_changed_alike_in_any_batch() -> None:
    volumes = heads()
    together = augmented(volumes, **ALL)
    for row in range(3):
        alone = augmented(volumes[row : row + 1], SEEDS[row : row + 1], **ALL)
        assert torch.equal(alone[0], together[row])
    again = augmented(volumes.flip(0), SEEDS.flip(0), **ALL)
    assert torch.equal(again.flip(0), together)


def test_one_kind_of_change_does_not_depend_on_another() -> None:
    few, many = (Augmentation(AugmentSection(**asked)).draw(5) for asked in ({"gamma": 0.3}, ALL))
    assert few.exponent == many.exponent


def test_a_blank_volume_stays_blank() -> None:
    blank = torch.zeros(3, 1, SIZE, SIZE, SIZE)
    assert torch.equal(augmented(blank, **ALL), blank)


def test_a_moved_head_gains_no_faint_rim() -> None:
    """Background as a byte would have it: nothing above 0 and below half a grey level."""
    changed = augmented(heads(), rotate_degrees=15, scale=0.1, shift=0.05)
    faint = (changed > 0) & (changed < 0.5 / 255)
    assert not faint.any()


def test_bytes_become_pixels_and_the_rest_of_a_batch_stays() -> None:
    cubes = [np.arange(64, dtype=np.uint8).reshape(4, 4, 4)] * 2
    batch = {
        "volumes": torch.from_numpy(np.stack(cubes)[:, None]),
        "seeds": torch.tensor([1, 2]),
        "input_ids": torch.ones(2, 3),
    }
    made = with_pixels(batch, Augmentation(AugmentSection()))
    assert set(made) == {"pixel_values", "input_ids"}
    assert torch.equal(made["pixel_values"], to_pixels(cubes))
    assert with_pixels(made, Augmentation(AugmentSection())) is made
