"""Every way to generate: greedy, sampled, beams, looked up; with all that can be asked along."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
import torch
from common_inputs import KINDS, TOLERANCE, prompts
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
    vocabulary,
    volumes,
    with_answers,
)
from transformers import DynamicCache, EncoderDecoderCache, GenerationMixin
from transformers.generation import (
    GenerateBeamDecoderOnlyOutput,
    GenerateBeamEncoderDecoderOutput,
    GenerateDecoderOnlyOutput,
    GenerateEncoderDecoderOutput,
)

from medblip.model import MedBlipForConditionalGeneration

NEW = 4
PROMPT = QUERIES + 9
FIXED: dict[str, Any] = {"max_new_tokens": NEW, "min_new_tokens": NEW}
SAMPLED = {"do_sample": True, "top_k": 10, "top_p": 0.7, "temperature": 0.7}
METHODS: dict[str, dict[str, Any]] = {
    "greedy": {"do_sample": False},
    "sampled": SAMPLED,
    "sampled twice": {**SAMPLED, "num_return_sequences": 2},
    "beams": {"do_sample": False, "num_beams": 2, "length_penalty": 2.0},
    "both beams": {"do_sample": False, "num_beams": 2, "num_return_sequences": 2},
    "sampled beams": {**SAMPLED, "num_beams": 2},
}
EVERYTHING = {
    "return_dict_in_generate": True,
    "output_scores": True,
    "output_logits": True,
    "output_hidden_states": True,
    "output_attentions": True,
}


@pytest.mark.parametrize(
    ("language", "cached"),
    # transformers always keeps the cache of a causal model that was given embeddings
    [*((language, True) for language in KINDS), ("t5", False)],
)
@pytest.mark.parametrize("method", METHODS)
def test_every_method_gives_what_is_asked(language: str, method: str, cached: bool) -> None:
    model = build(language)
    model.set_attn_implementation("eager")
    options = METHODS[method]
    torch.manual_seed(0)
    plain = model.generate(**prompts(), **FIXED, **options, use_cache=cached)
    torch.manual_seed(0)
    out = model.generate(**prompts(), **FIXED, **options, **EVERYTHING, use_cache=cached)
    rows = 3 * options.get("num_return_sequences", 1)
    start = language == "t5"  # with the decoder's start token first
    assert out.sequences.shape == plain.shape == (rows, NEW + start)
    assert torch.equal(out.sequences, plain)
    assert (plain < len(vocabulary())).all()
    beams = options.get("num_beams", 1)
    assert type(out) is output_class(start, beams > 1)
    inner = 3 * beams if beams > 1 else rows
    for what in ("scores", "logits"):
        assert [s.shape for s in out[what]] == [(inner, len(vocabulary()))] * NEW
    check_states(out, inner, 1 if start else PROMPT, cached, "decoder_" if start else "")
    if start:
        assert {tuple(h.shape) for h in out.encoder_hidden_states} == {(3, PROMPT, WIDTH)}
    assert isinstance(out.past_key_values, DynamicCache | EncoderDecoderCache) == cached


def output_class(encoder_decoder: bool, beams: bool) -> type:
    if encoder_decoder:
        return GenerateBeamEncoderDecoderOutput if beams else GenerateEncoderDecoderOutput
    return GenerateBeamDecoderOnlyOutput if beams else GenerateDecoderOnlyOutput


def check_states(out: Any, rows: int, prompt: int, cached: bool, side: str) -> None:
    """One entry a step, one tensor a layer; with a cache only the new token after the first."""
    states, attentions = out[f"{side}hidden_states"], out[f"{side}attentions"]
    assert len(states) == len(attentions) == NEW
    for step in range(NEW):
        fed = 1 if cached and step else prompt + step
        assert [s.shape for s in states[step]] == [(rows, fed, WIDTH)] * (LAYERS + 1)
        seen = (rows, HEADS, fed, prompt + step)
        assert [tuple(a.shape) for a in attentions[step]] == [seen] * LAYERS


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_cache_changes_nothing(language: str) -> None:
    """Each step's logits against one pass over prompt and answer without a cache."""
    model = build(language)
    options = {"do_sample": False, "return_dict_in_generate": True, "output_logits": True}
    out = model.generate(**prompts(), **FIXED, **options)
    rows = [[*r] for r in prompt_rows([9, 4, 6])]
    if language == "t5":
        whole = prompts() | {"decoder_input_ids": out.sequences[:, :-1]}
    else:
        answers = out.sequences[:, :-1].tolist()
        ids = padded([[*r, *a] for r, a in zip(rows, answers, strict=True)])
        whole = ids | {"pixel_values": volumes(3)}
    with torch.no_grad():
        expected = model(**whole, use_cache=False).logits[:, -NEW:]
    difference = relative_difference(torch.stack(out.logits, dim=1), expected)
    assert difference <= TOLERANCE, f"largest difference {difference}"


@pytest.mark.parametrize("method", ["greedy", "beams"])
@pytest.mark.parametrize("language", LANGUAGES)
def test_prompts_of_several_lengths_are_answered_as_alone(language: str, method: str) -> None:
    model = build(language)
    rows, pixels = prompt_rows([9, 4, 6]), volumes(3)
    options = FIXED | METHODS[method]
    together = model.generate(**padded(rows), pixel_values=pixels, **options)
    alone = [
        model.generate(**padded(rows[i : i + 1]), pixel_values=pixels[i : i + 1], **options)
        for i in range(3)
    ]
    assert torch.equal(together, torch.cat(alone))


@pytest.mark.parametrize("language", LANGUAGES)
def test_padding_on_the_left_changes_no_logit(language: str) -> None:
    model = build(language)
    rows = prompt_rows([5])
    answers = prompt_rows([2], seed=1, image=False)
    given = with_answers(model, rows, answers)
    ids, mask = given["input_ids"], given["attention_mask"]
    wide = {
        "input_ids": torch.cat([torch.zeros(1, 32, dtype=ids.dtype), ids], dim=1),
        "attention_mask": torch.cat([torch.zeros(1, 32, dtype=mask.dtype), mask], dim=1),
    }
    answer = {"decoder_input_ids": torch.tensor([[0, 9]])} if language == "t5" else {}
    with torch.no_grad():
        narrow = model(input_ids=ids, attention_mask=mask, pixel_values=volumes(1), **answer)
        padded_out = model(**wide, pixel_values=volumes(1), **answer)
    difference = relative_difference(padded_out.logits[:, -1], narrow.logits[:, -1])
    assert difference <= TOLERANCE, f"largest difference {difference}"


@pytest.mark.parametrize("language", LANGUAGES)
def test_sampling_follows_the_seed(language: str) -> None:
    model = build(language)
    drawn = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        drawn.append(
            model.generate(**prompts(), max_new_tokens=8, do_sample=True, temperature=3.0).tolist()
        )
    assert drawn[0] == drawn[1] != drawn[2]


@pytest.mark.parametrize("language", KINDS)
def test_beams_find_an_answer_at_least_as_likely(language: str) -> None:
    model = build(language)
    likelihood = []
    for beams in (1, 4):
        out = model.generate(
            **prompts(),
            max_new_tokens=NEW,
            eos_token_id=-1,
            do_sample=False,
            num_beams=beams,
            length_penalty=0.0,
            return_dict_in_generate=True,
            output_scores=True,
        )
        scores = model.compute_transition_scores(
            out.sequences,
            out.scores,
            getattr(out, "beam_indices", None),
            normalize_logits=beams == 1,
        )
        likelihood.append(scores.sum(1))
    assert (likelihood[1] >= likelihood[0] - 1e-3).all()


@pytest.mark.parametrize("language", LANGUAGES)
def test_looked_up_candidates_change_nothing(language: str) -> None:
    model = build(language)
    given = padded(prompt_rows([5])) | {"pixel_values": volumes(1)}
    options = {"max_new_tokens": 12, "min_new_tokens": 12, "do_sample": False}
    expected = model.generate(**given, **options)
    found = model.generate(**given, **options, prompt_lookup_num_tokens=2)
    assert torch.equal(found, expected)


@pytest.mark.parametrize("language", CAUSAL)
def test_generation_goes_on_from_a_cache(language: str) -> None:
    model = build(language)
    rows = prompt_rows([6, 6])
    given = padded(rows) | {"pixel_values": volumes(2)}
    options = {"do_sample": False, "eos_token_id": -1, "return_dict_in_generate": True}
    whole = model.generate(**given, **options, max_new_tokens=4)
    start = model.generate(**given, **options, max_new_tokens=3)
    longer = padded([[*r, *new] for r, new in zip(rows, start.sequences.tolist(), strict=True)])
    rest = model.generate(
        **longer,
        pixel_values=volumes(2),
        **options,
        max_new_tokens=1,
        past_key_values=start.past_key_values,
    )
    assert torch.equal(torch.cat([start.sequences, rest.sequences], dim=1), whole.sequences)


@pytest.mark.parametrize("language", CAUSAL)
def test_positions_may_be_given_and_are_else_counted(language: str) -> None:
    model = build(language)
    given = prompts()
    places = (given["attention_mask"].cumsum(1) - 1).clamp(min=0)
    counted = model.generate(**given, **FIXED, do_sample=False)
    if "position_ids" not in inspect.signature(model.language_model.forward).parameters:
        pytest.skip("this language model counts positions itself")
    told = model.generate(**given, **FIXED, do_sample=False, position_ids=places)
    assert torch.equal(counted, told)


def test_logits_of_the_whole_prompt_give_the_same_answer() -> None:
    model = build()
    every = model.generate(**prompts(), **FIXED, do_sample=False, logits_to_keep=0)
    assert torch.equal(every, model.generate(**prompts(), **FIXED, do_sample=False))


def test_the_model_says_that_it_generates() -> None:
    assert issubclass(MedBlipForConditionalGeneration, GenerationMixin)
    assert MedBlipForConditionalGeneration.can_generate()
