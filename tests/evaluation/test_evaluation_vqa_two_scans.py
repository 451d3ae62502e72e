"""Questions that compare two scans put to a run: what each control shows; a dialogue about both."""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import QUERIES, build, tokenizer, volumes

from medblip.evaluation import conversation, vqa_answers
from medblip.evaluation.controls import BLANK_IMAGE, NO_IMAGE
from medblip.evaluation.conversation import Conversation
from medblip.evaluation.vqa_evaluate import QuestionEvaluation, evaluate_questions
from medblip.evaluation.vqa_shown import (
    OF_TWO_SCANS,
    QUESTION_CONDITIONS,
    QuestionCondition,
    ScannedSession,
    Scans,
    Shown,
    scans_of,
    shown_of,
)
from medblip.model.prompt import PromptBuilder
from medblip.training.run import train
from medblip.vqa.question_file import QUESTIONS_FILE, write_questions
from medblip.vqa.questions import Question, SessionImage
from medblip.vqa.study_questions import study_questions

sys.path.append(str(Path(__file__).parent.parent / "training"))
from tiny_run import TinyRun
from two_scans import make_two_scan_run

SHORT = {True: 3, False: 3}
SUBJECTS = ("a", "b", "c")
SESSIONS = [ScannedSession(name, "2", f"{name}-2") for name in SUBJECTS]
PRIORS = [ScannedSession(name, "1", f"{name}-1") for name in SUBJECTS]
COMPARING = [
    Question(name, SessionImage(name, "2"), "Larger?", "size", "yes", ("yes", "no"),
             prior=SessionImage(name, "1"))
    for name in SUBJECTS
]  # fmt: skip
PLAIN = [replace(question, id=f"{question.id}-plain", prior=None) for question in COMPARING]


def seen(condition: QuestionCondition) -> list[Scans]:
    return scans_of([*COMPARING, *PLAIN], SESSIONS, PRIORS, condition)


def test_what_is_shown_follows_the_condition() -> None:
    own = [Scans(f"{name}-2", f"{name}-1") for name in SUBJECTS]
    alone = [Scans(f"{name}-2") for name in SUBJECTS]
    assert seen("full") == [*own, *alone]
    assert seen("no_previous") == [*alone, *alone]
    assert seen("previous_alone") == [*(Scans(f"{name}-1") for name in SUBJECTS), *alone]
    assert seen("no_image") == [Scans(NO_IMAGE, NO_IMAGE)] * 3 + [Scans(NO_IMAGE)] * 3
    assert seen("blank_image") == [Scans(BLANK_IMAGE, BLANK_IMAGE)] * 3 + [Scans(BLANK_IMAGE)] * 3
    strange = seen("other_previous")
    assert [scans.image for scans in strange] == [scans.image for scans in seen("full")]
    assert strange[3:] == alone
    for name, scans in zip(SUBJECTS, strange, strict=False):
        assert scans.previous.endswith("-1") and not scans.previous.startswith(name)
    for name, scans in zip(SUBJECTS, seen("other_image"), strict=False):
        assert not scans.image.startswith(name) and not scans.previous.startswith(name)


def test_a_reply_about_one_scan_keeps_its_name() -> None:
    """Replies on disk are found by it: those of before there were two scans too."""
    (first, _) = shown_of(PLAIN[0], Scans("cube"))
    told = ["cube", "", "Larger? Choices: A. yes B. no", ["yes", "no"], True]
    assert first.key == hashlib.sha256(json.dumps(told).encode()).hexdigest()[:24]
    assert first.key != first._replace(previous="other").key
    assert Shown("i", "", "Which?", (), True).previous == ""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> TinyRun:
    short = {"steps": 2, "evaluate_every": 2, "save_every": 2, "patience": None}
    made = make_two_scan_run(tmp_path_factory.mktemp("run"), **short)
    listed = [replace(question, choices=("yes", "no")) for question in study_questions(made.study)]
    plain = [replace(q, id=f"{q.id}:plain", kind="plain", prior=None) for q in listed[::2]]
    write_questions(made.study.folder / QUESTIONS_FILE, [*listed, *plain])
    train(made.recipe, made.study, made.root / "out", **made.places, progress=False)
    return made


@pytest.fixture(scope="module")
def evaluation(run: TinyRun) -> QuestionEvaluation:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vqa_answers, "MAX_NEW_TOKENS", SHORT)
        return evaluate_questions(run.root / "out", run.study, **run.places, progress=False)


def test_the_controls_of_two_scans_are_scored_too(evaluation: QuestionEvaluation) -> None:
    split = evaluation.splits["test"]
    assert list(split.scores) == list(QUESTION_CONDITIONS)
    assert set(OF_TWO_SCANS) < set(split.scores)
    compared = [at for at, q in enumerate(split.questions) if q.prior]
    for condition in OF_TWO_SCANS:
        for at, (full, control) in enumerate(
            zip(split.answers["full"], split.answers[condition], strict=True)
        ):
            assert (full.log_likelihoods != control.log_likelihoods) == (at in compared)
    # The same scan with either answer: without the previous one half are right, whatever is said.
    assert split.scores["no_previous"].groups["brighter"].main.value == 0.5
    told = evaluation.as_dict()["splits"]["test"]["conditions"]["no_previous"]
    assert told["title"] == "Current scan alone" and told["groups"]["brighter"]["against_full"]


def test_an_evaluation_is_kept(
    run: TinyRun, evaluation: QuestionEvaluation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vqa_answers, "reply", lambda *a, **k: pytest.fail("asked again"))
    again = evaluate_questions(run.root / "out", run.study, **run.places, progress=False)
    assert again.as_dict() == evaluation.as_dict()


def test_a_study_without_comparisons_has_the_conditions_it_had(run: TinyRun) -> None:
    path = run.study.folder / QUESTIONS_FILE
    before = path.read_text("utf-8")
    plain = [q for q in study_questions(run.study) if q.prior is None]
    try:
        write_questions(path, plain)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(vqa_answers, "MAX_NEW_TOKENS", SHORT)
            scores = evaluate_questions(
                run.root / "out", run.study, **run.places, progress=False
            ).splits["test"].scores  # fmt: skip
    finally:
        path.write_text(before, "utf-8")
    assert list(scores) == ["full", "no_image", "other_image", "blank_image"]


class Processor:
    """The parts of a processor that a conversation uses."""

    def __init__(self, model: Any) -> None:
        self.tokenizer = tokenizer()
        image, encodes = model.config.image_token_id, model.config.is_encoder_decoder
        self.prompts = PromptBuilder(
            self.tokenizer, image, QUERIES, encoder_decoder=encodes, max_length=120
        )


@pytest.mark.parametrize("language", ["llama", "t5"])
def test_a_dialogue_about_two_scans(language: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each turn is what its whole prompt gives, and only what is new is read."""
    monkeypatch.setattr(conversation, "MAX_NEW_TOKENS", 5)
    model = build(language, skip_background=True)
    tokens, mask = model.encode_image(volumes(3)[1:])
    talk = Conversation(
        model,
        Processor(model),  # type: ignore[arg-type]
        tokens.detach(),
        image_mask=mask,
    )
    for number, question in enumerate(("Larger?", "And now?")):
        ids = talk.prompt_ids(question)
        assert ids.count(model.config.image_token_id) == 2 * QUERIES
        row = torch.tensor([ids])
        given = {"attention_mask": torch.ones_like(row), "pixel_values": volumes(3)[1:]}
        said = model.generate(row, **given, max_new_tokens=5, do_sample=False)[0]
        whole = talk.processor.tokenizer.decode(said, skip_special_tokens=True).strip()
        assert talk.say(question) == whole
        if language == "llama" and number:
            assert talk.tokens_read < len(ids) / 2
