"""The MedQFormer against transformers' BLIP-2 Q-Former, and what its two streams may depend on."""

from __future__ import annotations

import pytest
import torch
from tiny import (
    HEADS,
    LAYERS,
    QUERIES,
    WIDTH,
    build,
    gradients,
    largest_difference,
    padded,
    relative_difference,
)
from torch import Tensor
from transformers import Blip2QFormerConfig, Blip2QFormerModel

from medblip.model import MedQFormerConfig
from medblip.model.medqformer import MedQFormer, pool_text

KEYS, ENCODER_WIDTH = 5, 24
TOLERANCE = 5e-5  # float32, two layers, relative to the largest value
# What the text stream leaves alone.
IMAGE_ONLY = ("crossattention",)

SIZES = {
    "hidden_size": WIDTH,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "intermediate_size": 48,
    "encoder_hidden_size": ENCODER_WIDTH,
}


def ours() -> MedQFormer:
    torch.manual_seed(0)
    return MedQFormer(MedQFormerConfig(**SIZES)).eval()


def randn(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def two_of_five() -> Tensor:
    mask = torch.ones(2, KEYS, dtype=torch.bool)
    mask[0, 2:] = False
    return mask


@pytest.mark.parametrize("mask", [None, two_of_five()], ids=["all-keys", "masked-keys"])
def test_the_query_stream_is_blip2s(mask: Tensor | None) -> None:
    torch.manual_seed(1)
    config = Blip2QFormerConfig(
        **SIZES, initializer_range=0.2, use_qformer_text_input=False, cross_attention_frequency=2
    )
    theirs = Blip2QFormerModel(config).eval()
    mine = ours()
    mine.load_state_dict(theirs.state_dict(), strict=True)

    def my_loss() -> Tensor:
        return (mine(queries, None, image, mask) * weights).sum()

    def their_loss() -> Tensor:
        hidden = theirs(
            query_embeds=queries, encoder_hidden_states=image, encoder_attention_mask=mask
        )
        return (hidden.last_hidden_state * weights).sum()

    weights = randn(2, QUERIES, WIDTH, seed=4)  # a sum of squares after a LayerNorm is constant
    queries, image = randn(2, QUERIES, WIDTH), randn(2, KEYS, ENCODER_WIDTH, seed=2)
    image.requires_grad_()
    expected = gradients(their_loss, theirs) | {"image": image.grad.clone()}
    image.grad = None
    found = gradients(my_loss, mine) | {"image": image.grad}
    with torch.no_grad():
        hidden = theirs(
            query_embeds=queries, encoder_hidden_states=image, encoder_attention_mask=mask
        ).last_hidden_state
        difference = relative_difference(mine(queries, None, image, mask), hidden)
    assert difference <= TOLERANCE, f"largest difference {difference}"
    assert found.keys() == expected.keys()
    largest = max(float(gradient.abs().max()) for gradient in expected.values())
    for name, gradient in expected.items():
        difference = largest_difference(found[name], gradient) / largest
        assert difference <= TOLERANCE, f"gradient of {name}: largest difference {difference}"
    assert float(expected["image"].abs().max()) > 1e-3 * largest


def test_one_feed_forward_network_serves_both_streams() -> None:
    model = ours()
    queries, image = randn(2, QUERIES, WIDTH), randn(2, KEYS, ENCODER_WIDTH, seed=2)
    query = gradients(lambda: model(queries, None, image)[..., 0].sum(), model)
    text = gradients(lambda: model(queries)[..., 0].sum(), model)
    assert query.keys() == {name for name, _ in model.named_parameters()}
    assert query.keys() - text.keys() == {n for n in query if any(p in n for p in IMAGE_ONLY)}
    feed_forward = {n for n in query if "intermediate" in n}
    assert feed_forward == {
        f"encoder.layer.{i}.intermediate_query.dense.{kind}"
        for i in range(LAYERS)
        for kind in ("weight", "bias")
    }


def test_every_second_layer_looks_at_the_image() -> None:
    config = MedQFormerConfig(**SIZES | {"num_hidden_layers": 4})
    looks = [layer.crossattention is not None for layer in MedQFormer(config).encoder.layer]
    assert looks == [True, False, True, False]


def test_a_batch_of_one_is_a_row_of_many() -> None:
    model = ours()
    queries, image = randn(3, QUERIES, WIDTH), randn(3, KEYS, ENCODER_WIDTH, seed=2)
    with torch.no_grad():
        together = model(queries, None, image)
        alone = torch.cat([model(queries[i : i + 1], None, image[i : i + 1]) for i in range(3)])
    difference = relative_difference(together, alone)
    assert difference <= TOLERANCE, f"largest difference {difference}"


def test_padded_image_tokens_change_nothing() -> None:
    model = ours()
    queries, image = randn(2, QUERIES, WIDTH), randn(2, KEYS, ENCODER_WIDTH, seed=2)
    filled = torch.cat([image, 100 * randn(2, 3, ENCODER_WIDTH, seed=3)], dim=1)
    mask = torch.arange(KEYS + 3).expand(2, -1) < KEYS
    with torch.no_grad():
        plain, masked = model(queries, None, image), model(queries, None, filled, mask)
        unmasked = model(queries, None, filled)
    difference = relative_difference(plain, masked)
    assert difference <= TOLERANCE, f"largest difference {difference}"
    assert largest_difference(plain, unmasked) > 0.01


def test_a_text_embedding_is_independent_of_padding() -> None:
    model = build()
    text = [9, 30, 77, 12]
    beyond = model.config.text_config.vocab_size + 7  # padding may be outside of the vocabulary
    with torch.no_grad():
        alone = model.embed_text(**renamed(padded([text])))
        beside = model.embed_text(**renamed(padded([text, list(range(40, 50))], beyond)))
        other = model.embed_text(**renamed(padded([text[::-1]])))
    difference = relative_difference(alone[0], beside[0])
    assert difference <= TOLERANCE, f"largest difference {difference}"
    assert largest_difference(alone, other) > 0.01


def renamed(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    return {"ids": batch["input_ids"], "mask": batch["attention_mask"]}


def test_pooling_takes_real_tokens_alone() -> None:
    hidden = torch.tensor([[[100.0], [1.0], [3.0]], [[5.0], [5.0], [5.0]]])
    pooled = pool_text(hidden, torch.tensor([[0, 1, 1], [0, 0, 0]]))
    assert pooled.tolist() == [[2.0], [0.0]]


def test_a_text_without_tokens_stays_finite() -> None:
    hidden = ours()(randn(1, 4, WIDTH), torch.zeros(1, 4, dtype=torch.bool))
    assert torch.isfinite(pool_text(hidden, torch.zeros(1, 4))).all()
