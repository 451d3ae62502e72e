"""Verdicts on the paper's claims: made from the numbers, whichever way they fall."""

from __future__ import annotations

import json

import numpy as np
import pytest

from medblip.evaluation.intervals import Interval
from medblip.evaluation.over_seeds import Cell, Contrast
from medblip.experiments.claim_verdicts import ClaimVerdict, MeasuredStep, claim_verdicts
from medblip.experiments.claims import (
    CHAIN,
    ENCODERS,
    LOSSES,
    ORDERS,
    RECORD_IN_IT,
    UNSEEN,
    claims_of,
)
from medblip.experiments.paper_tables import PAPER_TABLES, SUBSETS
from medblip.experiments.records import RunRecord, answers_by_table

NAMES = [column.name for column in SUBSETS]


def runs(
    table: int,
    shares: dict[str, float],
    columns: list[str] | None = None,
    *,
    seeds: int = 4,
    subjects: int = 100,
) -> list[RunRecord]:
    """Runs of each row, right with its share of chance on all columns."""
    generator = np.random.default_rng(0)
    return [
        RunRecord(
            table,
            row,
            column,
            seed,
            "model",
            tuple(f"{column}-{i}" for i in range(subjects)),
            tuple(bool(r) for r in generator.random(subjects) < share),
        )
        for row, share in shares.items()
        for column in (columns or NAMES)
        for seed in range(seeds)
    ]


def verdict(records: list[RunRecord], claim: str, **settings: dict[str, str]) -> ClaimVerdict:
    found = claim_verdicts(answers_by_table(records), n_resamples=400, **settings)
    (one,) = [v for v in found if v.claim.startswith(claim)]
    json.dumps(one.as_dict(), allow_nan=False)
    return one


def chain(text_only: float, frozen: float, lora: float) -> dict[str, float]:
    return {"m.text_only": text_only, "m.frozen": frozen, "m.lora": lora}


def test_a_chain_that_rises_holds() -> None:
    ours = verdict(runs(2, chain(0.4, 0.55, 0.7)), CHAIN)
    assert ours.answer == "holds"
    first, second = ours.steps
    assert first.title == "frozen language model against text only"
    assert first.pooled.estimate.value == pytest.approx(0.15, abs=0.04)
    assert list(first.by_column) == NAMES
    assert ours.text.startswith("Frozen language model against text only: +")
    assert "in the paper" not in ours.text, "m stands for no row of the paper"
    assert second.p < 0.05


def test_a_chain_with_a_step_down_does_not() -> None:
    ours = verdict(runs(2, chain(0.4, 0.7, 0.55)), CHAIN)
    assert ours.answer == "does not hold"
    assert "the opposite on" in ours.text


def test_a_chain_with_a_step_that_shows_nothing_is_not_decided() -> None:
    assert verdict(runs(2, chain(0.4, 0.6, 0.6)), CHAIN).answer == "not decided"


def test_few_seeds_decide_nothing_whatever_they_show() -> None:
    ours = verdict(runs(2, chain(0.2, 0.5, 0.9), seeds=2), CHAIN)
    assert ours.answer == "not decided"
    assert ours.text.endswith("Fewest seeds of a setting: 2; 3 are needed to decide.")
    assert verdict(runs(2, chain(0.9, 0.5, 0.2), seeds=1), CHAIN).answer == "not decided"


def test_what_was_not_run_is_not_decided() -> None:
    part = {"m.text_only": 0.4, "m.lora": 0.7}
    ours = verdict(runs(2, part), CHAIN)
    assert (ours.answer, ours.steps) == ("not decided", ())
    assert "Not all that it compares was run" in ours.text
    nothing = claim_verdicts({})
    assert [v.claim for v in nothing] == [CHAIN, UNSEEN, ENCODERS, ORDERS, LOSSES]
    assert {v.answer for v in nothing} == {"not decided"}


def test_the_papers_own_differences_stand_beside_ours() -> None:
    stand_ins = {f"m.{how}": f"biomedlm.{how}" for how in ("text_only", "frozen", "lora")}
    ours = verdict(runs(2, chain(0.4, 0.5, 0.6)), CHAIN, stand_ins=stand_ins, titles={"m": "Tiny"})
    assert ours.claim == f"{CHAIN}: Tiny"
    # Means over five subsets: 59.96, 75.38 and 79.82.
    assert [step.paper for step in ours.steps] == pytest.approx([15.42, 4.44])
    assert "in the paper +15.4" in ours.text
    part = verdict(runs(2, chain(0.4, 0.5, 0.6), NAMES[:1]), CHAIN, stand_ins=stand_ins)
    assert part.steps[0].paper == pytest.approx(71.2 - 62.5), "over the subsets that were run"


def test_both_losses_against_one() -> None:
    for one, both, answer in ((0.5, 0.65, "holds"), (0.65, 0.5, "does not hold")):
        ours = verdict(runs(6, {"itc_record": one, "itc_both": both}), LOSSES)
        assert ours.answer == answer
        assert ours.steps[0].paper == pytest.approx(79.82 - 75.24)


def test_prompt_orders_without_numbers_of_the_paper() -> None:
    given = {"image_text_question": 0.7, "question_image_text": 0.5}
    ours = verdict(runs(5, given), ORDERS)
    assert ours.answer == "holds"
    assert ours.steps[0].paper is None


def test_the_full_model_against_both_encoders() -> None:
    ours = verdict(
        runs(4, {"vit": 0.5, "medqformer": 0.5, "medblip": 0.75}, ["ADNI-3x200"]), ENCODERS
    )
    assert ours.answer == "holds"
    assert [step.paper for step in ours.steps] == pytest.approx([7.1, 6.5])


def test_seen_cohorts_against_unseen_ones_of_as_many_labels() -> None:
    records = runs(2, {"biomedlm.lora": 0.8}, NAMES[:3])
    records += runs(2, {"biomedlm.lora": 0.6}, NAMES[3:])
    ours = verdict(records, UNSEEN)
    assert ours.answer == "holds"
    # ((78.7 + 83.3) / 2 - 80.8 + 85.3 - 71.0) / 2
    assert ours.steps[0].paper == pytest.approx(7.25)
    (claim,) = [c for c in claims_of(answers_by_table(records)) if c.text.startswith(UNSEEN)]
    assert claim.steps[0].weights == {
        Cell("biomedlm.lora", name): weight
        for name, weight in zip(NAMES, (0.25, 0.25, 0.5, -0.5, -0.5), strict=True)
    }
    alike = [r for r in records if r.column not in ("OASIS-2x200", "AIBL-3x200")]
    assert verdict(alike, UNSEEN).steps == (), "two labels are not set against three"


def test_alike_settings_hold_seldom() -> None:
    """No difference at all: a claim of one step should hold in at most some of 40 trials."""
    generator = np.random.default_rng(0)
    held = 0
    for _ in range(40):
        records = [
            RunRecord(
                6,
                row,
                "ADNI-3x200",
                seed,
                "model",
                tuple(map(str, range(60))),
                tuple(bool(r) for r in generator.random(60) < 0.6),
            )
            for row in ("itc_record", "itc_both")
            for seed in range(3)
        ]
        tables = answers_by_table(records)
        answers = {v.answer for v in claim_verdicts(tables, n_resamples=200) if v.table == 6}
        held += answers != {"not decided"}
    assert held <= 5


def test_claims_name_rows_that_the_paper_has() -> None:
    for claim in claims_of({}):
        assert claim.table in PAPER_TABLES


def test_a_test_set_of_few_subjects_is_left_out_and_named() -> None:
    """One person of four would else move a mean over five test sets by five points."""
    shares = {"itc_record": 0.5, "itc_both": 0.65}
    small = runs(6, {"itc_record": 1.0, "itc_both": 0.0}, ["OASIS-2x200"], subjects=4)
    others = [name for name in NAMES if name != "OASIS-2x200"]
    ours, alone = (verdict(r, LOSSES) for r in (runs(6, shares, others) + small, small))
    plain = verdict(runs(6, shares, others), LOSSES)
    assert ours.steps == plain.steps
    assert ours.answer == "holds"
    assert ours.text.endswith(
        "Left out, as under 10 subjects decide nothing: OASIS-2x200 (4 subjects)."
    )
    assert "Left out" not in plain.text
    assert (alone.answer, alone.steps) == ("not decided", ())
    assert "Not all that it compares was run on a test set of enough subjects." in alone.text
    (claim,) = [
        c
        for c in claims_of(answers_by_table(runs(2, {"m.lora": 0.7}, others) + _small_oasis()))
        if c.text.startswith(UNSEEN)
    ]
    assert "OASIS-2x200" not in {cell.column for cell in claim.steps[0].weights}
    assert claim.left_out == {"OASIS-2x200": 4}


def _small_oasis() -> list[RunRecord]:
    return runs(2, {"m.lora": 0.7}, ["OASIS-2x200"], subjects=4)


def test_the_opposite_on_a_test_set_must_outlast_holm() -> None:
    """One in five test sets at p = 0.03 is nothing; at p = 0.005 it is told."""
    alike = Contrast(Interval(0.1, 0.0, 0.2), 0.05, 3)
    for p, opposite in ((0.03, ()), (0.005, ("e",))):
        below = Contrast(Interval(-0.1, -0.2, -0.01), p, 3)
        step = MeasuredStep("a", alike, 0.05, None, {**dict.fromkeys("abcd", alike), "e": below})
        assert step.opposite == opposite
        assert ("the opposite on e" in step.text) == bool(opposite)


def test_the_claim_on_encoders_says_that_the_record_is_in_it() -> None:
    given = {"vit": 0.5, "medqformer": 0.5, "medblip": 0.75}
    assert RECORD_IN_IT in verdict(runs(4, given, ["ADNI-3x200"]), ENCODERS).text
