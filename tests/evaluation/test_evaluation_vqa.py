"""Questions of a study put to a trained run: scores, blind controls, interruption, the page."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from medblip.errors import InputError
from medblip.evaluation import vqa_answers
from medblip.evaluation.vqa_answers import Answered
from medblip.evaluation.vqa_evaluate import (
    QUESTION_ANSWERS_FILE,
    QUESTION_RESULTS_FILE,
    QuestionEvaluation,
    evaluate_questions,
)
from medblip.evaluation.vqa_scores import CLOSED, OPEN, said_in_full, score_condition
from medblip.evaluation.vqa_shown import ScannedSession, Scans, images_of, shown_of, spread
from medblip.notice import RESEARCH_USE, SIMULATED_DATA
from medblip.training.run import train
from medblip.vqa.question_file import QUESTIONS_FILE
from medblip.vqa.questions import Question, SessionImage
from vqa.asked_maker import write_about

sys.path.append(str(Path(__file__).parent.parent / "training"))
from tiny_run import TinyRun, make_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> TinyRun:
    """A finished training of two steps on every form of question."""
    short = {"steps": 2, "evaluate_every": 2, "patience": None}
    made = make_run(tmp_path_factory.mktemp("run"), questions="vqa", itc_answer=0, **short)
    recipe = made.recipe.model_copy(
        update={"align": made.recipe.align.model_copy(update={"steps": 0})}
    )
    write_about(made.study)
    train(recipe, made.study, made.root / "out", **made.places, progress=False)
    return replace(made, recipe=recipe)


@pytest.fixture(autouse=True)
def short_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vqa_answers, "MAX_NEW_TOKENS", {True: 3, False: 3})


@pytest.fixture(scope="module")
def evaluation(run: TinyRun) -> QuestionEvaluation:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vqa_answers, "MAX_NEW_TOKENS", {True: 3, False: 3})
        return evaluate_questions(run.root / "out", run.study, **run.places, progress=False)


def test_every_test_question_is_scored_under_every_condition(
    run: TinyRun, evaluation: QuestionEvaluation
) -> None:
    split = evaluation.splits["test"]
    sessions = len(run.study.examples("test"))
    assert len(split.questions) == 8 * sessions  # of a dialogue, each of its three turns
    assert list(split.scores) == ["full", "no_image", "other_image", "blank_image"]
    groups = split.scores["full"].groups
    assert groups[CLOSED].n == 4 * sessions and groups[OPEN].n == 2 * sessions
    assert groups["size"].chance == pytest.approx(1 / 3)
    assert groups["dialogue"].chance is None
    assert split.scores["full"].n_pairs == sessions
    assert split.scores["full"].refusals.n_unanswerable == 2 * sessions
    assert split.scores["full"].groups["size"].against_full is None
    assert split.scores["no_image"].groups["size"].against_full is not None


def test_results_are_written_with_their_notices(
    run: TinyRun, evaluation: QuestionEvaluation
) -> None:
    written = json.loads((run.root / "out" / QUESTION_RESULTS_FILE).read_text())
    assert written == json.loads(json.dumps(evaluation.as_dict()))
    assert written["notice"] == RESEARCH_USE and written["simulated"] == SIMULATED_DATA
    rows = (run.root / "out" / QUESTION_ANSWERS_FILE).read_text("utf-8").splitlines()
    assert len(rows) == 1 + sum(len(split.questions) for split in evaluation.splits.values())


def test_an_interrupted_evaluation_asks_only_what_is_left(
    run: TinyRun, evaluation: QuestionEvaluation, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    ask = vqa_answers.reply
    monkeypatch.setattr(
        vqa_answers, "reply", lambda *a, **k: asked.append(len(a[1])) or ask(*a, **k)
    )
    file = run.root / "out" / "scores" / "questions.test.full.jsonl"
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(lines[:-3]) + lines[-3][:20])  # killed while it wrote
    again = evaluate_questions(run.root / "out", run.study, **run.places, progress=False)
    assert sum(asked) == 3
    assert again.as_dict() == evaluation.as_dict()


def test_without_an_image_each_prompt_is_put_once(run: TinyRun) -> None:
    lines = (run.root / "out" / "scores" / "questions.test.no_image.jsonl").read_text().splitlines()
    # Three orders of the sizes, two each of yes/no and no/yes after three beginnings, ...
    assert len(lines) < 30
    full = (run.root / "out" / "scores" / "questions.test.full.jsonl").read_text().splitlines()
    assert len(full) > 2 * len(lines)


def test_what_is_shown_follows_the_condition(run: TinyRun) -> None:
    examples = run.study.examples("test")
    sessions = [ScannedSession(e.participant_id, e.session_id, e.cube) for e in examples]
    other = images_of(sessions, "other_image")
    own = images_of(sessions, "full")
    assert all(other[key] != own[key] for key in own)
    assert set(images_of(sessions, "no_image").values()) == {""}
    question = Question("q", SessionImage("a", "b"), "Which?", "k", "x", ("x", "y", "z"))
    rows = shown_of(question, Scans("i"))
    assert [row.answers[0] for row in rows] == ["x", "y", "z"]
    assert [row.generate for row in rows] == [True, False, False]
    assert [row.asked for row in shown_of(question, Scans("i"), choices=False)] == ["Which?"]
    assert shown_of(question, Scans("i"), choices=False)[0].answers == ("x", "y", "z")


def closed(name: str, kind: str, subject: str, **changed: object) -> Question:
    image = SessionImage(subject, "ses-1")
    values = {"answerable": True, "choices": ("yes", "no"), "answer": "yes"} | changed
    return Question(name, image, "Is it?", kind, **values)  # type: ignore[arg-type]


def answered(right: bool, said: str = "A") -> Answered:
    """As if ``yes`` or ``no`` were likelier wherever it stands."""
    first = [-1.0, -3.0] if right else [-3.0, -1.0]
    return Answered([first, first[::-1]], [[2, 2], [2, 2]], said)


def test_choices_that_are_not_shown_are_weighed_in_one_prompt() -> None:
    question = closed("1", "k", "s1", choices=("x", "y", "z"), answer="y")
    for scores, right in (([-3.0, -1.0, -2.0], 1.0), ([-1.0, -3.0, -2.0], 0.0)):
        found = score_condition([question], [Answered([scores], [[2, 2, 2]], "y")])
        assert found.groups[CLOSED].main.value == right
        assert found.groups[CLOSED].scores["one_order"].value == right


def test_scores_pairs_and_refusals_of_known_answers() -> None:
    questions = [
        closed("1a", "two-turn-topic", "s1"),
        closed("1b", "two-turn-topic", "s1"),
        closed("2a", "two-turn-topic", "s2"),
        closed("2b", "two-turn-topic", "s2"),
        closed("v1", "vain", "s1", answerable=False, answer="it cannot be shown",
               choices=("yes", "it cannot be shown")),
        closed("v2", "vain", "s2", answerable=False, answer="it cannot be shown",
               choices=("yes", "it cannot be shown")),
    ]  # fmt: skip
    right = [True, True, True, False, False, True]
    said = ["A. yes", "yes", "A", "B", "A", "b"]
    answers = [answered(r, s) for r, s in zip(right, said, strict=True)]
    scores = score_condition(questions, answers)
    assert scores.groups[CLOSED].main.value == 0.75  # without what no scan can show
    assert scores.groups[CLOSED].scores["strict"].value == 0.75
    assert scores.pairs is not None and scores.pairs.value == 0.5 and scores.n_pairs == 2
    assert scores.refusals.hallucinated == 0.5  # "A" is yes, "b" says that it cannot be shown
    assert said_in_full(questions[-1], "B.") == "it cannot be shown"
    blind = score_condition(questions, [answered(False)] * 6, scores)
    against = blind.groups[CLOSED].against_full
    assert against is not None and against.difference.value == -0.75
    assert (against.a_better, against.b_better) == (0, 2)


def test_intervals_are_over_subjects() -> None:
    """One subject with many questions has no interval to speak of."""
    many = [closed(f"q{n}", "k", "s1") for n in range(40)]
    alone = score_condition(many, [answered(n % 2 == 0) for n in range(40)]).groups["k"].main
    assert alone.low == alone.high == 0.5
    spread_out = [closed(f"q{n}", "k", f"s{n}") for n in range(40)]
    wide = score_condition(spread_out, [answered(n % 2 == 0) for n in range(40)]).groups["k"].main
    assert 0.25 < wide.low < 0.42 and 0.58 < wide.high < 0.75
    assert score_condition(spread_out, [answered(True)] * 40).groups["k"].at_chance is False


def test_a_sample_keeps_pairs_together() -> None:
    questions = [closed(f"{n}{side}", "two-turn-claim", "s") for n in range(30) for side in "ab"]
    questions += [closed(f"q{n}", "k", "s") for n in range(30)]
    kept = spread(questions, 10)
    assert len(kept) == 20
    stems = [q.id[:-1] for q in kept if q.kind == "two-turn-claim"]
    assert len(stems) == 10 and all(stems.count(stem) == 2 for stem in stems)
    assert np.ptp([int(q.id[1:]) for q in kept if q.kind == "k"]) >= 25
    assert spread(questions, None) == questions


def test_a_sample_keeps_the_answers_balanced() -> None:
    """In this order every other question, or every fourth, would be all of one answer."""
    questions = [closed(f"q{n}", "k", "s", answer="no" if n % 2 else "yes") for n in range(40)]
    order = [("yes", "no"), ("no", "yes")]
    questions += [
        closed(f"{n}{side}", "two-turn-claim", "s", answer=answer)
        for n in range(40)
        for side, answer in zip("ab", order[n % 2], strict=True)
    ]
    for most in (10, 20):
        kept = spread(questions, most)
        assert [q.answer for q in kept if q.kind == "k"].count("yes") == most // 2
        first = [q.answer for q in kept if q.id.endswith("a")]
        assert abs(first.count("yes") - first.count("no")) <= 1
        assert len({q.id[:-1] for q in kept if q.kind == "two-turn-claim"}) == most // 2
        places = [int(q.id[1:]) for q in kept if q.kind == "k"]
        assert max(np.diff(sorted(places[::2]))) <= 80 / most, "evenly over the file"


@pytest.mark.parametrize("fault", ["no file", "bad line", "nobody of the test split"])
def test_a_study_without_usable_questions_is_refused(run: TinyRun, fault: str) -> None:
    path = run.study.folder / QUESTIONS_FILE
    before = path.read_text()
    train_only = {e.participant_id for e in run.study.examples("train")}
    rows = [
        line for line in before.splitlines() if json.loads(line)["participant_id"] in train_only
    ]
    try:
        if fault == "no file":
            path.unlink()
        else:
            path.write_text(before + "{\n" if fault == "bad line" else "\n".join(rows) + "\n")
        with pytest.raises(InputError) as caught:
            evaluate_questions(run.root / "out", run.study, **run.places, progress=False)
    finally:
        path.write_text(before)
    assert caught.value.code in ("no-questions", "bad-questions")
