"""What ``forward`` gives: shapes, tuples, layers' states, the cache; and what it refuses."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from common_inputs import KINDS, TOLERANCE, config_of, inputs, new_model, prompts
from tiny import (
    CAUSAL,
    HEADS,
    LANGUAGES,
    LAYERS,
    QUERIES,
    WIDTH,
    build,
    padded,
    prompt_rows,
    relative_difference,
    training_batch,
    volumes,
)
from torch import Tensor
from transformers import DynamicCache

from medblip.model import MedBlipConfig, MedBlipForConditionalGeneration

EVERYTHING = {"output_hidden_states": True, "output_attentions": True, "use_cache": True}
LENGTH, ANSWER = QUERIES + 9, 5  # longest prompt, and decoder length, of `inputs`
CAUSAL_FIELDS = {"logits", "query_states", "past_key_values", "hidden_states", "attentions"}
SEQ2SEQ_FIELDS = (CAUSAL_FIELDS - {"hidden_states", "attentions"}) | {
    f"{side}_{what}" for side in ("encoder", "decoder") for what in ("hidden_states", "attentions")
}
SEQ2SEQ_FIELDS |= {"cross_attentions", "encoder_last_hidden_state"}


def eager(language: str) -> MedBlipForConditionalGeneration:
    """Attention that can be looked at."""
    model = build(language)
    model.set_attn_implementation("eager")
    return model


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_layer_can_be_looked_at(language: str) -> None:
    with torch.no_grad():
        out = eager(language)(**inputs(language), **EVERYTHING)
    assert out.keys() == (SEQ2SEQ_FIELDS if language == "t5" else CAUSAL_FIELDS)
    prompt, answer = (3, LENGTH, WIDTH), (3, ANSWER, WIDTH)
    shapes = {
        "hidden_states": prompt,
        "encoder_hidden_states": prompt,
        "decoder_hidden_states": answer,
        "attentions": (3, HEADS, LENGTH, LENGTH),
        "encoder_attentions": (3, HEADS, LENGTH, LENGTH),
        "decoder_attentions": (3, HEADS, ANSWER, ANSWER),
        "cross_attentions": (3, HEADS, ANSWER, LENGTH),
    }
    for name in out.keys() & shapes:
        states = "hidden_states" in name
        assert len(out[name]) == LAYERS + states, name
        assert {tuple(layer.shape) for layer in out[name]} == {shapes[name]}, name


@pytest.mark.parametrize("language", KINDS)
def test_the_language_models_configuration_can_ask_for_them_too(language: str) -> None:
    config = config_of(language)
    config.text_config.output_hidden_states = True
    config.text_config._attn_implementation = "eager"
    config.text_config.output_attentions = True
    with torch.no_grad():
        out = MedBlipForConditionalGeneration(config).eval()(**inputs(language))
    names = SEQ2SEQ_FIELDS if language == "t5" else CAUSAL_FIELDS
    assert out.keys() == names - ({"past_key_values"} if "past_key_values" not in out else set())


@pytest.mark.parametrize("language", KINDS)
@pytest.mark.parametrize("labels", [False, True])
def test_a_tuple_holds_what_the_output_holds(language: str, labels: bool) -> None:
    model = eager(language)
    given = training_batch(model) if labels else inputs(language)
    for asked in ({}, {"output_hidden_states": True}, EVERYTHING):
        with torch.no_grad():
            plain = model(**given, **asked, return_dict=False)
            out = model(**given, **asked)
        assert isinstance(plain, tuple)
        assert len(plain) == len(out)
        assert_equal(plain, out.to_tuple())
        assert torch.equal(out[0], out.loss if labels else out.logits)  # loss, or logits, first
    with torch.no_grad():
        out = model(**given)
        model.config.return_dict = False
        assert_equal(model(**given), out.to_tuple())
        assert_equal(model(**given, return_dict=True).to_tuple(), out.to_tuple())


def assert_equal(found: Any, expected: Any) -> None:
    assert type(found) is type(expected)
    if isinstance(expected, tuple):
        for mine, theirs in zip(found, expected, strict=False):
            assert_equal(mine, theirs)
    elif isinstance(expected, Tensor):
        assert torch.equal(found, expected)


@pytest.mark.parametrize("language", KINDS)
def test_the_same_input_gives_the_same_output(language: str) -> None:
    model = build(language)
    with torch.no_grad():
        first, second = (model(**inputs(language)).to_tuple() for _ in range(2))
    assert_equal(first, second)


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_row_of_a_batch_is_the_row_alone(language: str) -> None:
    model = eager(language)
    asked = {"output_hidden_states": True}
    together_in = inputs(language)
    with torch.no_grad():
        together = model(**together_in, **asked)
        alone = model(**{k: v[:1] for k, v in together_in.items()}, **asked)
    for name in together.keys() - {"past_key_values"}:
        rows = zip(tensors(together[name]), tensors(alone[name]), strict=True)
        for many, one in rows:
            difference = relative_difference(many[:1], one)
            assert difference <= TOLERANCE, f"{name}: largest difference {difference}"


def tensors(value: Any) -> tuple[Tensor, ...]:
    return value if isinstance(value, tuple) else (value,)


@pytest.mark.parametrize("language", KINDS)
def test_gradients_reach_the_states_that_are_kept(language: str) -> None:
    model = eager(language)
    out = model(**inputs(language), **EVERYTHING | {"use_cache": False})
    side = "encoder_" if language == "t5" else ""
    states, attention = out[f"{side}hidden_states"][0], out[f"{side}attentions"][0]
    states.retain_grad()
    attention.retain_grad()
    out[0].flatten()[0].backward()
    assert states.grad.any()
    assert attention.grad is not None


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_cache_has_the_usual_form(language: str) -> None:
    model = build(language)
    with torch.no_grad():
        cache = model(**inputs(language), use_cache=True).past_key_values
    own = cache.self_attention_cache if language == "t5" else cache
    config = model.config.get_text_config(decoder=True)
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    length = ANSWER if language == "t5" else LENGTH
    assert [layer.keys.shape for layer in own.layers] == [(3, heads, length, 8)] * LAYERS
    with torch.no_grad():
        assert model(**inputs(language), use_cache=False).past_key_values is None


@pytest.mark.parametrize("language", CAUSAL)
def test_a_prompt_goes_on_from_its_cache(language: str) -> None:
    model = build(language)
    rows = prompt_rows([9, 4])
    whole = padded([[*row, 50, 60] for row in rows])
    with torch.no_grad():
        expected = model(**whole, pixel_values=volumes(2)).logits[:, -2:]
        start = model(**padded(rows), pixel_values=volumes(2), use_cache=True)
        found = model(
            input_ids=torch.tensor([[50, 60]] * 2),
            attention_mask=whole["attention_mask"],
            past_key_values=start.past_key_values,
        ).logits
    difference = relative_difference(found, expected)
    assert difference <= TOLERANCE, f"largest difference {difference}"


def test_the_last_logits_alone_may_be_asked_for() -> None:
    model = build()
    with torch.no_grad():
        every, last = (model(**prompts(), logits_to_keep=n).logits for n in (0, 1))
    assert every.shape[:2] == (3, LENGTH)
    assert last.shape[:2] == (3, 1)
    assert relative_difference(last, every[:, -1:]) <= TOLERANCE


def test_labels_of_an_encoder_decoder_model_are_shifted_once() -> None:
    model = build("t5")
    batch = training_batch(model)
    labels = batch.pop("labels")
    start = model.config.text_config.decoder_start_token_id
    fed = torch.cat([torch.full((3, 1), start), labels[:, :-1].clamp(min=0)], dim=1)
    with torch.no_grad():
        loss = model(**batch, labels=labels).language
        logits = model(**batch, decoder_input_ids=fed).logits
    expected = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten())
    assert float(loss) == pytest.approx(float(expected), rel=1e-5)


def test_a_configuration_without_special_tokens_is_enough() -> None:
    text = config_of().text_config.to_diff_dict()
    plain = {k: v for k, v in text.items() if not k.endswith("_token_id")}
    config = MedBlipConfig(**config_of().to_diff_dict() | {"text_config": plain})
    model = MedBlipForConditionalGeneration(config).eval()
    with torch.no_grad():
        assert model(**prompts()).logits.shape[:2] == (3, LENGTH)


@pytest.mark.parametrize("language", KINDS)
@pytest.mark.parametrize(
    ("option", "meant"),
    [("pixel_value", "pixel_values"), ("output_hiden_states", ""), ("use_cach", "use_cache")],
)
def test_a_misspelled_argument_is_an_error(language: str, option: str, meant: str) -> None:
    with pytest.raises(TypeError, match=rf"'{option}'.*{meant}"):
        build(language)(**inputs(language), **{option: None})


@pytest.mark.parametrize("language", KINDS)
def test_embeddings_in_place_of_ids_are_refused(language: str) -> None:
    model = new_model(language)
    given = inputs(language)
    embeddings = model.get_input_embeddings()(given.pop("input_ids").clamp(max=99))
    with pytest.raises(ValueError, match="finds its places"):
        model(**given, inputs_embeds=embeddings)


def test_the_first_argument_is_the_main_one() -> None:
    assert MedBlipForConditionalGeneration.main_input_name == "input_ids"
    assert new_model().forward.__code__.co_varnames[1] == "input_ids"


def test_images_and_prompts_that_do_not_match_are_refused() -> None:
    model = new_model()
    given = prompts()
    with pytest.raises(ValueError, match="pass one volume for each that a prompt announces"):
        model(**given | {"pixel_values": given["pixel_values"][-1:]})
    twice = {name: torch.cat([given[name][:1]] * 2) for name in ("input_ids", "attention_mask")}
    with pytest.raises(ValueError, match="pass one volume for each that a prompt announces"):
        model(**twice, pixel_values=given["pixel_values"][:1])
    with torch.no_grad():
        out = model(**twice, pixel_values=given["pixel_values"][:1].repeat(2, 1, 1, 1, 1))
    assert len(out.logits) == 2


def test_a_cache_of_another_kind_of_model_is_an_error() -> None:
    with pytest.raises((ValueError, AttributeError, RuntimeError)):
        build("t5")(**inputs("t5"), past_key_values=DynamicCache(), use_cache=True)
