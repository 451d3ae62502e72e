"""Simulated questions: right by the truth, equally often each answer, nothing to learn blind."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vqa_maker import make_scans, split_scans

from medblip.errors import InputError
from medblip.vqa.balance import deal_equally
from medblip.vqa.blind import blind_scores, majority_of_template, template
from medblip.vqa.classes import CLASSES
from medblip.vqa.normal_for_age import class_of, fit_norms
from medblip.vqa.simulated import SimulatedQuestions, make_questions
from medblip.vqa.templates import CANNOT, UNANSWERABLE_KIND, WORDINGS

SCANS = [*make_scans(1500, sided=True), *make_scans(480, "SIM-Z", sided=True)]


@pytest.fixture(scope="module")
def made() -> SimulatedQuestions:
    return make_questions(SCANS, split_scans(SCANS))


def test_the_same_seed_gives_the_same_questions(made: SimulatedQuestions) -> None:
    splits = split_scans(SCANS)
    assert make_questions(list(reversed(SCANS)), splits) == made
    assert make_questions(SCANS, splits, seed=1).all != made.all


def test_no_subject_is_asked_about_in_two_splits(made: SimulatedQuestions) -> None:
    split_of = split_scans(SCANS).split_of()
    for split, questions in made.by_split.items():
        assert {split_of[q.image.participant_id] for q in questions} == {split}  # type: ignore[union-attr]
    assert len({q.id for q in made.all}) == len(made.all)


@pytest.mark.parametrize("split", ["train", "validation", "test", "zero_shot"])
def test_answers_are_equally_frequent(made: SimulatedQuestions, split: str) -> None:
    """In each kind, wording and place among the choices, in each split."""
    questions = [q for q in made.by_split[split] if q.answerable]  # type: ignore[index]
    assert {q.kind for q in questions} == set(WORDINGS)
    tables: dict[str, Counter[str]] = defaultdict(Counter)
    for question in questions:
        for key in (question.kind, template(question), f"{question.kind} {question.answer_index}"):
            tables[key][question.answer] += 1
    for key, counts in tables.items():
        assert len(counts) > 1
        assert len(set(counts.values())) == 1, (key, counts)


def test_answers_are_those_of_the_truth(made: SimulatedQuestions) -> None:
    scans = {f"{s.participant_id}:{s.session_id}": s for s in SCANS}
    for question in made.all:
        if not question.answerable:
            continue
        scan = scans[question.id.partition(":")[2]]
        group = CLASSES[question.kind](scan, made.norms)
        texts = {w.text.format(age=round(scan.age)): w for w in WORDINGS[question.kind]}
        assert group is not None
        assert question.answer == texts[question.text].answers[group]
    # And against a rule written anew, for the kind that takes the most steps.
    normals = [s for s in SCANS if s.diagnosis == "CN" and s.participant_id in TRAINED]
    fit = np.polynomial.Polynomial.fit(
        [s.age for s in normals], [s.mean_mm["ventricles"] for s in normals], 1
    )
    rest = [s.mean_mm["ventricles"] - fit(s.age) for s in normals]
    for question in made.all:
        if question.kind == "ventricles-for-age":
            scan = scans[question.id.partition(":")[2]]
            z = (scan.mean_mm["ventricles"] - fit(scan.age)) / np.std(rest)
            assert question.answer.startswith(
                "larger" if z > 0.5 else "smaller" if z < -0.5 else "as"
            )


TRAINED = set(split_scans(SCANS).subjects["train"])


def test_norms_come_from_training_scans_alone() -> None:
    splits = split_scans(SCANS)
    strange = [
        s if s.participant_id in TRAINED else replace(s, mean_mm=dict.fromkeys(s.mean_mm, 99.0))
        for s in SCANS
    ]
    assert make_questions(strange, splits).norms == make_questions(SCANS, splits).norms


def test_a_blind_model_scores_chance(made: SimulatedQuestions) -> None:
    """Luck is outside a 95% interval in one case of twenty, and never far outside."""
    outside = total = 0
    for split in ("test", "zero_shot"):
        scores = blind_scores(made.by_split["train"], made.by_split[split])  # type: ignore[index]
        assert set(scores) == {"all", *WORDINGS}
        for kind, listed in scores.items():
            for score in listed:
                outside, total = outside + (not score.at_chance), total + 1
                half = (score.high - score.low) / 2
                assert score.accuracy == pytest.approx(score.chance, abs=1.7 * half), (split, kind)
        assert {round(score.chance, 2) for score in scores["larger-for-age"]} == {0.5}
    assert outside / total <= 0.05 < total / 1000


def test_the_blind_strategies_find_what_is_there_to_find(made: SimulatedQuestions) -> None:
    """An unfair set is found out: by each strategy the fault that it is for."""
    train, test = (
        [q for q in made.by_split[s] if q.kind == "medial-temporal-grade"]
        for s in ("train", "test")
    )  # type: ignore[index]

    def accuracies(questions: list, asked: list) -> dict[str, float]:  # type: ignore[type-arg]
        return {s.strategy: s.accuracy for s in blind_scores(questions, asked)["all"]}

    severe = [q for q in test if q.answer == "severe"]
    assert accuracies([*train, *severe], severe)["majority of the wording"] == 1.0
    first = [replace(q, choices=(q.answer, *(c for c in q.choices if c != q.answer))) for q in test]
    assert accuracies(first, first)["majority position"] == 1.0
    assert accuracies(first, first)["bag of words"] == 1.0
    told = [replace(q, text=f"{q.text} It is {q.answer}.") for q in test]
    assert accuracies(told, told)["bag of words"] == 1.0
    long = [replace(q, answer="none at all", choices=("none at all", *q.choices[:3])) for q in test]
    assert accuracies(train, long)["longest choice"] == 1.0
    assert not blind_scores(told, told)["all"][-1].at_chance


def test_what_no_scan_shows_is_asked_too(made: SimulatedQuestions) -> None:
    vain = [q for q in made.by_split["test"] if q.kind == UNANSWERABLE_KIND]
    known = [q for q in made.by_split["test"] if q.kind != UNANSWERABLE_KIND]
    assert len(vain) == round(len(known) / len(WORDINGS))
    assert {q.answer for q in vain} == {CANNOT}
    assert {q.answerable for q in vain} == {False}
    places = Counter(q.answer_index for q in vain)
    assert set(places) == {0, 1, 2, 3}
    assert all(CANNOT not in q.choices for q in known)
    learned = [q for q in made.by_split["train"] if q.kind == UNANSWERABLE_KIND]
    assert set(majority_of_template(learned, vain)) == {CANNOT}  # so it is in no mean


def test_too_few_normals_are_refused() -> None:
    with pytest.raises(InputError) as caught:
        fit_norms(make_scans(30))
    assert caught.value.code == "too-few-normals"


def test_classes_leave_out_what_is_near_a_cut() -> None:
    cuts = (1.0, 2.0)
    values = (0.5, 0.95, 1.05, 1.5, 1.95, 2.5)
    assert [class_of(v, cuts, 0.1) for v in values] == [0, None, None, 1, None, 2]
    assert [class_of(v, cuts, 0.0) for v in values] == [0, 0, 1, 1, 1, 2]


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.lists(st.integers(0, 9), min_size=3, max_size=3), min_size=2, max_size=4),
    wordings=st.integers(1, 3),
    seed=st.integers(0, 5),
)
def test_cases_are_dealt_equally(sizes: list[list[int]], wordings: int, seed: int) -> None:
    cases = {
        group: [(stratum, (group, stratum, n)) for stratum, k in enumerate(row) for n in range(k)]
        for group, row in enumerate(sizes)
    }
    rng = np.random.default_rng(seed)
    dealt = list(deal_equally(cases, wordings, len(cases), rng))
    assert len({d.case for d in dealt}) == len(dealt)
    assert all(d.case[0] == d.group for d in dealt)
    seen = [
        Counter((d.case[1], d.wording, d.position) for d in dealt if d.group == g) for g in cases
    ]
    assert all(counter == seen[0] for counter in seen)
    most = sum(min(row[stratum] for row in sizes) for stratum in range(3))
    assert most - wordings * len(cases) < seen[0].total() <= most
