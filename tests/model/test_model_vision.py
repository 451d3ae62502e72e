"""The 3D entry against each 2D encoder's own, and the frozen blocks against the whole encoder."""

from __future__ import annotations

import pytest
import torch
from tiny import (
    IMAGE_SIZE,
    PATCH,
    SIZE,
    VISIONS,
    WIDTH,
    build,
    largest_difference,
    relative_difference,
    vision_tower,
    volumes,
)
from torch import Tensor, nn
from transformers import PreTrainedModel

from medblip.model.frozen import freeze
from medblip.model.patch_embedding import PatchEmbedding3d
from medblip.model.vision import encode_tokens, tower_of

TOLERANCE = 5e-5  # float32, two layers, relative to the largest value
GRID = SIZE // PATCH


def inflated(tower: PreTrainedModel, size: int = SIZE, patch: int = PATCH) -> PatchEmbedding3d:
    entry = PatchEmbedding3d(WIDTH, size, patch)
    entry.inflate(tower_of(tower.config).patch_filter(tower))
    return entry


def as_rgb(tower: PreTrainedModel, gray: Tensor) -> Tensor:
    """``(batch, H, W)`` in [0, 1] as the normalised image that the encoder was trained on."""
    source = tower_of(tower.config).patch_filter(tower)
    return (gray[:, None] - source.mean.view(1, 3, 1, 1)) / source.std.view(1, 3, 1, 1)


def own_tokens(tower: PreTrainedModel, images: Tensor) -> Tensor:
    """The 2D encoder's own entry: patches with positions, CLS first where it has one."""
    embedded: Tensor = tower.embeddings(images)
    return embedded


@pytest.mark.parametrize("kind", VISIONS)
def test_a_volume_constant_along_depth_enters_as_its_slice_would(kind: str) -> None:
    tower = vision_tower(kind)
    gray = torch.rand(2, IMAGE_SIZE, IMAGE_SIZE, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = own_tokens(tower, as_rgb(tower, gray))
        tokens = inflated(tower)(gray[:, None, None].expand(-1, 1, SIZE, -1, -1))
    patches = tokens[:, 1:].view(2, GRID, GRID * GRID, WIDTH)  # (batch, depth, plane, width)
    cls = expected.shape[1] - GRID * GRID
    for depth in range(GRID):
        difference = relative_difference(patches[:, depth], expected[:, cls:])
        assert difference <= TOLERANCE, f"depth {depth}: largest difference {difference}"
    if cls:
        assert largest_difference(tokens[:, 0], expected[:, 0]) <= TOLERANCE
    else:
        assert not tokens[:, 0].any()  # SigLIP has no CLS: the learned one starts at zero


def test_a_flat_volume_keeps_its_response_when_the_patch_is_resized() -> None:
    tower = vision_tower()
    flat = torch.full((1, 1, 24, 24, 24), 0.7)
    with torch.no_grad():
        expected = own_tokens(tower, as_rgb(tower, torch.full((1, IMAGE_SIZE, IMAGE_SIZE), 0.7)))
        positions = tower.embeddings.position_embeddings
        entry = inflated(tower, size=24, patch=12)
        found = entry(flat)[0, 1:] - entry.positions[0, 1:]
    difference = relative_difference(found[0], (expected - positions)[0, 1])
    assert difference <= TOLERANCE, f"largest difference {difference}"


def test_a_new_model_starts_as_its_configuration_says() -> None:
    expected = inflated(vision_tower())
    inflate, random = (
        build(patch_init=way, initializer_range=0.02).patch_embedding
        for way in ("inflate", "random")
    )
    for name in ("projection.weight", "positions", "cls_token"):
        assert torch.equal(inflate.get_parameter(name), expected.get_parameter(name))
        assert float(random.get_parameter(name).detach().std()) == pytest.approx(0.02, rel=0.3)


def test_positions_are_resized_in_the_plane_and_repeated_over_depth() -> None:
    tower = vision_tower()
    with torch.no_grad():
        tower.embeddings.position_embeddings[0, 1:] = 5.0
        tower.embeddings.position_embeddings[0, 0] = -1.0
    entry = inflated(tower, size=24)  # a 3x3x3 grid from the encoder's 2x2
    assert entry.positions.shape == (1, 1 + 27, WIDTH)
    assert torch.allclose(entry.positions[0, 1:], torch.tensor(5.0), atol=1e-5)
    assert (entry.positions[0, 0] == -1.0).all()
    plain = inflated(vision_tower()).positions[0, 1:].view(GRID, GRID * GRID, WIDTH)
    assert torch.equal(plain[0], plain[1])
    assert largest_difference(plain[0, 0], plain[0, 1]) > 0.1


@pytest.mark.parametrize("kind", VISIONS)
def test_the_blocks_give_what_the_whole_encoder_gives(kind: str) -> None:
    tower = vision_tower(kind)
    freeze(tower)
    images = torch.randn(2, 3, IMAGE_SIZE, IMAGE_SIZE, generator=torch.Generator().manual_seed(0))
    entered: list[Tensor] = []

    def keep(_module: torch.nn.Module, _inputs: object, output: Tensor) -> Tensor:
        entered.append(output.detach().requires_grad_())
        return entered[-1]

    hook = tower.embeddings.register_forward_hook(keep)
    expected = tower(pixel_values=images).last_hidden_state
    hook.remove()
    expected.square().sum().backward()
    tokens = entered[0].detach().requires_grad_()
    found, mask = encode_tokens(tower, tokens, None)
    found.square().sum().backward()

    assert mask is None
    difference = relative_difference(found, expected)
    assert difference <= TOLERANCE, f"largest difference {difference}"
    difference = relative_difference(tokens.grad, entered[0].grad)
    assert difference <= TOLERANCE, f"gradient: largest relative difference {difference}"
    assert not any(p.requires_grad or p.grad is not None for p in tower.parameters())


@pytest.mark.parametrize("kind", VISIONS)
def test_rows_of_different_lengths_are_encoded_as_each_alone(kind: str) -> None:
    model = build(vision=kind, skip_background=True)
    pixels = volumes(3)  # rows with 8, 7 and 6 patches of foreground
    with torch.no_grad():
        together, mask = model.encode_image(pixels)
        entered = model.patch_embedding(pixels)
        kept = [slice(0, 9), [0, *range(2, 9)], [0, *range(3, 9)]]  # CLS and the foreground
        alone = [
            encode_tokens(model.vision_model, entered[row : row + 1, tokens], None)[0][0]
            for row, tokens in enumerate(kept)
        ]
    assert mask.sum(1).tolist() == [9, 8, 7] == [len(tokens) for tokens in alone]
    for row, tokens in enumerate(alone):
        difference = relative_difference(together[row][mask[row]], tokens)
        assert difference <= TOLERANCE, f"row {row}: largest difference {difference}"
        assert not together[row][~mask[row]].any()


def test_background_is_dropped_before_the_blocks_and_only_if_asked_for() -> None:
    pixels = volumes(3)
    with torch.no_grad():
        kept, no_mask = build().encode_image(pixels)
        dropped, _ = build(skip_background=True).encode_image(pixels)
    assert kept.shape == (3, 9, WIDTH)
    assert no_mask is None
    assert largest_difference(kept[0], dropped[0]) <= TOLERANCE  # nothing to drop in this row
    assert largest_difference(kept[2][:1], dropped[2][:1]) > 1e-3  # CLS attended to fewer
    foreground = PatchEmbedding3d(WIDTH, SIZE, PATCH).foreground(pixels)
    assert foreground.sum(1).tolist() == [9, 8, 7]
    assert foreground[:, 0].all()  # CLS
    assert not foreground[2, 1:3].any()


@pytest.mark.parametrize("shape", [(1, 1, 23, 16, 16), (1, 1, 8, 8, 8), (1, 16, 16, 16)])
def test_volumes_of_another_size_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"volumes are .* expected .*16, 16, 16"):
        PatchEmbedding3d(WIDTH, SIZE, PATCH)(torch.zeros(shape))


def test_an_unknown_vision_model_is_named_with_the_known_ones() -> None:
    config = vision_tower().config
    config.model_type = "swin"
    with pytest.raises(ValueError, match=r"'swin' is not known; known: .*dinov2"):
        tower_of(config)


def test_patches_are_cut_as_the_convolution_would() -> None:
    torch.manual_seed(0)
    entry = PatchEmbedding3d(width=6, volume_size=12, patch_size=4).double()
    for parameter in entry.parameters():
        nn.init.normal_(parameter)
    volumes = torch.rand(2, 1, 12, 12, 12, dtype=torch.float64)
    filters = entry.projection
    convolved = nn.functional.conv3d(volumes, filters.weight, filters.bias, stride=4)
    convolved = convolved.flatten(2).transpose(1, 2)
    found = entry(volumes)[:, 1:] - entry.positions[:, 1:]
    assert largest_difference(found, convolved) < 1e-13
