"""The same model under another attention kernel, in half precision, with recomputed activations."""

from __future__ import annotations

import pytest
import torch
from tiny import (
    LANGUAGES,
    VISIONS,
    build,
    gradients,
    largest_difference,
    padded,
    prompt_rows,
    relative_difference,
    training_batch,
    volumes,
)

from medblip.model.likelihood import score_answers

TOLERANCE = 2e-4  # float32, relative to the largest value


@pytest.mark.parametrize(
    ("language", "vision"),
    [*((language, "dinov2") for language in LANGUAGES), *(("llama", v) for v in VISIONS[1:])],
)
def test_eager_and_fused_attention_agree(language: str, vision: str) -> None:
    model = build(language, vision)
    batch = training_batch(model)
    outputs = {}
    for kernel in ("sdpa", "eager"):
        model.set_attn_implementation(kernel)
        for tower in (model.vision_model, model.language_model):
            assert tower.config._attn_implementation == kernel
        with torch.no_grad():
            outputs[kernel] = model(**batch)
    for part in ("logits", "query_states", "loss"):
        found, expected = outputs["eager"][part], outputs["sdpa"][part]
        difference = relative_difference(found, expected)
        assert difference <= TOLERANCE, f"{part}: largest difference {difference}"


def test_one_towers_attention_can_be_set_without_a_word_from_transformers(
    caplog: pytest.LogCaptureFixture,
) -> None:
    model = build()
    model.set_attn_implementation("sdpa")
    model.set_attn_implementation({"text_config": "eager"})
    kernels = [t.config._attn_implementation for t in (model.vision_model, model.language_model)]
    assert kernels == ["sdpa", "eager"]
    assert not caplog.records


def test_half_precision_stays_near_full() -> None:
    model = build()
    batch = training_batch(model)
    with torch.no_grad():
        expected = model(**batch)
        model.to(torch.bfloat16)
        found = model(**batch)
    assert found.logits.dtype == torch.bfloat16
    assert relative_difference(found.logits, expected.logits) < 0.1  # 8 bits, two layers each
    assert float(found.loss) == pytest.approx(float(expected.loss), rel=0.1)
    generated = model.generate(
        **padded(prompt_rows([4])), pixel_values=volumes(1), max_new_tokens=3
    )
    assert generated.shape[0] == 1


@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("language", ["llama", "t5"])
def test_towers_in_half_precision_serve_learned_weights_in_full(language: str, skip: bool) -> None:
    model = build(language, skip_background=skip)
    batch = training_batch(model)
    with torch.no_grad():
        expected = model(**batch)
    model.vision_model.to(torch.bfloat16)
    model.language_model.to(torch.bfloat16)
    found = gradients(lambda: model(**batch).loss, model)
    assert {name for name, p in model.named_parameters() if p.requires_grad} == found.keys()
    with torch.no_grad():
        loss = float(model(**batch).loss)
    assert loss == pytest.approx(float(expected.loss), rel=0.1)
    scores = score_answers(
        model, [[9, 1], [12]], **padded(prompt_rows([4])), pixel_values=volumes(1)
    )
    assert torch.isfinite(scores).all()


@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing_enable.*:FutureWarning")
@pytest.mark.parametrize("language", ["llama", "gpt2", "t5"])
def test_recomputed_activations_give_the_same_gradients(language: str) -> None:
    # Without dropout: it is drawn anew, though from the same state, where layers are recomputed.
    still = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    model = build(language)
    model.config.qformer_config.update(still)
    model.train()
    batch = training_batch(model)

    def loss() -> torch.Tensor:
        torch.manual_seed(0)
        return model(**batch).loss

    expected = gradients(loss, model)
    recomputed = count_recomputations(model)
    model.gradient_checkpointing_enable()
    found = gradients(loss, model)
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        difference = largest_difference(found[name], gradient)
        assert difference <= TOLERANCE * max(1.0, float(gradient.abs().max())), (name, difference)
    assert recomputed


def count_recomputations(model: torch.nn.Module) -> list[str]:
    """A list that grows when a MedQFormer layer runs in the backward pass."""
    layer, seen = model.qformer.encoder.layer[0].attention, []
    layer.register_forward_hook(
        lambda *_: seen.append("again") if torch._C._current_graph_task_id() >= 0 else None
    )
    return seen
