"""Questions as training samples: the scan alone, one answer, choices in an order of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from stage_inputs import example, stage, token_cache, write_cubes
from tiny import tokenizer

from medblip.errors import InputError
from medblip.model.prompt import PromptBuilder
from medblip.recipe import Recipe
from medblip.study.labels import ANSWERS, QUESTION
from medblip.study.record import RecordForm
from medblip.training.asked import (
    Asked,
    AskedDataset,
    asked_items,
    is_contrasted,
    question_and_answer_of,
)
from medblip.training.asked_validation import asked_validation
from medblip.training.choice_validation import ChoiceValidation
from medblip.training.collating import Collator
from medblip.training.schedule import SHOWN
from medblip.vqa.questions import Question, SessionImage, VolumeFile
from medblip.vqa.study_questions import asked_about, by_session
from medblip.vqa.templates import CANNOT
from vqa.asked_maker import SIZES, questions_about

EXAMPLES = [example(number) for number in range(6)]
QUESTIONS = tuple(questions_about(EXAMPLES))


def asked(root: Path, *, diagnosis: bool = False, **values: object) -> AskedDataset:
    examples = write_cubes(root / "cubes", 6)
    items = asked_items(examples, QUESTIONS, diagnosis=diagnosis)
    prompts = PromptBuilder(tokenizer(), 300, 3)
    values = {"itc_answer": 0, "questions": "both" if diagnosis else "vqa", **values}
    return AskedDataset(items, RecordForm(), token_cache(root), prompts, stage(**values), seed=1)


def asked_without(root: Path) -> AskedDataset:
    """The same without `itc_choices`."""
    (root / "more").mkdir()
    return asked(root / "more")


def test_dialogues_are_unrolled_and_closed_cases_keep_their_turns() -> None:
    items = asked_items(EXAMPLES[:1], QUESTIONS, diagnosis=False)
    turns = [(q.kind, len(q.turns)) for item in items if (q := item.question)]
    assert turns == [
        ("size", 0),
        ("skull", 0),
        ("unanswerable", 0),
        ("dialogue", 0),
        ("dialogue", 1),
        ("dialogue", 2),
        ("two-turn-topic", 1),
        ("two-turn-topic", 1),
    ]
    unseen = {q.answer for item in items if (q := item.question) and not q.answerable}
    assert unseen == {CANNOT, "The scan cannot show it."}
    assert asked_items(EXAMPLES[:1], QUESTIONS, diagnosis=True)[0] == Asked(EXAMPLES[0])


def test_questions_about_no_training_session_are_refused() -> None:
    other = [example(9)]
    volume = Question("v", VolumeFile("a.npy"), "Which?", "plane", "axial")
    for questions in (QUESTIONS, (volume,)):
        with pytest.raises(InputError) as caught:
            asked_items(other, questions, diagnosis=True)
        assert caught.value.code == "no-questions"


@pytest.mark.parametrize(("share", "expected"), [(0.0, 0), (0.25, 150), (0.5, 300), (1.0, 600)])
def test_a_share_is_shown_with_choices_in_every_order_and_all_answered_in_words(
    share: float, expected: int
) -> None:
    question = next(q for q in QUESTIONS if q.kind == "size")
    orders, with_choices = set(), 0
    for seed in range(600):
        text, answer = question_and_answer_of(question, seed, share)
        assert (text, answer) == question_and_answer_of(question, seed, share)
        assert answer == question.answer
        if text == question.text:
            continue
        with_choices += 1
        listed = text.removeprefix(f"{question.text} Choices: ")
        assert f". {answer}" in listed
        orders.add(tuple(sorted(SIZES, key=listed.index)))
    deviation = (600 * share * (1 - share)) ** 0.5
    assert abs(with_choices - expected) <= 4 * deviation
    assert len(orders) == (6 if share else 0)


def test_the_prompt_holds_scan_and_turns_and_no_record(tmp_path: Path) -> None:
    shares = {"without_image": 0.25, "blank_image": 0.25, "without_record": 0.25}
    samples = asked(tmp_path, token_noise=0, token_dropout=0, **shares)
    builder = samples.texts.prompts
    for index in range(120):
        sample, draw = samples[index], samples.schedule[index]
        question = samples.items[draw.example].question
        assert question is not None
        text = builder.tokenizer.decode([i for i in sample["prompt"] if i != 300])
        assert "Age" not in text and "MMSE" not in text
        assert (300 in sample["prompt"]) == (draw.shown != "record")
        for turn in question.turns:
            assert f"Question: {turn.question} Answer: {turn.answer}" in text
        _, answer = question_and_answer_of(question, draw.seed, 0.5)
        assert sample["answer"].tolist() == builder.answer(answer)
        if draw.shown in ("both", "image"):
            image = question.image
            assert isinstance(image, SessionImage)
            cube = f"{image.participant_id.removeprefix('sub-')}.safetensors"
            assert (sample["image"] == samples.cache.tokens(cube)).all()
            record = builder.tokenizer.decode(sample["record"]).removesuffix("</s>")
            assert record == samples.form.text(samples.items[draw.example].example.fields)


def test_the_loss_stays_on_one_answer(tmp_path: Path) -> None:
    samples = asked(tmp_path, itc_record=0)
    rows = [samples[index] for index in range(16)]
    labels = Collator(0, False, samples.blank)(rows)["labels"]
    for row, sample in zip(labels, rows, strict=True):
        assert row[row != -100].tolist() == sample["answer"].tolist()


def test_diagnoses_are_drawn_as_often_as_all_questions(tmp_path: Path) -> None:
    samples = asked(tmp_path, diagnosis=True)
    builder = samples.texts.prompts
    draws = list(samples.schedule)
    diagnoses = [index for index, draw in enumerate(draws) if draw.example < 6]
    assert len(diagnoses) == len(draws) // 2
    for index in diagnoses[:20]:
        item, sample = samples.items[draws[index].example], samples[index]
        assert item.question is None
        assert sample["answer"].tolist() == builder.answer(ANSWERS[item.example.label])
        said = samples.form.text(item.example.fields)
        assert sample["prompt"].tolist() == builder.prompt(said, QUESTION).ids


def test_where_both_are_asked_the_diagnosis_alone_is_contrasted(tmp_path: Path) -> None:
    samples = asked(tmp_path, diagnosis=True, itc_answer=1, itc_choices=1)
    seen = set()
    for index in range(80):
        sample = samples[index]
        question = samples.items[samples.schedule[index].example].question
        assert sample["contrasted"] == (question is None)
        assert ("record" in sample) == (question is None)
        assert not (question is None and len(sample["choices"]))
        seen.add((question is None, len(sample["choices"]) > 0))
    assert seen == {(True, False), (False, True), (False, False)}


def test_lengths_are_those_of_the_longest_form(tmp_path: Path) -> None:
    samples = asked(tmp_path, bucket=4, without_image=0.3)
    lengths = samples._lengths()
    found = []
    for index in range(100):
        sample, draw = samples[index], samples.schedule[index]
        length = lengths[["record", "blank", "image", "both"].index(draw.shown), draw.example]
        found.append(length - len(sample["prompt"]) - len(sample["answer"]))
    # With its letter an answer is "A. " longer than without, which the lengths do not count.
    assert min(found) >= -3 and np.median(found) <= 25
    assert 0 in found or -3 in found


def test_a_stage_without_language_measures_choices_by_similarity(tmp_path: Path) -> None:
    examples = write_cubes(tmp_path / "cubes", 3)
    cache = token_cache(tmp_path)
    prompts = PromptBuilder(tokenizer(), cache.model.config.image_token_id, 3)
    asked_ones = [q for q in QUESTIONS if is_contrasted(q)]
    rest = (examples, asked_ones, RecordForm(), cache, prompts, False)
    look = asked_validation(*rest, kind=ChoiceValidation)
    assert look is not None
    width = cache.model.text_positions.embedding_dim
    cache.model.text_positions = torch.nn.Embedding(64, width)  # room for whole questions
    cache.model.eval()
    right = []
    for about, question in asked_about(examples, by_session(asked_ones)):
        tokens = torch.from_numpy(cache.tokens(about.cube))[None]
        scores = []
        for choice in question.choices:
            text = f"Question: {question.text} Answer: {choice}"
            ids = torch.tensor([prompts.contrast_text(text, 512)])
            with torch.no_grad():
                states = cache.model.query_image(tokens)
                _, image, words = cache.model.contrast_features(
                    states, [(ids, torch.ones_like(ids))]
                )
            scores.append(float((image[0] @ words[0]).max()))
        right.append(int(np.argmax(scores)) == question.answer_index)
    assert len(right) == 6
    assert look.measure(cache.model)["validation_accuracy"] == pytest.approx(np.mean(right))


@pytest.mark.parametrize("bucket", [0, 3])
def test_single_closed_questions_come_first(tmp_path: Path, bucket: int) -> None:
    samples = asked(tmp_path, closed_first=0.4, bucket=bucket)
    first = round(0.4 * samples.stage.steps) * samples.stage.batch_size
    questions = [item.question for item in samples.items]
    later = np.array([bool(q and (q.turns or not q.choices)) for q in questions])
    drawn = later[samples.schedule.examples]
    assert not drawn[:first].any()
    assert drawn[first:].mean() == pytest.approx(later.mean(), abs=0.1)


def test_choices_are_contrasted_of_single_closed_questions_that_a_scan_answers(
    tmp_path: Path,
) -> None:
    samples = asked(tmp_path, itc_choices=1, without_image=0.2, blank_image=0.2)
    builder = samples.texts.prompts
    for index in range(120):
        sample, draw = samples[index], samples.schedule[index]
        question = samples.items[draw.example].question
        assert question is not None
        if question.kind not in ("size", "skull") or draw.shown not in ("both", "image"):
            assert len(sample["choices"]) == 0
            continue
        said = [builder.tokenizer.decode(ids).removesuffix("</s>") for ids in sample["choices"]]
        expected = [f"Question: {question.text} Answer: {c}" for c in question.choices]
        assert said == expected
        assert question.choices[sample["right"]] == question.answer
    assert "choices" not in asked_without(tmp_path)[0]


def test_where_nothing_is_closed_all_is_asked_from_the_first_step(tmp_path: Path) -> None:
    examples = write_cubes(tmp_path / "cubes", 6)
    items = asked_items(examples, [q for q in QUESTIONS if not q.choices], diagnosis=False)
    prompts = PromptBuilder(tokenizer(), 300, 3)
    shape = stage(itc_answer=0, questions="vqa", closed_first=0.5)
    samples = AskedDataset(items, RecordForm(), token_cache(tmp_path), prompts, shape, seed=1)
    assert len(samples) == shape.steps * shape.batch_size


def test_without_choices_prompts_are_as_long_as_told(tmp_path: Path) -> None:
    samples = asked(tmp_path, bucket=4, choices_shown=0)
    lengths = samples._lengths()[SHOWN.index("both")]
    builder = samples.texts.prompts
    for index in range(60):
        sample, item = samples[index], samples.items[samples.schedule[index].example]
        assert item.question is not None
        assert "Choices:" not in builder.tokenizer.decode(sample["prompt"])
        told = lengths[samples.schedule[index].example]
        assert len(sample["prompt"]) + len(sample["answer"]) == told


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"questions": "vqa"}, "itc_answer must be 0 where questions is vqa"),
        ({"questions": "vqa", "itc_answer": 0, "language": 0}, "only the language loss"),
        ({"itc_choices": 1}, "set questions to vqa"),
        ({"questions": "all"}, "questions"),
    ],
)
def test_a_stage_that_cannot_learn_questions_is_refused(
    changed: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        Recipe.model_validate({"align": {"steps": 0}, "tune": {"steps": 5, **changed}})


def test_validation_asks_the_closed_questions_by_likelihood(tmp_path: Path) -> None:
    examples = write_cubes(tmp_path / "cubes", 3)
    cache = token_cache(tmp_path)
    prompts = PromptBuilder(tokenizer(), cache.model.config.image_token_id, 3)
    rest = (examples, QUESTIONS, RecordForm(), cache, prompts)
    look, both = (asked_validation(*rest, diagnosis) for diagnosis in (False, True))
    assert look is not None and both is not None
    assert (
        sum(map(len, look.asked.values())) == 3 * 4
    )  # what cannot be seen, and open ones, are out
    measured = look.measure(cache.model)
    assert measured["validation_accuracy"] * 12 == pytest.approx(
        round(measured["validation_accuracy"] * 12)
    )
    diagnosis = super(type(both), both).measure(cache.model)
    for name, value in both.measure(cache.model).items():
        assert value == pytest.approx((measured[name] + diagnosis[name]) / 2)
    plain = asked_validation(*rest, False, choices=False)
    assert plain is not None
    assert plain.measure(cache.model) != measured  # it reads other prompts
    open_ones = tuple(q for q in QUESTIONS if not q.choices)
    assert asked_validation(examples, open_ones, RecordForm(), cache, prompts, False) is None
