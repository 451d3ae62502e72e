"""Two scans in one prompt: a prefix of its own for each; one scan alone is what it always was."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import (
    CAUSAL,
    END,
    LANGUAGES,
    PAD,
    QUERIES,
    based_model,
    build,
    head_scan,
    largest_difference,
    padded,
    prompt_rows,
    tokenizer,
    training_batch,
    volumes,
    with_answers,
)
from torch import Tensor

from medblip.errors import UsageError
from medblip.model import MedBlipForConditionalGeneration, MedBlipImageProcessor, MedBlipProcessor
from medblip.model.likelihood import score_answers
from medblip.model.pipeline_medblip import MedBlipPipeline
from medblip.model.prompt import PromptBuilder, PromptOrder
from medblip.model.replies import Ask, reply

ORDERS: tuple[PromptOrder, ...] = ("image_text_question", "question_image_text")
ANSWERS = ([5, 9, 7, END], [8, END], [11, 6, END])
IMAGE = prompt_rows([0])[0][0]


def builder(order: PromptOrder = "image_text_question", **options: Any) -> PromptBuilder:
    return PromptBuilder(tokenizer(), IMAGE, QUERIES, order, **options)


def rows_of(*scans: int) -> list[list[int]]:
    """Prompts of several lengths that announce so many scans each."""
    questions = ("Has it grown?", "Is it?", "Which is the larger one?")
    return [
        builder().prompt("", question, image=n > 0, previous=n > 1).ids
        for n, question in zip(scans, questions, strict=False)
    ]


@pytest.mark.parametrize("order", ORDERS)
def test_the_prompt_says_which_scan_is_which(order: PromptOrder) -> None:
    ids = builder(order).prompt("aged 71", "Has it grown?", previous=True).ids
    words, at = [], 0
    while at < len(ids):  # the text between the prefixes
        end = ids.index(IMAGE, at) if IMAGE in ids[at:] else len(ids)
        words.append(tokenizer().decode(ids[at:end]))
        at = end + QUERIES
    asked, answer = "Question: Has it grown?", " Answer:"
    assert words == {
        "image_text_question": ["Previous scan:", " Current scan:", f"aged 71 {asked}{answer}"],
        "question_image_text": [f"{asked} Previous scan:", " Current scan:", f"aged 71{answer}"],
    }[order]  # fmt: skip


@pytest.mark.parametrize("order", ORDERS)
def test_a_prompt_of_one_scan_is_what_it_was(order: PromptOrder) -> None:
    prompts = builder(order)
    for record in ("", "aged 71"):
        ids = prompts.prompt(record, "Which?").ids
        assert ids == prompts.prompt(record, "Which?", previous=False).ids
        assert ids.count(IMAGE) == QUERIES
        assert "scan" not in tokenizer().decode([i for i in ids if i != IMAGE])
    with pytest.raises(ValueError, match="a current one too"):
        prompts.prompt("", "Which?", image=False, previous=True)


def test_the_record_gives_way_to_both_prefixes() -> None:
    prompts = builder(max_length=80)
    made = prompts.prompt("a long record " * 20, "Which?", previous=True)
    assert len(made.ids) == 80 and made.ids.count(IMAGE) == 2 * QUERIES
    assert made.record_tokens_cut > 0


def by_hand(model: MedBlipForConditionalGeneration, ids: list[int], scans: Tensor) -> Tensor:
    """The prompt's embeddings, each scan encoded alone and put at its own places."""
    table = model.get_input_embeddings().weight
    places = [at for at, id_ in enumerate(ids) if id_ == IMAGE]
    embeddings = torch.stack([table[0 if id_ == IMAGE else id_] for id_ in ids])
    for number, scan in enumerate(scans):
        prefix = model.make_prefix(model.query_image(*model.encode_image(scan[None])))[0]
        for place, row in zip(places[number * QUERIES :], prefix, strict=False):
            embeddings[place] = row
    return embeddings


@torch.no_grad()
def test_each_scan_gives_its_own_prefix() -> None:
    model, scans = build("llama"), volumes(2)
    for n, announced, tolerance in ((1, scans[1:], 0.0), (2, scans, 1e-5)):
        ids = rows_of(n)[0]
        row = torch.tensor([ids])
        found = model.prepare_prompt(row, None, announced)[0][0]
        assert largest_difference(found, by_hand(model, ids, announced)) <= tolerance


@torch.no_grad()
@pytest.mark.parametrize("language", LANGUAGES)
def test_one_scan_gives_the_logits_of_the_language_model_alone(language: str) -> None:
    """Bit for bit what prefix and words give, as before there were two scans."""
    model, scan, ids = build(language), volumes(1), rows_of(1)[0]
    row = torch.tensor([ids])
    mask = torch.ones_like(row)
    prefix = model.make_prefix(model.query_image(*model.encode_image(scan)))
    embeddings = model.get_input_embeddings()(row.masked_fill(row == IMAGE, 0))
    embeddings[:, [i for i, id_ in enumerate(ids) if id_ == IMAGE]] = prefix
    if model.config.is_encoder_decoder:
        labels = torch.tensor([[5, 9, END]])
        plain = model.language_model(inputs_embeds=embeddings, attention_mask=mask, labels=labels)
        found = model(row, mask, labels, pixel_values=scan).logits
    else:
        plain = model.run_decoder(embeddings, mask)
        found = model(row, mask, pixel_values=scan).logits
    assert torch.equal(found, plain.logits)


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_order_of_the_scans_is_seen(language: str) -> None:
    model, scans = build(language), volumes(2)
    given = padded(rows_of(2))
    there = score_answers(model, ANSWERS, **given, pixel_values=scans)
    back = score_answers(model, ANSWERS, **given, pixel_values=scans.flip(0))
    assert largest_difference(there, back) > 0.05


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_mixed_batch_is_each_prompt_alone(language: str) -> None:
    """With two scans, one and none; scored, generated, and shared by many prompts."""
    model, scans = build(language), volumes(3)
    rows, own = rows_of(2, 0, 1), (scans[:2], None, scans[2:])
    together = score_answers(model, ANSWERS, **padded(rows), pixel_values=scans)
    short = {"max_new_tokens": 5, "do_sample": False, "pad_token_id": PAD}
    said = model.generate(**padded(rows), pixel_values=scans, **short)
    for number, (row, mine) in enumerate(zip(rows, own, strict=True)):
        alone = score_answers(model, ANSWERS, **padded([row]), pixel_values=mine)[0]
        assert torch.allclose(together[number], alone, rtol=1e-4, atol=2e-4)
        words = model.generate(**padded([row]), pixel_values=mine, **short)[0]
        assert said[number, : len(words)].tolist() == words.tolist()


@pytest.mark.parametrize("language", LANGUAGES)
def test_many_prompts_about_the_same_two_scans(language: str) -> None:
    model, scans = build(language, skip_background=True), volumes(3)[1:]  # of unequal tokens
    tokens, mask = model.encode_image(scans)
    asks = [
        Ask(builder().prompt("", question, previous=True).ids, ANSWERS, True)
        for question in ("Has it grown?", "Is it smaller now?", "Which?")
    ]
    replies = reply(model, asks, tokens.detach(), image_mask=mask, max_new_tokens=5)
    special = {END, getattr(model.config.text_config, "decoder_start_token_id", END)}
    for ask, found in zip(asks, replies, strict=True):
        given = {**padded([ask.ids]), "pixel_values": scans}
        alone = score_answers(model, ask.answers, **given)[0].tolist()
        assert found.scores == pytest.approx(alone, abs=2e-4)
        said = model.generate(**given, max_new_tokens=5, do_sample=False)[0].tolist()
        assert list(found.generated) == [token for token in said if token not in special]


@torch.no_grad()
@pytest.mark.parametrize("language", ["llama", "t5"])
def test_only_the_current_scan_is_contrasted(language: str) -> None:
    model = build(language)
    batch = training_batch(model)
    answers = prompt_rows([3, 4, 5], seed=1, image=False)
    mixed = batch | with_answers(model, rows_of(2, 1, 2), answers)
    before = volumes(2, seed=7)
    order = (before[0], batch["pixel_values"][0], batch["pixel_values"][1], before[1])
    scans = torch.stack([*order, batch["pixel_values"][2]])
    found, plain = model(**mixed | {"pixel_values": scans}), model(**batch)
    for name in ("itc_record", "itc_answer"):
        assert float(getattr(found, name)) == pytest.approx(float(getattr(plain, name)), rel=1e-5)
    assert found.query_states.shape[0] == 5 and torch.isfinite(found.loss)
    rows = torch.tensor([1, 2, 4])
    told = model(**mixed | {"pixel_values": scans, "contrast_rows": rows})
    assert torch.equal(told.loss, found.loss)


@pytest.mark.parametrize("language", ["llama", "t5"])
def test_both_scans_are_learned_from(language: str) -> None:
    model = build(language)
    batch = with_answers(model, rows_of(2), prompt_rows([3], seed=1, image=False))
    tokens = model.encode_image(volumes(2))[0].detach().requires_grad_()
    model(**batch, image_tokens=tokens).loss.backward()
    assert tokens.grad is not None
    assert (tokens.grad.abs().amax(dim=(1, 2)) > 0).all()


@pytest.mark.parametrize(
    ("scans", "images"), [((2,), 1), ((2, 1), 2), ((1, 1), 3), ((0,), 1), ((2,), 0)]
)
def test_scans_and_prompts_that_do_not_match_are_refused(
    scans: tuple[int, ...], images: int
) -> None:
    pixels = volumes(images) if images else None
    with pytest.raises(ValueError, match="pass one volume for each"):
        build()(**padded(rows_of(*scans)), pixel_values=pixels)


@torch.no_grad()
@pytest.mark.parametrize("language", ["llama", "t5"])
def test_a_checkpoint_keeps_its_form_and_its_numbers(language: str, tmp_path: Path) -> None:
    model = based_model(tmp_path, language)
    model.save_pretrained(tmp_path / "model")
    known = json.loads((tmp_path / "model" / "config.json").read_text("utf-8"))
    assert not [key for key in known if "prev" in key or "prior" in key]
    again = MedBlipForConditionalGeneration.from_pretrained(tmp_path / "model").eval()
    given = {**padded(rows_of(2, 1)), "pixel_values": volumes(3)}
    scores = [score_answers(m, ANSWERS, **given) for m in (model, again)]
    assert torch.equal(*scores)


def processor_of(model: MedBlipForConditionalGeneration) -> MedBlipProcessor:
    images = MedBlipImageProcessor({"size": 16})
    return MedBlipProcessor.for_model(model.config, images, tokenizer(), max_length=120)


def test_the_processor_takes_a_previous_scan_for_each_prompt() -> None:
    made = processor_of(build())
    first, second, third = (head_scan(seed) for seed in range(3))
    inputs = made([second, third], questions=["Has it grown?", "Which?"], previous=[first, None])
    alone = made.image_processor([first, second, third]).pixel_values
    assert torch.equal(inputs.pixel_values, alone)
    rows = [made.prompts.prompt("", "Has it grown?", previous=True).ids]
    rows += [made.prompts.prompt("", "Which?").ids]
    assert inputs.input_ids.tolist() == padded(rows)["input_ids"].tolist()
    plain = made([second], questions="Which?")
    same = made([second], questions="Which?", previous=[None])
    assert all(torch.equal(plain[name], same[name]) for name in plain)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"records": "aged 71", "previous": head_scan()}, "without a current one"),
        ({"volumes": [head_scan()] * 3, "previous": [head_scan()] * 2}, "previous: 2 for 3"),
    ],
)
def test_a_previous_scan_that_belongs_nowhere_is_refused(given: Any, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        processor_of(build())(**given)


@pytest.mark.parametrize("language", [CAUSAL[0], "t5"])
def test_the_pipeline_takes_a_previous_scan(language: str) -> None:
    model = build(language)
    pipe = MedBlipPipeline(model=model, processor=processor_of(model))
    first, second = head_scan(0), head_scan(5)
    asked = {"question": "Has it grown?", "max_new_tokens": 5}

    def said(volume: Any, previous: Any) -> str:
        inputs = pipe.processor(volume, questions="Has it grown?", previous=previous)
        return pipe.processor.batch_decode(model.generate(**inputs, max_new_tokens=5))[0]

    assert pipe(second, previous=first, **asked)["answer"] == said(second, first)
    listed = pipe([second, first], previous=[first, None], batch_size=2, **asked)
    assert [one["answer"] for one in listed] == [said(second, first), said(first, None)]
    row = {"volume": second, "previous": first}
    assert next(iter(pipe(iter([row]), **asked)))["answer"] == said(second, first)
    with pytest.raises(UsageError, match="without a current one"):
        pipe(record="aged 71", previous=first)
