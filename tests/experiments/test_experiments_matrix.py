"""What is run: one training for what tables share, and settings that differ where they should."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from medblip.errors import UsageError
from medblip.experiments.columns import ColumnSet
from medblip.experiments.matrix import EMBEDDED, PAPER, SIZES, Size, trials_of
from medblip.experiments.paper_tables import LOW_DATA, PAPER_TABLES
from medblip.experiments.trials import Trial, distinct
from medblip.study.study import Example


def by_row(what: str, size: Size = EMBEDDED, *overrides: str) -> dict[str, Trial]:
    return {t.row: t for t in trials_of(what, size, [0], overrides)}


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_the_full_model_is_trained_once_for_all_tables_and_gives_the_controls(size: Size) -> None:
    trials = trials_of("all", size, [0, 1])
    uses = Counter(t.key for t in trials)
    (full, other_seed) = [key for key, count in uses.items() if count > 1]
    assert uses[full] == uses[other_seed] == 5
    assert {t.table for t in trials if t.key == full} == {2, 4, 5, 6, LOW_DATA}
    with_controls = {t.key for t in distinct(trials) if t.setting.controls}
    assert with_controls == {full, other_seed}


def test_every_row_of_the_paper_that_can_be_run_is() -> None:
    rows = {(t.table, t.row) for t in trials_of("all", PAPER, [0])}
    for number in (2, 4, 5, 6):
        assert {(number, row.key) for row in PAPER_TABLES[number].rows} <= rows
    embedded = {t.row for t in trials_of("table2", EMBEDDED, [0])}
    assert set(EMBEDDED.stand_ins) <= embedded
    named = {row.key for row in PAPER_TABLES[2].rows}
    assert set(EMBEDDED.stand_ins.values()) <= named


def test_settings_are_what_their_rows_say() -> None:
    rows = by_row("table2") | by_row("table4") | by_row("table5") | by_row("table6")
    text = rows["smollm2.text_only"].recipe
    assert (text.tune.without_image, text.tune.blank_image, text.tune.without_record) == (1, 0, 0)
    assert not text.align.runs
    assert text.model.lora is not None
    untuned = rows["smollm2.untuned"].recipe
    assert not any(stage.runs for stage in untuned.stages().values())
    assert rows["smollm2.frozen"].recipe.model.lora is None
    assert not set(rows["smollm2.lora_plain_record"].recipe.record.fields) & {"mmse", "lm_delayed"}
    scratch, inflated = rows["vit_scratch"].recipe.model, rows["vit"].recipe.model
    assert (scratch.patch_init, inflated.patch_init) == ("random", "inflate")
    assert scratch.train_patch_embedding
    assert not rows["medqformer"].recipe.tune.runs
    assert rows["question_image_text"].recipe.model.prompt_order == "question_image_text"
    for row, wanted in {"itc_none": (0, 0), "itc_record": (1, 0), "itc_both": (1, 1)}.items():
        tune = rows[row].recipe.tune
        assert (tune.itc_record, tune.itc_answer) == wanted
    assert not rows["itc_none"].recipe.align.runs


def test_a_callers_values_change_lengths_but_not_what_a_row_is() -> None:
    values = ("align.steps=7", "align.batch_size=5", "tune.steps=9")
    rows = by_row("table4", EMBEDDED, *values) | by_row("table2", EMBEDDED, *values)
    assert rows["vit"].recipe.align.steps == 7
    assert rows["vit"].recipe.align.batch_size == 5
    assert not rows["vit"].recipe.tune.runs
    assert rows["smollm2.text_only"].recipe.tune.steps == 9
    assert not rows["smollm2.text_only"].recipe.align.runs


def test_one_training_is_read_out_twice_at_the_papers_size() -> None:
    rows = by_row("table4", PAPER)
    assert rows["vit"].run == rows["medqformer"].run
    assert rows["vit"].key != rows["medqformer"].key


@pytest.mark.parametrize("seeds", [[], [0, 0], [-1]])
def test_seeds_are_numbers_from_0_each_once(seeds: list[int]) -> None:
    with pytest.raises(UsageError, match="each once"):
        trials_of("table6", EMBEDDED, seeds)


def test_of_two_labels_the_third_is_no_candidate() -> None:
    def example(name: str, label: str) -> Example:
        return Example(name, "1", "A", "", {}, label, "", name)  # type: ignore[arg-type]

    column = ColumnSet("two", ("NC", "AD"), (example("a", "NC"), example("b", "AD")))
    scores = np.array([[0.3, 0.5, 0.2], [0.3, 0.4, 0.2]])
    assert column.right(scores) == (True, False)
    three = ColumnSet("three", ("NC", "MCI", "AD"), column.examples)
    assert three.right(scores) == (False, False)
