"""Scores of answers: by likelihood, by text, by what is stated, by refusal."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medblip.errors import UsageError
from medblip.vqa.choice_scores import (
    chosen,
    cyclic_orders,
    mean_over_orders,
    scores_of,
)
from medblip.vqa.facts import agreement, facts_of
from medblip.vqa.prompting import lettered, said_before, shown
from medblip.vqa.questions import Question, Turn, VolumeFile
from medblip.vqa.refusals import is_refusal, refusal_rates
from medblip.vqa.scoring import means, score_closed, score_open
from medblip.vqa.text_match import lenient_match, strict_match
from medblip.vqa.text_metrics import text_metrics

CHOICES = ("smaller", "as expected", "larger")
QUESTION = Question("q", VolumeFile("a.npy"), "How large?", "size", "as expected", CHOICES)

# ------------------------------------------------------------------------------ likelihood


def test_long_answers_lose_by_the_sum_and_not_by_the_mean() -> None:
    likelihoods, lengths = [-2.0, -3.0], [1, 3]
    assert chosen(scores_of(likelihoods, lengths)) == 0
    assert chosen(scores_of(likelihoods, lengths, "mean")) == 1
    assert np.exp(scores_of(likelihoods, lengths)).sum() == pytest.approx(1.0)
    by_hand = -2.0 - math.log(math.exp(-2) + math.exp(-3))
    assert scores_of(likelihoods, lengths)[0] == pytest.approx(by_hand, abs=1e-12)


@pytest.mark.parametrize(
    ("likelihoods", "lengths"),
    [([math.nan, -1], [1, 1]), ([-math.inf, -math.inf], [1, 1]), ([-1, -2], [0, 1])],
)
def test_likelihoods_that_are_none_are_refused(
    likelihoods: list[float], lengths: list[int]
) -> None:
    with pytest.raises(UsageError):
        scores_of(likelihoods, lengths)


def test_an_impossible_choice_is_never_chosen() -> None:
    assert chosen(scores_of([-math.inf, -900.0], [1, 1])) == 1


@settings(max_examples=100, deadline=None)
@given(
    belief=st.lists(st.floats(-5, 5), min_size=2, max_size=8),
    bias=st.lists(st.floats(-50, 50), min_size=8, max_size=8),
)
def test_a_preference_for_places_cancels_over_the_orders(
    belief: list[float], bias: list[float]
) -> None:
    count = len(belief)
    orders = cyclic_orders(count)
    rows = [[belief[choice] + bias[place] for place, choice in enumerate(o)] for o in orders]
    mean = mean_over_orders(scores_of(rows, np.ones_like(rows)), orders)
    fair = scores_of(belief, [1] * count)
    np.testing.assert_allclose(mean, fair, atol=1e-9)


def test_each_choice_stands_once_in_each_place() -> None:
    orders = np.array(cyclic_orders(4))
    assert orders[0].tolist() == [0, 1, 2, 3]
    for rows in (orders, orders.T):
        assert all(sorted(row) == [0, 1, 2, 3] for row in rows)


def test_orders_that_do_not_fit_are_refused() -> None:
    for orders in ([(0, 1)], [(0, 0), (1, 0)], [(0, 1, 2), (1, 2, 0)]):
        with pytest.raises(UsageError):
            mean_over_orders([[0.0, 0.0], [0.0, 0.0]], orders)


def test_choices_are_shown_as_m3d_shows_them() -> None:
    assert shown(QUESTION) == "How large? Choices: A. smaller B. as expected C. larger"
    assert shown(QUESTION, (2, 0, 1)) == "How large? Choices: A. larger B. smaller C. as expected"
    assert lettered(QUESTION, (2, 0, 1))[2] == "C. as expected"
    assert all(strict_match(QUESTION, text) for text in lettered(QUESTION)[1:2])
    assert shown(replace(QUESTION, choices=())) == "How large?"


def test_what_was_said_before_reads_on_to_the_question() -> None:
    before = (Turn("What is it?", "A scan."), Turn("Of whom?", "Nobody."))
    said = said_before(replace(QUESTION, turns=before))
    assert said == "Question: What is it? Answer: A scan. Question: Of whom? Answer: Nobody."
    assert said_before(QUESTION) == ""


# ------------------------------------------------------------------------------------ text


@pytest.mark.parametrize(
    ("text", "strict", "lenient"),
    [
        ("as expected", True, True),
        (" As  Expected. ", True, True),
        ("B", True, False),
        ("b.", True, False),  # the lenient rule looks for a capital letter, or for words
        ("B.", True, True),
        ("B. as expected", True, True),
        ("B as expected", False, True),
        ("B. larger", False, True),
        ("larger", False, False),
        ("as expected, or larger", False, True),
        ("C. not as expected", False, False),
        ("A. smaller B. as expected C. larger", False, True),
        ("I saw it in room B.", False, True),
        ("", False, False),
    ],
)
def test_strict_and_lenient_match(text: str, strict: bool, lenient: bool) -> None:
    assert strict_match(QUESTION, text) is strict
    assert lenient_match(QUESTION, text) is lenient


def test_composed_and_decomposed_letters_are_the_same() -> None:
    question = Question("q", VolumeFile("a.npy"), "Who?", "name", "P\u00f6schl")
    assert strict_match(question, "Po\u0308schl")
    assert not lenient_match(question, "A. P\u00f6schl")


def test_a_choice_that_is_a_letter_goes_before_the_letter_of_another() -> None:
    groups = Question("q", VolumeFile("a.npy"), "Blood group?", "x", "O", ("B", "O", "A"))
    assert strict_match(groups, "O")
    assert not strict_match(groups, "B")  # the letter of O, but the text of another choice
    assert strict_match(groups, "B. O")


# ----------------------------------------------------------------------------------- facts

TRUTH = "The ventricles are larger than expected: 2.1 mm against 0.4 mm in people of 71 years."


@pytest.mark.parametrize(
    ("answer", "counts"),
    [
        (TRUTH, (5, 0, 0)),
        ("Ventricular size: 2.3mm, usual is 0.1 millimetres at 71 years, so enlarged.", (5, 0, 0)),
        ("The ventricles are smaller: 2.1 mm against 0.4 mm at 71 years.", (4, 1, 1)),
        ("The ventricles are larger: 3.0 mm against 0.4 mm at 71 years.", (4, 1, 1)),
        ("The cortex is larger: 2.1 mm against 0.4 mm at 71 years.", (1, 4, 4)),
        ("The ventricles are larger.", (2, 3, 0)),
        ("It looks fine.", (0, 5, 0)),
    ],
)
def test_answers_agree_by_what_they_state(answer: str, counts: tuple[int, int, int]) -> None:
    found = agreement(answer, TRUTH)
    assert (found.right, found.missing, found.wrong) == counts
    assert found.exact is (counts == (5, 0, 0))
    assert found.f1 == pytest.approx(2 * counts[0] / (2 * counts[0] + counts[1] + counts[2]))


def test_numbers_of_two_regions_that_were_swapped_do_not_agree() -> None:
    truth = "The ventricles: 2.1 mm. The cortex: 0.4 mm."
    assert agreement("Cortex 0.4 mm, ventricles 2.1 mm", truth).exact
    swapped = agreement("The ventricles: 0.4 mm. The cortex: 2.1 mm.", truth)
    assert (swapped.right, swapped.missing, swapped.wrong) == (2, 2, 2)


def test_sides_belong_to_what_is_said_after_them() -> None:
    truth = "Left hippocampus 2.0 mm, right hippocampus 5.0 mm."
    assert agreement(
        "On the left the hippocampus has 2.0 mm, on the right hippocampus 5 mm", truth
    ).exact
    assert not agreement("Right hippocampus 2.0 mm, left hippocampus 5.0 mm.", truth).exact


def test_tolerance_is_by_unit_and_one_number_serves_once() -> None:
    assert agreement("2.6 mm", "2.1 mm").exact
    assert not agreement("2.7 mm", "2.1 mm").exact
    assert agreement("2.7 mm", "2.1 mm", {"mm": 0.6}).exact
    assert not agreement("2.1 years", "2.1 mm").exact
    assert agreement("2.0 mm", "2.0 mm and 2.2 mm").right == 1
    assert agreement("1.5 mm and 2.0 mm", "2.0 mm and 2.4 mm").right == 2  # in order of size
    assert agreement("-1.2 mm", "\u22121.2 mm").exact


def test_words_inside_words_state_nothing() -> None:
    assert facts_of("Leftover enlargement of the small-mmm thing") == [
        f for f in facts_of("small") if f.value == "small"
    ]
    assert math.isnan(agreement("nothing here", "nor here").f1)


# -------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("answer", "refused"),
    [
        ("The scan cannot show it.", True),
        ("the scan cannot show it", True),
        ("That cannot be seen on a scan.", True),
        ("A scan does not show that.", True),
        ("I can't tell from this image", True),
        ("It is not possible to say.", True),
        ("The blood pressure is normal.", False),
        ("The scan does not show atrophy.", False),
        ("I cannot see any atrophy.", False),
        ("No.", False),
        ("", False),
    ],
)
def test_refusals_are_told_from_findings(answer: str, refused: bool) -> None:
    assert is_refusal(answer) is refused


def test_rates_are_over_their_own_questions() -> None:
    vain = Question("v", VolumeFile("a.npy"), "Blood group?", "x", "cannot", answerable=False)
    asked = [vain, vain, vain, QUESTION, QUESTION]
    said = ["A", "The scan cannot show it.", "", "larger", "That cannot be seen."]
    rates = refusal_rates(asked, said)
    assert (rates.hallucinated, rates.refused) == (pytest.approx(2 / 3), 0.5)
    assert refusal_rates([QUESTION], ["larger"]).hallucinated is None


# ------------------------------------------------------------------------------ all together


def test_a_closed_question_is_scored_by_every_rule() -> None:
    """A model that believes in the right choice, but favours the first place in every order."""
    orders = cyclic_orders(3)
    belief, bias = [-2.0, -1.0, -2.0], [5.0, 0.0, 0.0]
    rows = [[belief[c] + bias[place] for place, c in enumerate(order)] for order in orders]
    score = score_closed(QUESTION, rows, np.ones((3, 3), int), "A. smaller B. as expected")
    assert (score.likelihood, score.length_normalised, score.one_order) == (True, True, False)
    assert (score.strict, score.lenient) == (False, True)


def test_open_questions_are_scored_by_what_they_state() -> None:
    image = VolumeFile("a.npy")
    measured = Question("m", image, "How far?", "size", "The ventricles: 2.1 mm on average.")
    assert score_open(measured, "The ventricles: 2.3 mm on average.").exact
    assert score_open(measured, "The ventricles: 2.3 mm on average.").strict is False
    assert score_open(measured, "The cortex: 2.1 mm.").f1 == 0
    vain = Question("v", image, "Blood group?", "x", "The scan cannot show it.", answerable=False)
    assert score_open(vain, "That cannot be seen on a scan.").exact
    assert not score_open(vain, "A").exact
    name = Question("n", image, "Who?", "x", "somebody")
    assert [score_open(name, said).exact for said in ("Somebody.", "nobody")] == [True, False]


def test_means_leave_out_of_all_what_no_scan_shows() -> None:
    image = VolumeFile("a.npy")
    vain = Question("v", image, "Blood group?", "vain", "The scan cannot show it.", (), False)
    open_ = Question("o", image, "How far?", "size", "2.1 mm")
    scores = [score_open(vain, "A"), score_open(open_, "2.0 mm"), score_open(open_, "9 mm")]
    found = means([vain, open_, open_], scores)
    assert found["all"] == {"n": 2, "strict": 0.0, "exact": 0.5, "f1": 0.5}
    assert found["vain"] == {"n": 1, "strict": 0.0, "exact": 0.0, "f1": 0.0}


# ------------------------------------------------------------------------------ text metrics


def test_text_metrics_are_those_of_their_libraries() -> None:
    pytest.importorskip("sacrebleu", reason="the extra text-metrics is not installed")
    truth = ["the ventricles are larger than expected", "the cortex is thinned"]
    same = text_metrics(truth, truth)
    assert (same.bleu, same.bleu1, same.rouge1, same.rouge_l) == pytest.approx((1, 1, 1, 1))
    assert same.meteor > 0.99
    # One word decides what is true, and the metrics hardly see it.
    wrong = text_metrics(["the ventricles are smaller than expected", truth[1]], truth)
    assert wrong.bleu1 == pytest.approx(9 / 10)
    assert wrong.rouge1 == pytest.approx((5 / 6 + 1) / 2)
    assert 0.8 < wrong.meteor < 1
    with pytest.raises(UsageError):
        text_metrics([], [])


def test_without_the_libraries_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "rouge_score.rouge_scorer", None)
    with pytest.raises(UsageError, match=r"medblip\[text-metrics\]") as caught:
        text_metrics(["a"], ["a"])
    assert caught.value.code == "missing-extra"
