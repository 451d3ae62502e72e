"""Training on questions that compare two scans: what is shown, what is learned, and going on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from stage_inputs import example, stage, token_cache, write_cubes
from tiny import QUERIES, tokenizer, vocabulary
from tiny_run import TinyRun
from two_scans import make_two_scan_run, share_right, without_priors

from medblip.model.prompt import PromptBuilder
from medblip.study.record import RecordForm
from medblip.training.asked import AskedDataset, asked_items
from medblip.training.asked_validation import asked_validation, compared
from medblip.training.collating import Collator
from medblip.training.run import resume, train
from medblip.training.schedule import SHOWN
from medblip.training.stage_trainer import StageTrainer
from medblip.training.token_cache import LiveTokens
from medblip.vqa.priors import Visit
from medblip.vqa.questions import Question, SessionImage
from tiny_world import learned_bytes

IMAGE = len(vocabulary())  # the placeholder's id
PAIRS = 4  # subjects; the even cubes are their first scans, the odd ones their second
EXAMPLES = [
    example(n, participant_id=f"sub-{n // 2}", session_id=f"ses-{n % 2 + 1}")
    for n in range(2 * PAIRS)
]
VISITS = {
    SessionImage(e.participant_id, e.session_id): Visit(f"201{n % 2}-01-01", None, e.cube)
    for n, e in enumerate(EXAMPLES)
}


def questions() -> list[Question]:
    """Of each second scan one question that compares and one that does not."""
    made = []
    for number, later in enumerate(EXAMPLES[1::2]):
        image = SessionImage(later.participant_id, later.session_id)
        answer, choices = ("yes", "no")[number % 2], ("yes", "no")
        prior = SessionImage(later.participant_id, "ses-1")
        made.append(Question(f"a{number}", image, "Larger?", "size", answer, choices, prior=prior))
        made.append(Question(f"b{number}", image, "Is it large?", "size", answer, choices))
    return made


def asked(root: Path, images: LiveTokens | None = None, **values: object) -> AskedDataset:
    write_cubes(root / "cubes", 2 * PAIRS)
    items = asked_items(EXAMPLES, questions(), diagnosis=False, visits=VISITS)
    values = {"itc_answer": 0, "questions": "vqa", "token_dropout": 0, "token_noise": 0, **values}
    section = stage(**values)
    prompts = PromptBuilder(tokenizer(), IMAGE, QUERIES)
    return AskedDataset(items, RecordForm(), images or token_cache(root), prompts, section, seed=1)


def test_a_sample_holds_the_previous_scan_before_its_image(tmp_path: Path) -> None:
    samples = asked(tmp_path, without_image=0.25, blank_image=0.25)
    seen = set()
    for index in range(120):
        sample, draw = samples[index], samples.schedule[index]
        item = samples.items[draw.example]
        assert item.question is not None
        compares, shows = item.question.prior is not None, draw.shown != "record"
        seen.add((compares, draw.shown))
        assert ("previous" in sample) == (compares and shows)
        prefixes = QUERIES * shows * (1 + compares)
        assert sample["prompt"].tolist().count(IMAGE) == prefixes
        words = samples.texts.prompts.tokenizer.decode([i for i in sample["prompt"] if i != IMAGE])
        assert ("Previous scan:" in words) == (compares and shows)
        if not (compares and shows):
            continue
        earlier = VISITS[item.question.prior].cube  # type: ignore[index]
        blank = draw.shown == "blank"
        expected = samples.blank if blank else samples.cache.tokens(earlier)
        assert (sample["previous"] == expected).all()
        assert blank == (sample["previous"].shape == sample["image"].shape
                         and bool((sample["previous"] == sample["image"]).all()))  # fmt: skip
        assert sample["previous_seed"] != sample["seed"]
        assert samples[index]["previous_seed"] == sample["previous_seed"]
    assert len(seen) == 2 * 3


def test_both_scans_get_noise_of_their_own(tmp_path: Path) -> None:
    samples = asked(tmp_path, token_noise=1.0)
    index = next(i for i in range(50) if "previous" in samples[i])
    item = samples.items[samples.schedule[index].example]
    sample = samples[index]
    noise = [
        sample[name] - samples.cache.tokens(cube)
        for name, cube in (("image", item.example.cube), ("previous", item.previous))
    ]
    rows = min(map(len, noise))
    assert abs(np.corrcoef(noise[0][:rows].ravel(), noise[1][:rows].ravel())[0, 1]) < 0.2


def test_a_mixed_batch_lists_scans_in_the_order_of_its_prompts(tmp_path: Path) -> None:
    samples = asked(tmp_path, without_image=0.25, blank_image=0.2)
    rows = [samples[index] for index in range(16)]
    batch = Collator(0, False, samples.blank)(rows)
    listed = [row[name] for row in rows for name in ("previous", "image") if name in row]
    assert len(batch["image_tokens"]) == len(listed)
    for tokens, mask, scan in zip(batch["image_tokens"], batch["image_mask"], listed, strict=True):
        assert torch.equal(tokens[mask], torch.from_numpy(scan))
    held = (batch["input_ids"] == IMAGE).sum(1) // QUERIES
    assert held.sum() == len(listed) and {0, 1, 2} == set(held.tolist())
    last = (held[held > 0].cumsum(0) - 1).tolist()
    shown = [row for row in rows if "image" in row]
    pairs = [at for at, row in zip(last, shown, strict=True) if row["contrasted"]]
    assert batch["contrast_rows"].tolist() == pairs
    short = {n: v[:, -8:] for n, v in batch.items() if n.startswith(("record", "answer"))}
    out = samples.cache.model(**batch | short)  # type: ignore[misc]
    assert torch.isfinite(out.loss) and torch.isfinite(out.itc_record)


def test_volumes_and_their_seeds_are_listed_alike(tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    cache = token_cache(tmp_path)
    samples = asked(tmp_path, LiveTokens(cache.model, cache.cubes), itc_record=0)
    rows = [samples[index] for index in range(8)]
    batch = Collator(0, False, samples.blank)(rows)
    seeds = [row[name] for row in rows for name in ("previous_seed", "seed") if name in row]
    assert batch["seeds"].tolist() == seeds and len(batch["volumes"]) == len(seeds) > 8


def test_lengths_count_both_prefixes(tmp_path: Path) -> None:
    samples = asked(tmp_path, bucket=4, without_image=0.3)
    lengths = samples._lengths()
    for at, item in enumerate(samples.items):
        assert item.question is not None
        compares = bool(item.previous)
        both, record = (int(lengths[SHOWN.index(name), at]) for name in ("both", "record"))
        announced = len(samples.texts.prompts.scans(previous=compares))
        assert both - record == announced
        assert (announced > 2 * QUERIES) == compares


def test_the_look_at_held_out_subjects_compares_too(tmp_path: Path) -> None:
    write_cubes(tmp_path / "cubes", 2 * PAIRS)
    cache, listed = token_cache(tmp_path), questions()
    first = EXAMPLES[::2]
    looked_at = compared(first, EXAMPLES, listed)
    assert looked_at == [*first, *EXAMPLES[1::2]]
    assert compared(first[:1], EXAMPLES, listed) == EXAMPLES[:2]
    assert compared(first, EXAMPLES, [replace(q, prior=None) for q in listed]) == first
    rest = (RecordForm(), cache, PromptBuilder(tokenizer(), IMAGE, QUERIES), False)
    measured = {}
    for name, visits in (("own", VISITS), ("exchanged", exchanged())):
        look = asked_validation(looked_at, listed, *rest, visits)
        assert look is not None and len(look.examples) == PAIRS
        measured[name] = look.measure(cache.model)["validation_log_loss"]
    assert abs(measured["own"] - measured["exchanged"]) > 1e-3


def exchanged() -> dict[SessionImage, Visit]:
    """Each subject with the scans of the next."""
    keys = list(VISITS)
    return dict(zip(keys, [*list(VISITS.values())[2:], *list(VISITS.values())[:2]], strict=True))


LEARNING = {
    "steps": 60,
    "batch_size": 8,
    "micro_batch_size": None,
    "ema_decay": 0.0,
    "evaluate_every": 60,
    "save_every": 60,
    "patience": None,
    "without_image": 0.0,
    "learning_rate": 3e-3,
    "prefix_learning_rate": 1e-2,
    "lora_learning_rate": 1e-2,
}


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> TinyRun:
    made = make_two_scan_run(tmp_path_factory.mktemp("learned"), **LEARNING)
    train(made.recipe, made.study, made.root / "out", **made.places, progress=False)
    return made


def test_what_only_two_scans_tell_is_learned(learned: TinyRun, tmp_path: Path) -> None:
    assert share_right(learned, learned.root / "out") == 1.0
    without_priors(learned.study)  # the same scan with either answer
    train(learned.recipe, learned.study, tmp_path / "out", **learned.places, progress=False)
    assert share_right(learned, tmp_path / "out") == 0.5


class Killed(BaseException):
    """As kill -9: nothing catches it."""


@pytest.mark.usefixtures("code_stays")
def test_a_run_that_goes_on_ends_as_one_that_was_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With dropout, noise, a moving average, micro-batches and prompts without an image."""
    noise = {"token_noise": 0.3, "token_dropout": 0.5, "itc_record": 1.0}
    made = make_two_scan_run(tmp_path / "made", steps=6, patience=None, **noise)
    options = {**made.places, "progress": False}
    train(made.recipe, made.study, tmp_path / "whole", **options)
    real = StageTrainer.training_step

    def training_step(self: StageTrainer, *args: Any, **kwargs: Any) -> Any:
        if self.steps_done == 4:
            raise Killed
        return real(self, *args, **kwargs)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(StageTrainer, "training_step", training_step)
        train(made.recipe, made.study, tmp_path / "cut", **options)
    resume(tmp_path / "cut", progress=False)
    assert learned_bytes(tmp_path / "cut") == learned_bytes(tmp_path / "whole")
