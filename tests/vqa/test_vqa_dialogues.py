"""Dialogues say what is true, and the two-turn cases need both the first turn and the scan."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from vqa_maker import make_scans

from medblip.errors import InputError
from medblip.vqa.blind import blind_scores
from medblip.vqa.dialogues import each_turn, make_dialogues, millimetres
from medblip.vqa.facts import agreement, facts_of
from medblip.vqa.normal_for_age import fit_norms
from medblip.vqa.question_file import read_questions, write_questions
from medblip.vqa.questions import Question
from medblip.vqa.refusals import is_refusal, refusal_rates
from medblip.vqa.templates import UNANSWERABLE
from medblip.vqa.two_turns import make_two_turns, pairs_right

TRAIN, TEST = make_scans(600), make_scans(300, seed=1)
NORMS = fit_norms(TRAIN)
DIALOGUES = list(make_dialogues(TEST, NORMS))


def test_dialogues_come_back_from_a_file(tmp_path: Path) -> None:
    write_questions(tmp_path / "d.jsonl", DIALOGUES)
    assert read_questions(tmp_path / "d.jsonl").questions == tuple(DIALOGUES)


def test_the_same_seed_gives_the_same_dialogues() -> None:
    assert list(make_dialogues(TEST, NORMS)) == DIALOGUES
    assert list(make_dialogues(TEST, NORMS, seed=1)) != DIALOGUES


def test_dialogues_vary_in_length_and_words() -> None:
    assert set(Counter(len(d.turns) + 1 for d in DIALOGUES)) == {2, 3, 4, 5, 6}
    openings = Counter(d.turns[0].question.replace(" years old", "")[:12] for d in DIALOGUES)
    assert len(openings) == 3


def test_numbers_in_the_answers_are_those_of_the_truth() -> None:
    for scan, dialogue in zip(TEST, DIALOGUES, strict=True):
        for turn in each_turn(dialogue):
            for fact in facts_of(turn.answer):
                if fact.kind == "mm":
                    region = fact.region.replace(" ", "_")
                    line = NORMS.lines[region]
                    true = (scan.mean_mm[region], line.at(scan.age), line.sd)
                    assert min(abs(fact.number - mm) for mm in true) <= 0.051
                elif fact.kind == "years":
                    assert fact.number == round(scan.age)
                elif fact.kind == "sd":
                    assert fact.number == pytest.approx(NORMS.deviation(scan, region), abs=0.051)


def test_comparisons_say_what_the_numbers_say() -> None:
    seen = Counter[str]()
    for dialogue in DIALOGUES:
        for turn in each_turn(dialogue):
            facts = facts_of(turn.answer)
            terms = {f.value for f in facts if f.kind == "term"} & {
                "larger",
                "smaller",
                "as expected",
            }
            if not terms:
                continue
            (term,) = terms
            here, usual = (f.number for f in facts if f.kind == "mm")
            if turn.answer.startswith("For"):
                here, usual = usual, here
            seen[term] += 1
            assert {"larger": here >= usual, "smaller": here <= usual}.get(term, True), turn.answer
    assert set(seen) == {"larger", "smaller", "as expected"}


def test_what_cannot_be_seen_is_refused_and_nothing_else_is() -> None:
    vain = {text for text, _ in UNANSWERABLE}
    asked = [turn for dialogue in DIALOGUES for turn in each_turn(dialogue)]
    assert all((turn.text in vain) == (not turn.answerable) for turn in asked)
    assert all(is_refusal(turn.answer) == (not turn.answerable) for turn in asked)
    rates = refusal_rates(asked, [turn.answer for turn in asked])
    assert (rates.hallucinated, rates.refused) == (0.0, 0.0)
    assert min(rates.n_unanswerable, rates.n_answerable) > 100


def test_each_turn_knows_the_turns_before_it() -> None:
    dialogue = max(DIALOGUES, key=lambda d: len(d.turns))
    turns = list(each_turn(dialogue))
    assert len(turns) == 6
    assert len({t.id for t in turns}) == 6
    assert [len(t.turns) for t in turns] == list(range(6))
    assert replace(turns[-1], id=dialogue.id) == dialogue


def test_true_answers_agree_with_themselves_and_not_with_others() -> None:
    turns = [t for d in DIALOGUES for t in each_turn(d) if t.answerable]
    assert all(agreement(t.answer, t.answer).exact for t in turns)
    by_text: dict[str, list[Question]] = defaultdict(list)
    for turn in turns:
        by_text[turn.text].append(turn)
    for asked in ("Measure the cortex.", "How much has the tissue of the ventricles changed?"):
        pairs = pairwise(by_text[asked])
        agree = [agreement(a.answer, b.answer).exact for a, b in pairs]
        assert len(agree) > 8
        assert sum(agree) / len(agree) < 0.5


def pairwise(questions: Sequence[Question]) -> list[tuple[Question, Question]]:
    return list(zip(questions[::2], questions[1::2], strict=False))


def test_nothing_is_minus_zero() -> None:
    assert [millimetres(v, "ventricles") for v in (-0.04, 0.0, -0.06, 2.149)] == [
        *("0.0 mm", "0.0 mm", "-0.1 mm", "2.1 mm"),
    ]
    assert [millimetres(v, "cortex") for v in (-0.004, 0.267)] == ["0.00 mm", "0.27 mm"]


# ------------------------------------------------------------------------ two-turn cases


@pytest.fixture(scope="module")
def cases() -> tuple[Question, ...]:
    return make_two_turns(TEST, NORMS)


def test_there_are_a_hundred_cases_in_pairs(cases: tuple[Question, ...]) -> None:
    assert len(cases) == len({q.id for q in cases}) == 100
    assert Counter(q.kind for q in cases) == {
        "two-turn-claim": 32,
        "two-turn-topic": 32,
        "two-turn-measure": 36,
    }
    for one, other in pairwise(cases):
        assert (one.image, one.text) == (other.image, other.text)
        assert one.turns != other.turns
        assert one.answer != other.answer


def test_without_the_first_turn_at_most_half_is_right(cases: tuple[Question, ...]) -> None:
    """Whoever forgets the first turn says the same twice, so even the best of them is at half."""
    best = []
    for one, other in pairwise(cases):
        says = (one.answer, other.answer)
        best.append(
            max(sum(agreement(word, q.answer).exact for q in (one, other)) for word in says)
        )
    assert sum(best) == len(cases) / 2
    right = [agreement(one.answer, q.answer).exact for one, o in pairwise(cases) for q in (one, o)]
    assert pairs_right(right) == 0.0
    assert pairs_right([True] * 100) == 1.0


def test_without_the_scan_yes_and_no_are_guessed(cases: tuple[Question, ...]) -> None:
    training = make_two_turns(TRAIN, NORMS, 240)
    for kind, scores in blind_scores(training, cases).items():
        for score in scores:
            assert score.at_chance, (kind, score)
    answers: dict[str, Counter[str]] = defaultdict(Counter)
    for case in cases:
        if case.kind == "two-turn-claim":
            claim = "".join(c for c in case.turns[0].question if not c.isdigit())
            answers[claim][case.answer] += 1
    assert len(answers) == 8
    assert all(counts["yes"] == counts["no"] == 2 for counts in answers.values())


def test_without_the_scan_few_measures_are_guessed(cases: tuple[Question, ...]) -> None:
    """Even by whoever knows the one answer that is nearest to most, for each first turn."""
    measures = [q for q in cases if q.kind == "two-turn-measure"]
    guessed = 0
    for name in ("ventricles", "medial temporal", "cortex"):
        asked = [q.answer for q in measures if name in q.turns[0].question]
        guessed += max(sum(agreement(said, true).exact for true in asked) for said in asked)
    assert 0 < guessed / len(measures) < 0.5


def test_claims_and_topics_follow_the_scan(cases: tuple[Question, ...]) -> None:
    scans = {s.participant_id: s for s in TEST}
    checked = 0
    for case in cases:
        scan = scans[case.image.participant_id]  # type: ignore[union-attr]
        said = case.turns[0].question
        if "skull" in said:
            there = scan.skull is ("removed" not in said)
            assert (case.answer == "yes") is there
            checked += 1
        elif case.kind == "two-turn-measure":
            region = next(r for r in scan.mean_mm if r.replace("_", " ") in said)
            assert case.answer.endswith(f"{millimetres(scan.mean_mm[region], region)} on average.")
            checked += 1
    assert checked == 8 + 16 + 36


def test_too_few_scans_are_refused() -> None:
    with pytest.raises(InputError) as caught:
        make_two_turns(TEST[:20], NORMS)
    assert caught.value.code == "too-few-scans"
