"""The samples of a stage: record and image by the sample's own seed, in any process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from stage_inputs import dataset, example, stage, token_cache, write_cubes
from torch.utils.data import DataLoader

from medblip.training.collating import Collator
from medblip.training.data import StageDataset
from medblip.training.field_dropout import FieldDropout, missing_rates
from medblip.training.token_cache import LiveTokens
from medblip.training.token_changes import change_tokens

FIELDS = ("age", "sex", "mmse")


def test_dropout_keeps_cls_and_noise_has_the_asked_size() -> None:
    tokens = np.arange(200 * 4, dtype=np.float32).reshape(200, 4)
    rng = np.random.default_rng(0)
    kept = change_tokens(tokens, stage(token_dropout=0.5, token_noise=0.0), rng)
    assert (kept[0] == tokens[0]).all()
    assert 70 < len(kept) < 130
    noisy = change_tokens(tokens, stage(token_dropout=0.0, token_noise=0.3), rng)
    assert (noisy - tokens).std() == pytest.approx(0.3 * tokens.std(), rel=0.1)


def test_fields_are_left_out_as_often_as_the_cohorts_lack_them() -> None:
    examples = [example(i) for i in range(10)]
    assert missing_rates(examples, FIELDS) == {"age": 0, "sex": 0, "mmse": 0.5}
    dropout = FieldDropout("cohorts", examples, FIELDS)
    left = [dropout.left({"age": "70", "sex": "F", "mmse": "27"}, seed) for seed in range(2000)]
    assert all({"age", "sex"} <= set(fields) for fields in left)
    # Four standard deviations are 0.045.
    assert np.mean(["mmse" in fields for fields in left]) == pytest.approx(0.5, abs=0.045)


def test_a_share_leaves_out_each_field_alike_and_a_complete_study_loses_none() -> None:
    whole = {"age": "70", "sex": "F", "mmse": "27"}
    dropout = FieldDropout(0.2, [], FIELDS)
    left = [dropout.left(whole, seed) for seed in range(2000)]
    for name in FIELDS:
        assert np.mean([name not in fields for fields in left]) == pytest.approx(0.2, abs=0.036)
    assert len({tuple(fields) for fields in left}) == 8  # independently of each other
    assert dropout.left(whole, 7) == dropout.left(whole, 7)
    complete = [example(i) for i in range(1, 10, 2)]
    assert FieldDropout("cohorts", complete, FIELDS).left(whole, 1) is whole
    assert FieldDropout(0.0, complete, FIELDS).left(whole, 1) is whole


def test_prompt_and_contrasted_text_say_the_same_record(tmp_path: Path) -> None:
    examples = write_cubes(tmp_path / "cubes", 6)
    cache = token_cache(tmp_path)
    samples = dataset(examples, cache, field_dropout=0.5)
    builder = samples.texts.prompts
    lengths = set()
    for index in range(40):
        sample, draw = samples[index], samples.schedule[index]
        record = builder.tokenizer.decode(sample["record"]).removesuffix("</s>")  # of no text
        fields = examples[draw.example].fields
        assert record == samples.form.text(samples.dropout.left(fields, draw.seed))
        assert record in builder.tokenizer.decode(sample["prompt"][len(builder.prefix) :])
        lengths.add(len(record))
    assert len(lengths) > 2


def test_a_sample_holds_what_is_shown(tmp_path: Path) -> None:
    examples = write_cubes(tmp_path / "cubes", 4)
    shares = {"without_image": 0.25, "blank_image": 0.25, "without_record": 0.25}
    samples = dataset(examples, token_cache(tmp_path), token_noise=0.0, token_dropout=0.0, **shares)
    text = samples.texts
    for index in range(60):
        sample, draw = samples[index], samples.schedule[index]
        assert ("image" in sample) is (draw.shown != "record")
        assert sample["contrasted"] is (draw.shown in ("both", "image"))
        assert ("record" in sample) is sample["contrasted"]
        if draw.shown == "blank":
            assert sample["image"] is samples.blank
        elif draw.shown != "record":
            expected = samples.cache.tokens(examples[draw.example].cube)
            assert (sample["image"] == expected).all()
        if draw.shown == "image":
            assert (sample["prompt"] == text.prompt("", True)).all()


def test_a_stage_sends_the_texts_of_its_losses(tmp_path: Path) -> None:
    examples = write_cubes(tmp_path / "cubes", 2)
    cache = token_cache(tmp_path)
    aligned = dataset(examples, cache, language=0)[0]
    assert "prompt" not in aligned and "record" in aligned
    told = dataset(examples, cache, itc_record=0, itc_answer=0)[0]
    assert "prompt" in told and "contrasted" not in told and "record" not in told


def test_each_distinct_text_is_tokenised_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    examples = write_cubes(tmp_path / "cubes", 3)
    samples = dataset(examples, token_cache(tmp_path))
    seen: list[str] = []
    tokenise = samples.texts.prompts.text_ids
    monkeypatch.setattr(
        samples.texts.prompts, "text_ids", lambda text: seen.append(text) or tokenise(text)
    )
    for index in range(30):
        samples[index]
    count = len(seen)
    records = {samples.form.text(e.fields) for e in examples}
    assert all(seen.count(record) == 2 for record in records)  # in the prompt, and contrasted
    for index in range(30, 400):
        samples[index]
    assert len(seen) == count


def test_lengths_are_those_of_the_samples(tmp_path: Path) -> None:
    examples = write_cubes(tmp_path / "cubes", 5)
    shares = {"without_image": 0.25, "blank_image": 0.25, "without_record": 0.25}
    samples = dataset(examples, token_cache(tmp_path), **shares)
    lengths = samples._lengths()
    schedule = samples.schedule
    for index in range(60):
        sample = samples[index]
        found = lengths[schedule.shown[index], schedule.examples[index]]
        expected = len(sample["prompt"]) + len(sample["answer"])
        # A question after no record starts without a space.
        assert abs(found - expected) <= 1
    aligned = dataset(examples, samples.cache, language=0)
    for index in range(5):
        assert aligned._lengths()[3, aligned.schedule[index].example] == len(
            aligned[index]["record"]
        )


def test_buckets_and_balance_reach_the_samples(tmp_path: Path) -> None:
    examples = write_cubes(tmp_path / "cubes", 6)
    cache = token_cache(tmp_path)

    def padding(samples: StageDataset) -> int:
        rows = [len(samples[i]["prompt"]) for i in range(len(samples))]
        batches = np.array(rows).reshape(-1, 8)
        return int((batches.max(1, keepdims=True) - batches).sum())

    shares = {"steps": 20, "without_image": 0.3, "without_record": 0.3}
    plain, sorted_ = (dataset(examples, cache, bucket=bucket, **shares) for bucket in (0, 10))
    assert padding(sorted_) < 0.5 * padding(plain)
    twice = [*examples, *examples[:1] * 20]
    balanced = dataset(twice, cache, balance="class")
    labels = [twice[draw.example].label for draw in balanced.schedule]
    assert max(labels.count(x) for x in set(labels)) - 400 // 3 <= 1


@pytest.mark.parametrize("form", ["tokens", "cubes"])
def test_worker_processes_make_the_same_batches(tmp_path: Path, form: str) -> None:
    examples = write_cubes(tmp_path / "cubes", 5)
    cache: LiveTokens = token_cache(tmp_path)
    changed: dict[str, Any] = {"steps": 3, "batch_size": 4, "field_dropout": 0.3}
    if form == "cubes":
        cache = LiveTokens(cache.model, cache.cubes)
        changed |= {"token_dropout": 0, "token_noise": 0}
    else:
        cache.fill([e.cube for e in examples], progress=False)  # type: ignore[attr-defined]
    samples = dataset(examples, cache, without_image=0.2, **changed)
    collate = Collator(0, False, samples.blank)
    batches = [
        list(DataLoader(samples, batch_size=4, collate_fn=collate, num_workers=workers))
        for workers in (0, 2)
    ]
    assert len(batches[0]) == 3
    for one, other in zip(*batches, strict=True):
        assert set(one) == set(other)
        assert all(torch.equal(one[name], other[name]) for name in one)
