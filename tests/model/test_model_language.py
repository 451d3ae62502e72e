"""Prompts into each kind of language model: causality, the loss, batches, generation, misuse."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from tiny import (
    CAUSAL,
    LANGUAGES,
    PAD,
    QUERIES,
    build,
    language_tower,
    largest_difference,
    padded,
    prompt_rows,
    relative_difference,
    settings,
    stirred,
    text_config,
    training_batch,
    vision_config,
    vision_tower,
    vocabulary,
    volumes,
    with_answers,
)
from torch import Tensor

from medblip.model import MedBlipConfig, MedBlipForConditionalGeneration

TOLERANCE = 2e-4  # float32, relative to the largest logit; a leak is 1e-2 or more
GREEDY = {"max_new_tokens": 5, "min_new_tokens": 5, "do_sample": False}


def from_config(language: str) -> MedBlipForConditionalGeneration:
    config = MedBlipConfig(
        vision_config=vision_config(), text_config=text_config(language), **settings()
    )
    torch.manual_seed(3)
    return stirred(MedBlipForConditionalGeneration(config)).eval()


def from_loaded_configs(language: str) -> MedBlipForConditionalGeneration:
    """From the configuration objects of loaded towers, without handing over the towers."""
    towers = vision_tower(), language_tower(language)
    config = MedBlipConfig(
        vision_config=towers[0].config, text_config=towers[1].config, **settings()
    )
    return stirred(MedBlipForConditionalGeneration(config)).eval()


@pytest.mark.parametrize("make", [build, from_config, from_loaded_configs])
@pytest.mark.parametrize("language", CAUSAL)
def test_no_position_sees_the_answer_before_it(language: str, make: Any) -> None:
    """A lost causal mask once trained a model that read the answer it was asked for."""
    model = make(language)
    prompts = prompt_rows([6, 4])
    answers = [prompt_rows([3, 3], seed=seed, image=False) for seed in (1, 2)]
    with torch.no_grad():
        logits = [
            model(
                **padded([[*p, *a] for p, a in zip(prompts, answer, strict=True)]),
                pixel_values=volumes(2),
            ).logits
            for answer in answers
        ]
    assert torch.equal(logits[0][:, :-3], logits[1][:, :-3])
    assert largest_difference(logits[0][:, -3:], logits[1][:, -3:]) > 0.1


def test_the_encoder_of_t5_sees_the_whole_prompt_and_no_answer() -> None:
    model = build("t5")
    batch = with_answers(model, prompt_rows([5]), prompt_rows([3], seed=1, image=False))
    changed = batch | {"labels": batch["labels"].roll(1)}
    with torch.no_grad():
        states = [
            model(**b, pixel_values=volumes(1)).encoder_last_hidden_state for b in (batch, changed)
        ]
        other = batch | {"input_ids": torch.cat([batch["input_ids"][:, :-1], PROMPT_END], 1)}
        moved = model(**other, pixel_values=volumes(1)).encoder_last_hidden_state
    assert torch.equal(*states)
    assert largest_difference(states[0][:, 0], moved[:, 0]) > 1e-3


PROMPT_END = torch.tensor([[200]])


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_loss_is_that_of_the_answer_tokens_in_the_full_logits(language: str) -> None:
    model = build(language)
    batch = training_batch(model)
    image = {"pixel_values": batch["pixel_values"]}
    prompt = {name: batch[name] for name in ("input_ids", "attention_mask")}
    with torch.no_grad():
        loss = model(**prompt, **image, labels=batch["labels"]).language
        if language == "t5":
            full = model(**prompt, **image, labels=batch["labels"]).logits
            pairs = [
                (full[r, i], t) for r, row in enumerate(batch["labels"]) for i, t in enumerate(row)
            ]
        else:
            full = model(**prompt, **image).logits
            pairs = [
                (full[r, i - 1], t)
                for r, row in enumerate(batch["labels"])
                for i, t in enumerate(row)
            ]
    terms = [-logits.log_softmax(-1)[token] for logits, token in pairs if token != -100]
    assert len(terms) == 2 + 3 + 4  # the three answers
    assert float(loss) == pytest.approx(float(torch.stack(terms).mean()), rel=1e-4)


@pytest.mark.parametrize("language", LANGUAGES)
def test_padding_and_company_do_not_change_the_logits(language: str) -> None:
    model = build(language, skip_background=True)  # so image tokens are padded as well
    prompts, answers = prompt_rows([9, 4, 6]), prompt_rows([2, 2, 2], seed=1, image=False)
    pixels = volumes(3)
    with torch.no_grad():
        together = model(**with_answers(model, prompts, answers), pixel_values=pixels).logits
        for row in range(3):
            one = slice(row, row + 1)
            alone = model(
                **with_answers(model, prompts[one], answers[one]), pixel_values=pixels[one]
            ).logits
            difference = relative_difference(together[one], alone)
            assert difference <= TOLERANCE, f"row {row}: largest difference {difference}"


@pytest.mark.parametrize("language", LANGUAGES)
def test_generating_together_is_generating_alone(language: str) -> None:
    model = build(language)
    prompts, pixels = prompt_rows([9, 4, 6]), volumes(3)
    together = model.generate(**padded(prompts), pixel_values=pixels, **GREEDY)
    rows = [
        model.generate(**padded(prompts[i : i + 1]), pixel_values=pixels[i : i + 1], **GREEDY)
        for i in range(3)
    ]
    assert torch.equal(together, torch.cat(rows))
    assert together.shape == (3, 5 + (language == "t5"))
    assert len({tuple(row) for row in together.tolist()}) > 1  # the prompts matter


@pytest.mark.parametrize("language", LANGUAGES)
def test_greedy_generation_follows_the_full_logits(language: str) -> None:
    model = build(language)
    prompts, pixels = prompt_rows([5]), volumes(1)
    generated = model.generate(**padded(prompts), pixel_values=pixels, **GREEDY)[0].tolist()
    answer = generated[1:] if language == "t5" else generated
    with torch.no_grad():
        logits = model(**with_answers(model, prompts, [answer]), pixel_values=pixels).logits[0]
    expected = logits[-len(answer) - (language != "t5") :].clone()
    expected[:, 1] = -torch.inf  # the end is held off by min_new_tokens
    assert expected.argmax(-1)[: len(answer)].tolist() == answer


@pytest.mark.parametrize("language", ["llama", "t5"])
def test_options_of_generate_reach_the_language_model(language: str) -> None:
    model = build(language)
    inputs = padded(prompt_rows([5])) | {"pixel_values": volumes(1)}
    beams = model.generate(**inputs, num_beams=3, num_return_sequences=3, **GREEDY)
    assert len({tuple(row) for row in beams.tolist()}) == 3
    drawn = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        drawn.append(
            model.generate(**inputs, max_new_tokens=8, do_sample=True, temperature=3.0).tolist()
        )
    assert drawn[0] == drawn[1] != drawn[2]


def test_prompts_with_and_without_an_image_share_a_batch() -> None:
    model = build()
    mixed = [prompt_rows([4], 0)[0], prompt_rows([9], 1, image=False)[0], prompt_rows([6], 2)[0]]
    pixels = volumes(2)
    with torch.no_grad():
        logits = model(**padded(mixed), pixel_values=pixels).logits
        last = [
            model(**padded([mixed[0]]), pixel_values=pixels[:1]).logits[0, -1],
            model(**padded([mixed[1]])).logits[0, -1],
            model(**padded([mixed[2]]), pixel_values=pixels[1:]).logits[0, -1],
        ]
    difference = relative_difference(logits[:, -1], torch.stack(last))
    assert difference <= TOLERANCE, f"largest difference {difference}"


@pytest.mark.parametrize(
    ("rows", "images"),
    [
        (prompt_rows([4, 5]), 1),  # an image was dropped
        (prompt_rows([4]), 2),  # an image too many
        (prompt_rows([4, 5]), 0),
        (prompt_rows([4], image=False), 1),
        # As many places as the images give, but not a whole prefix in each prompt.
        ([prompt_rows([4])[0][1:], [len(vocabulary()), *prompt_rows([4])[0]]], 2),
    ],
)
def test_images_and_placeholders_that_do_not_match_are_refused(
    rows: list[list[int]], images: int
) -> None:
    model = build()
    image = {"pixel_values": volumes(images)} if images else {}
    for call in (model, model.generate):
        with pytest.raises(ValueError, match=r"prefix positions, the images give \["):
            call(**padded(rows), **image)


@pytest.mark.parametrize("language", LANGUAGES)
def test_padding_may_be_an_id_outside_of_the_vocabulary(language: str) -> None:
    model = build(language)
    rows = prompt_rows([9, 4], image=False)
    with torch.no_grad():
        inside, outside = (
            model.prepare_prompt(**padded(rows, value)) for value in (PAD, len(vocabulary()) + 5)
        )
    real = inside[1].bool()
    assert torch.equal(inside[0][real], outside[0][real])


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_placeholder_is_no_token(language: str) -> None:
    model = build(language)
    assert model.config.image_token_id == len(vocabulary())
    assert model.config.image_token_id >= model.get_input_embeddings().num_embeddings
    assert model.config.image_token_id >= model.config.text_config.vocab_size


def test_the_prefix_lies_at_its_places_and_nowhere_else() -> None:
    model = build()
    batch = padded([[7, 8, *[len(vocabulary())] * QUERIES, 9], [5, 6]], value=PAD)
    prefix = torch.full((1, QUERIES, 32), 5.0)
    table = model.get_input_embeddings().weight
    found = model.embed_prompt(**batch, prefix=prefix)
    expected = torch.cat([table[[7, 8]], prefix[0], table[[9]]])
    assert torch.equal(found[0], expected)
    assert torch.equal(found[1, -2:], table[[5, 6]])


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_prefix_starts_at_the_size_of_the_token_embeddings(language: str) -> None:
    """BioGPT scales its embeddings by the root of its width; the table alone would mislead."""
    model = build(language)
    with torch.no_grad():
        words = model.get_input_embeddings()(torch.arange(len(vocabulary())))
        prefix = model.make_prefix(torch.randn(4, QUERIES, 32))
    assert float(prefix.std()) == pytest.approx(float(words.std()), rel=0.02)


def test_the_prefix_normalises_what_the_queries_say() -> None:
    model = build()
    states = torch.randn(2, QUERIES, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        projected = model.prefix_map(states)
        expected = F.layer_norm(projected, (32,)) * model.prefix_scale
        assert torch.equal(model.make_prefix(states), expected)


def cached_tokens(model: MedBlipForConditionalGeneration, pixels: Tensor) -> dict[str, Tensor]:
    with torch.no_grad():
        tokens, mask = model.encode_image(pixels)
    return {"image_tokens": tokens, "image_mask": mask}


@pytest.mark.parametrize("skip", [False, True])
def test_cached_image_tokens_stand_for_the_volumes(skip: bool) -> None:
    model = build(skip_background=skip)
    batch = training_batch(model)
    pixels = batch.pop("pixel_values")
    with torch.no_grad():
        direct = model(pixel_values=pixels, **batch)
        cached = model(**cached_tokens(model, pixels), **batch)
    for part in ("itc_record", "itc_answer", "language", "loss"):
        assert float(getattr(direct, part)) == float(getattr(cached, part))
