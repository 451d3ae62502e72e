"""``torch.compile`` takes the vision and query towers whole, and generation's decoder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from common_inputs import TOLERANCE, prompts
from tiny import (
    VISIONS,
    build,
    gradients,
    largest_difference,
    relative_difference,
    training_batch,
    volumes,
)
from transformers import CompileConfig, StaticCache


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    torch.compiler.reset()
    yield
    torch.compiler.reset()


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
@pytest.mark.parametrize("vision", VISIONS)
def test_image_and_query_towers_compile_without_a_break(vision: str, backend: str) -> None:
    model = build(vision=vision)
    encode, query = (
        torch.compile(part, fullgraph=True, backend=backend)
        for part in (model.encode_image, model.query_image)
    )
    with torch.no_grad():
        tokens, mask = model.encode_image(volumes(2))
        found, found_mask = encode(volumes(2))
        assert mask is found_mask is None
        assert largest_difference(found, tokens) == 0.0
        assert largest_difference(query(found), model.query_image(tokens)) == 0.0


def test_gradients_flow_through_the_compiled_towers() -> None:
    model, pixels = build(), volumes(2)

    def loss() -> torch.Tensor:
        return model.query_image(model.encode_image(pixels)[0]).square().mean()

    expected = gradients(loss, model)
    found = gradients(torch.compile(loss, fullgraph=True, backend="aot_eager"), model)
    assert found.keys() == expected.keys()
    largest = max(float(g.abs().max()) for g in expected.values())
    for name, gradient in expected.items():
        assert largest_difference(found[name], gradient) <= 1e-5 * largest, name


def test_skipped_background_breaks_the_graph_and_still_gives_the_same() -> None:
    """How many tokens a row keeps is known only when its voxels are."""
    model = build(skip_background=True)
    with torch.no_grad():
        tokens, mask = model.encode_image(volumes(3))
        with pytest.raises(Exception, match=r"(?i)data-dependent|nonzero|unique|break"):
            torch.compile(model.encode_image, fullgraph=True, backend="eager")(volumes(3))
        found, found_mask = torch.compile(model.encode_image, backend="eager")(volumes(3))
    assert torch.equal(mask, found_mask)
    assert relative_difference(found, tokens) <= TOLERANCE


def test_generation_compiles_the_language_model_by_itself() -> None:
    model = build()
    options = {"max_new_tokens": 4, "do_sample": False, "return_dict_in_generate": True}
    options |= {"output_scores": True, "output_hidden_states": True, "output_logits": True}
    expected = model.generate(**prompts(), **options)
    compiled = CompileConfig(fullgraph=True, dynamic=False, backend="eager")
    compiled._compile_all_devices = True  # on a CPU too
    found = model.generate(
        **prompts(), **options, cache_implementation="static", compile_config=compiled
    )
    assert isinstance(found.past_key_values, StaticCache)
    assert hasattr(model.language_model, "_compiled_call")
    assert torch.equal(found.sequences, expected.sequences)
    for mine, theirs in zip(found.scores, expected.scores, strict=True):
        assert relative_difference(mine, theirs) <= TOLERANCE
    assert len(found.hidden_states) == len(expected.hidden_states)


def test_a_compiled_model_trains_the_same() -> None:
    """The whole of it, with a break where images and placeholders are counted."""
    model = build()
    batch = training_batch(model)
    expected = gradients(lambda: model(**batch).loss, model)
    compiled = torch.compile(model, backend="eager")
    found = gradients(lambda: compiled(**batch).loss, model)
    assert found.keys() == expected.keys()
    largest = max(float(g.abs().max()) for g in expected.values())
    for name, gradient in expected.items():
        assert largest_difference(found[name], gradient) <= 1e-5 * largest, name
