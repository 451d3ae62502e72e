"""Questions about sides, the most affected region and counts: true, balanced, nothing blind."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from vqa_maker import make_scans, mirrored, split_scans

from medblip.vqa.blind import blind_scores
from medblip.vqa.classes import CLASSES
from medblip.vqa.dialogues import each_turn, make_dialogues
from medblip.vqa.facts import agreement, facts_of
from medblip.vqa.ground_truth import REGIONS
from medblip.vqa.questions import Question
from medblip.vqa.simulated import make_questions
from medblip.vqa.templates import COUNTS, MOST_AFFECTED, SIDES
from medblip.vqa.two_turns import make_two_turns

SCANS = make_scans(900, sided=True)
MADE = make_questions(SCANS, split_scans(SCANS))
NORMS = MADE.norms
BY_ID = {f"{s.participant_id}:{s.session_id}": s for s in SCANS}
OF_SIDES = ("medial-temporal-side", "ventricle-side")
LEFT_MORE = ("left-medial-temporal-more", "left-ventricle-more")
OF_REGIONS = ("most-affected-region", "regions-affected")


def asked(kind: str) -> list[Question]:
    found = [q for q in MADE.all if q.kind == kind]
    assert len(found) > 30
    return found


@pytest.mark.parametrize(
    ("kind", "region"), list(zip(OF_SIDES, ("medial_temporal", "ventricles"), strict=True))
)
def test_the_side_is_that_of_the_larger_number(kind: str, region: str) -> None:
    gaps: dict[str, list[float]] = {side: [] for side in SIDES}
    for question in asked(kind):
        sides = BY_ID[question.id.partition(":")[2]].sides_mm[region]
        gaps[question.answer].append(sides.left - sides.right)
    assert max(gaps["right"]) < min(gaps["about the same"]) < 0
    assert 0 < max(gaps["about the same"]) < min(gaps["left"])
    # Between the answers nobody is asked about.
    spread = float(np.std([s.sides_mm[region].left - s.sides_mm[region].right for s in SCANS]))
    assert min(gaps["left"]) - max(gaps["about the same"]) > 0.3 * spread


@pytest.mark.parametrize("kind", LEFT_MORE)
def test_yes_means_the_side_that_is_named_first(kind: str) -> None:
    region = "ventricles" if "ventricle" in kind else "medial_temporal"
    for question in asked(kind):
        sides = BY_ID[question.id.partition(":")[2]].sides_mm[region]
        named_first = "left" if question.text.startswith("Is the left") else "right"
        stronger = "left" if sides.left > sides.right else "right"
        assert question.answer == ("yes" if named_first == stronger else "no")


def test_a_mirrored_scan_has_the_other_side() -> None:
    for scan in SCANS[:300]:
        for kind in (*OF_SIDES, *LEFT_MORE):
            classes = [CLASSES[kind](s, NORMS) for s in (scan, mirrored(scan))]
            last = 2 if kind in OF_SIDES else 1
            assert classes[1] == (None if classes[0] is None else last - classes[0])
        for kind in OF_REGIONS:
            assert CLASSES[kind](mirrored(scan), NORMS) == CLASSES[kind](scan, NORMS)


def test_regions_are_compared_in_deviations_from_the_normals_of_the_age() -> None:
    trained = set(split_scans(SCANS).subjects["train"])
    normals = [s for s in SCANS if s.diagnosis == "CN" and s.participant_id in trained]
    ages = [s.age for s in normals]
    lines = {r: np.polyfit(ages, [s.mean_mm[r] for s in normals], 1) for r in REGIONS}
    sd = {r: np.std([s.mean_mm[r] - np.polyval(lines[r], s.age) for s in normals]) for r in REGIONS}
    named = dict(zip(MOST_AFFECTED, REGIONS, strict=True))
    for kind in ("most-affected-region", "regions-affected"):
        for question in asked(kind):
            scan = BY_ID[question.id.partition(":")[2]]
            z = {r: (scan.mean_mm[r] - np.polyval(lines[r], scan.age)) / sd[r] for r in REGIONS}
            if kind == "regions-affected":
                assert question.answer == COUNTS[sum(value > 0.5 for value in z.values())]
            else:
                most = max(z, key=lambda region: z[region])
                assert most == named[question.answer] and z[most] > 0.5
                assert z[most] - sorted(z.values())[-2] > 0.29


def test_scans_whose_sides_are_alike_are_not_asked_about_sides_or_regions() -> None:
    plain = make_scans(900)
    made = make_questions(plain, split_scans(plain))
    assert not {q.kind for q in made.all} & {*OF_SIDES, *LEFT_MORE, *OF_REGIONS}
    assert not made.norms.side_spread
    unknown = [replace(scan, skull=None) for scan in SCANS]
    kinds = {q.kind for q in make_questions(unknown, split_scans(unknown)).all}
    assert "skull" not in kinds and {*OF_SIDES, *LEFT_MORE, *OF_REGIONS} <= kinds


def test_blind_strategies_stay_at_chance_over_many_seeds() -> None:
    """Guessing is outside a 95% interval in one case of twenty; on average it is at chance."""
    kinds = (*OF_SIDES, *LEFT_MORE, *OF_REGIONS)
    gains: dict[str, list[float]] = {kind: [] for kind in kinds}
    outside = total = 0
    for seed in range(8):
        scans = make_scans(600, seed=seed, sided=True)
        by_split = make_questions(scans, split_scans(scans), seed).by_split
        for kind in kinds:
            parts = [[q for q in by_split[s] if q.kind == kind] for s in ("train", "test")]  # type: ignore[index]
            for score in blind_scores(*parts).get(kind, []):
                gains[kind].append(score.accuracy - score.chance)
                outside, total = outside + (not score.at_chance), total + 1
                if score.strategy != "bag of words":
                    assert score.accuracy == pytest.approx(score.chance, abs=0.13), score
    assert total > 150
    assert outside / total < 0.05
    assert all(abs(np.mean(gain)) < 0.04 for gain in gains.values()), gains


def test_places_are_balanced_even_where_few_are_asked() -> None:
    scans = make_scans(150, sided=True)
    for questions in make_questions(scans, split_scans(scans)).by_split.values():
        for kind in {q.kind for q in questions if q.answerable}:
            of_kind = [q for q in questions if q.kind == kind]
            places = Counter((q.answer, q.answer_index) for q in of_kind)
            assert len(set(places.values())) == 1
            assert len(places) == len(of_kind[0].choices) ** 2


def test_dialogues_tell_both_sides_and_which_is_stronger() -> None:
    seen: Counter[str] = Counter()
    for scan, dialogue in zip(SCANS, make_dialogues(SCANS, NORMS), strict=True):
        for turn in each_turn(dialogue):
            numbers = {f.side: f for f in facts_of(turn.answer) if f.kind == "mm" and f.side}
            if not numbers:
                continue
            assert len(turn.turns) > 1  # a follow-up
            region = numbers["left"].region.replace(" ", "_")
            assert turn.turns[-1].answer.count(numbers["left"].region)  # what was spoken of last
            for side, fact in numbers.items():
                assert fact.number == pytest.approx(getattr(scan.sides_mm[region], side), abs=0.051)
            (term,) = (f.value for f in facts_of(turn.answer) if f.kind == "term")
            gap = NORMS.side_difference(scan, region)
            assert gap is not None
            assert {"more on the left": gap > 0.4, "more on the right": gap < -0.4}.get(
                term, abs(gap) <= 0.4
            )
            seen[term] += 1
            if term != "same on both sides":
                wrong = turn.answer.replace("left", "x").replace("right", "left")
                assert not agreement(wrong.replace("x", "right"), turn.answer).exact
    assert len(seen) == 3 and min(seen.values()) > 20


def test_two_turns_are_about_sides_where_every_image_has_a_skull() -> None:
    scans = [replace(scan, skull=True) for scan in SCANS]
    cases = make_two_turns(scans, NORMS, 120)
    topics = [q for q in cases if q.kind == "two-turn-topic"]
    assert topics and not any("skull" in q.turns[0].question for q in cases)
    for case in topics:
        said = case.turns[0].question
        region = "ventricles" if "ventricle" in said else "medial_temporal"
        sides = BY_ID[f"{case.image.participant_id}:{case.image.session_id}"].sides_mm[region]  # type: ignore[union-attr]
        more = (sides.left > sides.right) == ("left" in said)
        assert case.answer == ("yes" if more else "no")
    training = make_two_turns([replace(s, skull=True) for s in make_scans(600, seed=3, sided=True)],
                              NORMS, 240)  # fmt: skip
    for kind, scores in blind_scores(training, cases).items():
        assert all(score.at_chance for score in scores), (kind, scores)
