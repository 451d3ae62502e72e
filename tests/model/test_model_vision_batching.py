"""Rows that keep different numbers of tokens in one pass, against each row in a pass alone."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
import torch.nn.functional as F
from tiny import VISIONS, build, gradients, relative_difference, training_batch, volumes
from torch import Tensor

from medblip.model import MedBlipForConditionalGeneration
from medblip.model import attention_packed as packed
from medblip.model.attention_packed import PackedRows, attend_packed
from medblip.model.vision import Batching, encode_tokens, tower_of

TOLERANCE = 5e-6  # float32, two layers, relative to the largest value
TOGETHER: tuple[Batching, ...] = ("packed", "padded")


def entered(model: MedBlipForConditionalGeneration, rows: int = 3) -> tuple[Tensor, Tensor]:
    """Tokens of volumes whose rows keep 9, 8, 7 ..., and which they keep."""
    pixels = volumes(rows)
    tokens = model.patch_embedding(pixels).detach().requires_grad_()
    return tokens, model.patch_embedding.foreground(pixels)


def weighted(encoded: Tensor) -> Tensor:
    """A sum that the final norm does not make constant."""
    return (encoded * torch.arange(encoded.numel()).view_as(encoded).sin()).sum()


def encoded_with_gradient(
    model: MedBlipForConditionalGeneration, batching: Batching
) -> tuple[Tensor, Tensor, Tensor]:
    tokens, kept = entered(model)
    out, mask = encode_tokens(model.vision_model, tokens, kept, batching)
    weighted(out).backward()
    assert mask is not None
    assert tokens.grad is not None
    return out.detach(), mask, tokens.grad


@pytest.mark.parametrize("kind", VISIONS)
@pytest.mark.parametrize("batching", TOGETHER)
def test_rows_together_are_as_each_alone(kind: str, batching: Batching) -> None:
    model = build(vision=kind)
    expected, real, gradient = encoded_with_gradient(model, "apart")
    found, mask, of_found = encoded_with_gradient(model, batching)
    assert torch.equal(mask, real)
    assert real.sum(1).tolist() == [9, 8, 7]
    assert not found[~mask].any()
    assert relative_difference(found, expected) < TOLERANCE
    assert relative_difference(of_found, gradient) < TOLERANCE


@pytest.mark.parametrize("kind", VISIONS)
@pytest.mark.parametrize("batching", TOGETHER)
def test_another_row_of_the_batch_changes_nothing(kind: str, batching: Batching) -> None:
    model = build(vision=kind)
    tokens, kept = entered(model)
    other = tokens.detach().clone()
    other[1] = 100 * torch.randn(other[1].shape, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        before, after = (
            encode_tokens(model.vision_model, t, kept, batching)[0] for t in (tokens, other)
        )
    for row in (0, 2):
        assert relative_difference(after[row], before[row]) < TOLERANCE
    assert relative_difference(after[1], before[1]) > 0.1


@pytest.mark.parametrize("batching", TOGETHER)
def test_a_row_alone_and_alike_rows_take_the_plain_pass_to_the_bit(batching: Batching) -> None:
    model = build()
    tokens, kept = entered(model)
    encode = tower_of(model.vision_model.config).encode
    for row in range(3):
        alone, _ = encode_tokens(
            model.vision_model, tokens[row : row + 1], kept[row : row + 1], batching
        )
        expected = encode(model.vision_model, tokens[row : row + 1, kept[row]], None)
        assert torch.equal(alone, expected)
    alike = kept[:1].expand(3, -1)
    together, _ = encode_tokens(model.vision_model, tokens, alike, batching)
    assert torch.equal(together, encode(model.vision_model, tokens, None))


@pytest.mark.parametrize("kind", VISIONS)
def test_another_attention_kernel_takes_a_pass_for_each_length(kind: str) -> None:
    model = build(vision=kind)
    fused, _, _ = encoded_with_gradient(model, "packed")
    model.set_attn_implementation("eager")
    eager, _, _ = encoded_with_gradient(model, "packed")
    assert relative_difference(eager, fused) < TOLERANCE


@pytest.mark.parametrize("kind", VISIONS)
def test_recomputed_layers_attend_row_by_row_too(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = build(vision=kind, skip_background=True).eval()
    batch = training_batch(model)
    expected = gradients(lambda: model(**batch).loss, model)
    calls: Counter[str] = Counter()

    def counted(*args: Tensor, **kwargs: object) -> Tensor:
        calls["attention"] += 1
        return attend_packed(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(packed, "attend_packed", counted)
    model.gradient_checkpointing_enable()
    for layer in model.modules():
        if hasattr(layer, "gradient_checkpointing"):
            layer.training = True  # its dropouts stay off
    found = gradients(lambda: model(**batch).loss, model)
    layers = model.vision_model.config.num_hidden_layers
    assert calls["attention"] == 2 * layers  # forward, and once more in backward
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        assert torch.allclose(found[name], gradient, rtol=1e-4, atol=1e-6), name


def test_the_kernel_for_cuda_attends_as_the_one_for_cpus() -> None:
    rng = torch.Generator().manual_seed(0)
    fused = torch.randn(1, 12, 3, 2, 16, generator=rng)  # as a joint query, key, value map gives
    rows, scale = PackedRows((5, 1, 6)), 0.2
    results = []
    for attend in (packed._attend_row_by_row, packed._attend_jagged):
        joint = fused.clone().requires_grad_()
        q, k, v = joint.permute(2, 0, 3, 1, 4)
        out = attend(q, k, v, rows, {"scale": scale})
        weighted(out).backward()
        results.append((out.detach(), joint.grad))
    for expected, found in zip(*results, strict=True):
        assert relative_difference(found, expected) < TOLERANCE


def test_packed_attention_is_block_diagonal_attention() -> None:
    q, k, v = torch.randn(3, 1, 2, 12, 16, generator=torch.Generator().manual_seed(0))
    owner = torch.tensor([0] * 5 + [1] + [2] * 6)
    expected = F.scaled_dot_product_attention(q, k, v, attn_mask=owner[:, None] == owner[None])
    found = F.scaled_dot_product_attention(q, k, v, attn_mask=PackedRows((5, 1, 6)))
    assert relative_difference(found, expected) < TOLERANCE
    with pytest.raises(TypeError):
        torch.add(q, PackedRows((12,)))  # a mask of attention, and nothing else
