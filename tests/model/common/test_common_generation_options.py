"""Options of ``generate``: streams, stops, caches, processors, settings; and those refused."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from common_inputs import KINDS, prompts
from tiny import LANGUAGES, PAD, build, language_tower, padded, prompt_rows, tokenizer, volumes
from torch import Tensor
from transformers import (
    DynamicCache,
    EncoderDecoderCache,
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    StaticCache,
    StoppingCriteria,
    StoppingCriteriaList,
    TextIteratorStreamer,
    TextStreamer,
    WatermarkingConfig,
)

from medblip.errors import UsageError

GREEDY: dict[str, Any] = {"max_new_tokens": 6, "min_new_tokens": 6, "do_sample": False}


def one() -> dict[str, Tensor]:
    return padded(prompt_rows([5])) | {"pixel_values": volumes(1)}


def new_tokens(generated: Tensor, language: str) -> Tensor:
    """Without the start token of an encoder-decoder model."""
    return generated[:, language == "t5" :]


class Kept(TextStreamer):
    """A stream whose text is kept instead of printed."""

    def __init__(self, **options: Any) -> None:
        super().__init__(tokenizer(), skip_special_tokens=True, **options)
        self.text = ""

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        self.text += text


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("skip_prompt", [False, True])
def test_the_stream_is_the_answer(language: str, skip_prompt: bool) -> None:
    model = build(language)
    stream = Kept(skip_prompt=skip_prompt)
    generated = model.generate(**one(), **GREEDY, streamer=stream)
    text = tokenizer().decode(generated[0], skip_special_tokens=True)
    assert stream.text.strip("\n") == text.strip("\n")


@pytest.mark.parametrize("language", KINDS)
def test_the_stream_can_be_read_while_it_comes(language: str) -> None:
    model = build(language)
    stream = TextIteratorStreamer(tokenizer(), skip_special_tokens=True, timeout=30)
    options = {**one(), **GREEDY, "streamer": stream}
    thread = threading.Thread(target=model.generate, kwargs=options)
    thread.start()
    pieces = list(stream)
    thread.join(timeout=30)
    generated = model.generate(**one(), **GREEDY)
    assert "".join(pieces) == tokenizer().decode(generated[0], skip_special_tokens=True)


class After(StoppingCriteria):
    """Stops every row once so many tokens are there."""

    def __init__(self, tokens: int) -> None:
        self.tokens = tokens

    def __call__(self, input_ids: Tensor, scores: Tensor, **_: Any) -> Tensor:
        return torch.full((len(input_ids),), input_ids.shape[1] >= self.tokens)


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_criterion_stops_it(language: str) -> None:
    model = build(language)
    criteria = StoppingCriteriaList([After(3)])  # which sees new tokens alone
    generated = model.generate(**prompts(), **GREEDY, stopping_criteria=criteria)
    assert generated.shape[1] == 3


@pytest.mark.parametrize("language", KINDS)
def test_a_text_stops_it(language: str) -> None:
    model = build(language)
    free = new_tokens(model.generate(**one(), **GREEDY), language)[0]
    stop = next(t for t in map(tokenizer().decode, free[1:].tolist()) if t.isprintable() and t)
    stopped = model.generate(**one(), **GREEDY, stop_strings=[stop], tokenizer=tokenizer())
    text = tokenizer().decode(new_tokens(stopped, language)[0])
    assert text.endswith(stop)
    assert stopped.shape[1] <= free.shape[0] + (language == "t5")
    assert text == tokenizer().decode(free[: new_tokens(stopped, language).shape[1]])


@pytest.mark.parametrize("language", KINDS)
def test_the_clock_stops_it(language: str) -> None:
    generated = build(language).generate(**one(), **GREEDY | {"max_new_tokens": 90}, max_time=0.0)
    assert new_tokens(generated, language).shape[1] < 90


@pytest.mark.parametrize("language", KINDS)
def test_settings_may_come_as_one_object_or_be_the_models_own(language: str) -> None:
    model = build(language)
    own = model.generation_config
    settings = GenerationConfig(
        max_new_tokens=3,
        min_new_tokens=3,
        num_beams=2,
        num_return_sequences=2,
        pad_token_id=PAD,
        eos_token_id=own.eos_token_id,
        decoder_start_token_id=own.decoder_start_token_id,
    )
    given = model.generate(**prompts(), generation_config=settings)
    assert new_tokens(given, language).shape == (6, 3)
    model.generation_config = settings
    assert model.language_model.generation_config is settings
    assert torch.equal(model.generate(**prompts()), given)


@pytest.mark.parametrize("language", KINDS)
def test_the_longest_length_counts_the_prompt_of_a_causal_model(language: str) -> None:
    model = build(language)
    length = prompts()["input_ids"].shape[1]
    generated = model.generate(**prompts(), max_length=length + 2, min_length=length + 2)
    assert generated.shape[1] == (length + 2 if language == "t5" else 2)


class Only(LogitsProcessor):
    """Leaves one token."""

    def __init__(self, token: int) -> None:
        self.token = token

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        left = torch.full_like(scores, -torch.inf)
        left[:, self.token] = 0
        return left


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_processor_of_ones_own_rules(language: str) -> None:
    generated = build(language).generate(
        **prompts(), **GREEDY, logits_processor=LogitsProcessorList([Only(42)])
    )
    assert (new_tokens(generated, language) == 42).all()


@pytest.mark.parametrize("language", KINDS)
def test_tokens_can_be_forbidden_forced_and_marked(language: str) -> None:
    model = build(language)
    free = model.generate(**one(), **GREEDY)
    token = int(new_tokens(free, language)[0, 0])
    forbidden = {
        "bad_words_ids": {"bad_words_ids": [[token]]},
        "suppress_tokens": {"suppress_tokens": [token]},
        "sequence_bias": {"sequence_bias": [[[token], -1e9]]},
    }
    for name, option in forbidden.items():
        found = model.generate(**one(), **GREEDY, **option)
        assert token not in new_tokens(found, language)[0].tolist(), name
    forced = model.generate(**one(), max_new_tokens=3, forced_eos_token_id=77)
    assert int(forced[0, -1]) == 77
    marked = model.generate(
        **one(),
        **GREEDY,
        watermarking_config=WatermarkingConfig(bias=50.0),
    )
    assert not torch.equal(marked, free)


@pytest.mark.filterwarnings("ignore:.*input_ids.*:UserWarning")
@pytest.mark.parametrize("language", KINDS)
def test_penalties_see_the_answer_alone(language: str) -> None:
    generated = build(language).generate(**prompts(), **GREEDY, no_repeat_ngram_size=1)
    for row in new_tokens(generated, language).tolist():
        assert len(set(row)) == len(row)


@pytest.mark.parametrize("language", LANGUAGES)
def test_each_kind_of_cache_gives_the_same(language: str) -> None:
    model = build(language)
    expected = model.generate(**prompts(), **GREEDY, use_cache=False)
    for kind in ("dynamic", "static"):
        out = model.generate(
            **prompts(), **GREEDY, cache_implementation=kind, return_dict_in_generate=True
        )
        assert torch.equal(out.sequences, expected), kind
        cache = out.past_key_values
        own = cache.self_attention_cache if language == "t5" else cache
        assert isinstance(own, StaticCache if kind == "static" else DynamicCache)
    empty: Any = DynamicCache(config=model.language_model.config)
    if language == "t5":
        empty = EncoderDecoderCache(DynamicCache(), DynamicCache())
    assert torch.equal(model.generate(**prompts(), **GREEDY, past_key_values=empty), expected)


def test_a_static_cache_is_as_long_as_what_it_will_hold() -> None:
    out = build().generate(
        **prompts(), **GREEDY, cache_implementation="static", return_dict_in_generate=True
    )
    length = prompts()["input_ids"].shape[1] + 6 - 1  # the last token is not read again
    assert {layer.keys.shape[2] for layer in out.past_key_values.layers} == {length}


def test_a_cache_that_needs_an_absent_package_says_which() -> None:
    with pytest.raises(ImportError, match="optimum-quanto"):
        build().generate(**prompts(), **GREEDY, cache_implementation="quantized")


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("option", ["max_new_token", "volumes", "num_beam", "pixel_value"])
def test_a_misspelled_option_is_an_error(language: str, option: str) -> None:
    with pytest.raises(ValueError, match=rf"not used by the model: \['{option}'\]"):
        build(language).generate(**prompts(), **{option: 4})


REFUSED = {
    "assistant_model": language_tower(seed=9),
    "guidance_scale": 1.5,
    "prefill_chunk_size": 4,
    "token_healing": True,
}


@pytest.mark.parametrize("language", KINDS)
@pytest.mark.parametrize("option", REFUSED)
def test_options_that_need_the_prompt_as_ids_are_refused(language: str, option: str) -> None:
    model = build(language)
    with pytest.raises(UsageError, match=f"`{option}` cannot apply") as caught:
        model.generate(**prompts(), **{option: REFUSED[option]})
    assert caught.value.code == "cannot-apply"
    if option != "assistant_model":
        with pytest.raises(UsageError, match=option):
            settings = GenerationConfig(**{option: REFUSED[option]})
            model.generate(**prompts(), generation_config=settings)
        setattr(model.generation_config, option, REFUSED[option])
        with pytest.raises(UsageError, match=option):
            model.generate(**prompts())
    off = {"guidance_scale": 1.0, "token_healing": False}.get(option)
    assert len(model.generate(**prompts(), **GREEDY, **{option: off})) == 3


def test_continuous_batching_is_refused() -> None:
    with pytest.raises(UsageError, match="no place for an image"):
        build().generate_batch([[5, 6, 7]])


def test_embeddings_beside_the_prompt_are_refused() -> None:
    with pytest.raises(TypeError, match="inputs_embeds"):
        build().generate(**prompts(), inputs_embeds=torch.zeros(3, 5, 32))


def test_settings_can_be_written_and_read(tmp_path: Path) -> None:
    model = build()
    model.generation_config.cache_implementation = "dynamic"
    model.generation_config.use_cache = None
    model.save_pretrained(tmp_path)
    assert GenerationConfig.from_pretrained(tmp_path).cache_implementation == "dynamic"
