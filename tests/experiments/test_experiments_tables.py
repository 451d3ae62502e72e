"""The paper's tables as data, and records of runs made into the same shape."""

from __future__ import annotations

import json

import numpy as np
import pytest

from medblip.errors import InputError
from medblip.evaluation.intervals import paired_difference
from medblip.experiments.aggregate import ResultCell, ResultTable, result_tables
from medblip.experiments.paper_tables import PAPER_TABLES
from medblip.experiments.records import Role, RunRecord, answers_by_table
from medblip.experiments.simple_controls import CONTROL_TITLES, ORACLES
from medblip.experiments.table_notes import LAST_STEP, table_notes


def record(
    row: str,
    column: str = "ADNI-3x200",
    share: float = 0.7,
    *,
    table: int = 2,
    seed: int = 0,
    role: Role = "model",
    subjects: int = 60,
) -> RunRecord:
    """Answers of which ``share`` is right, other ones by seed and row."""
    generator = np.random.default_rng([seed, *row.encode()])
    right = np.arange(subjects) < round(share * subjects)
    return RunRecord(
        table,
        row,
        column,
        seed,
        role,
        tuple(f"{column}-{i}" for i in range(subjects)),
        tuple(bool(r) for r in generator.permutation(right)),
    )


def cell_of(table: ResultTable, row: str, column: str) -> ResultCell:
    (found,) = [r for r in table.rows if r.key == row]
    return found.cells[table.columns.index(column)]


# ---------------------------------------------------------------- the paper


def test_cells_of_the_paper() -> None:
    """Spot checks that would see a swapped row, column or table."""
    values = {
        (2, "flan-t5.text_only", "MIRIAD-2x200"): 60.0,
        (2, "biogpt.frozen", "NACC-3x200"): 66.5,
        (2, "biogpt.lora", "AIBL-3x200"): 62.4,
        (2, "biomedlm.text_only", "OASIS-2x200"): 61.8,
        (3, "medblip", "M3D-VQA-AD"): 77.96,
        (4, "vit", "ADNI-3x200"): 72.2,
        (4, "medqformer", "ADNI-3x200"): 71.6,
        (5, "image_text_question", "ADNI-3x200"): None,
        (6, "itc_record", "OASIS-2x200"): 82.5,
    }
    for (table, row, column), value in values.items():
        assert PAPER_TABLES[table].value(row, column) == value, (table, row, column)
    assert PAPER_TABLES[2].value("another", "ADNI-3x200") is None
    assert PAPER_TABLES[2].value("biomedlm.lora", "another") is None


def test_the_full_model_has_one_set_of_numbers() -> None:
    """Table 2's BioMedLM with LoRA is Table 6's model with both losses and Table 4's last row."""
    rows = {t: {r.key: r.values for r in PAPER_TABLES[t].rows} for t in (2, 4, 6)}
    assert rows[2]["biomedlm.lora"] == rows[6]["itc_both"]
    assert rows[4]["medblip"] == rows[2]["biomedlm.lora"][:1]


def test_every_number_is_a_percentage_of_a_known_test_set() -> None:
    for number, table in PAPER_TABLES.items():
        assert number == table.number
        keys = [row.key for row in table.rows]
        assert len(set(keys)) == len(keys)
        known = [v for row in table.rows for v in row.values if v is not None]
        assert all(20 < value < 100 for value in known)
    assert [c.name for c in PAPER_TABLES[2].columns if c.zero_shot] == [
        "AIBL-3x200",
        "MIRIAD-2x200",
    ]


# ---------------------------------------------------------------- records


def test_records_survive_json() -> None:
    one = record("biomedlm.lora")
    text = json.dumps(one.as_dict())
    assert RunRecord.from_dict(json.loads(text), "runs.jsonl line 1") == one


@pytest.mark.parametrize(
    "change",
    [
        {"correct": "012"},
        {"correct": "1"},
        {"role": "baseline"},
        {"table": 7},
        {"seed": "first"},
        {"subjects": None},
    ],
)
def test_damaged_records_are_refused(change: dict[str, object]) -> None:
    values = record("biomedlm.lora").as_dict() | change
    with pytest.raises(InputError) as error:
        RunRecord.from_dict(values, "runs.jsonl line 3")
    assert error.value.code == "bad-run-record"
    values.pop("row")
    with pytest.raises(InputError, match="line 3"):
        RunRecord.from_dict(values, "runs.jsonl line 3")


def test_runs_are_gathered_in_the_order_of_their_seeds() -> None:
    given = [record("a.lora", seed=seed, share=0.1 * seed) for seed in (3, 1, 2)]
    (table,) = answers_by_table(given).values()
    (answers,) = table.answers.values()
    assert answers.seeds == (1, 2, 3)
    assert answers.by_seed == pytest.approx((0.1, 0.2, 0.3))


@pytest.mark.parametrize(
    ("others", "said"),
    [
        ([record("a.lora")], "found twice"),
        ([record("a.lora", seed=1, role="control")], "as control"),
        ([record("b.lora", subjects=59)], "other subjects"),
    ],
)
def test_records_that_contradict_are_refused(others: list[RunRecord], said: str) -> None:
    with pytest.raises(InputError, match=said):
        answers_by_table([record("a.lora"), *others])


# ---------------------------------------------------------------- tables


def test_the_table_has_the_papers_shape_and_numbers() -> None:
    (table,) = result_tables([record("biomedlm.lora", share=0.8)], n_resamples=50)
    assert table.columns == tuple(c.name for c in PAPER_TABLES[2].columns)
    assert [r.key for r in table.rows] == [r.key for r in PAPER_TABLES[2].rows]
    ran = cell_of(table, "biomedlm.lora", "ADNI-3x200")
    assert ran.paper == 78.7
    assert ran.ours is not None
    assert ran.ours.value == pytest.approx(0.8)
    assert ran.ours.low < 0.8 < ran.ours.high
    assert ran.against is None, "there is no control"
    assert cell_of(table, "flan-t5.lora", "ADNI-3x200") == ResultCell(None, {}, 0, 0, 64.0)
    json.dumps(table.as_dict(), allow_nan=False)


def test_a_mean_over_seeds_with_each_of_them() -> None:
    runs = [record("biomedlm.lora", seed=s, share=v) for s, v in ((0, 0.6), (1, 0.7), (2, 0.8))]
    (table,) = result_tables(runs, n_resamples=200)
    ours = cell_of(table, "biomedlm.lora", "ADNI-3x200")
    assert ours.ours is not None
    assert ours.ours.value == pytest.approx(0.7)
    assert ours.by_seed == pytest.approx({0: 0.6, 1: 0.7, 2: 0.8})
    (one,) = result_tables(runs[1:2], n_resamples=200)
    alone = cell_of(one, "biomedlm.lora", "ADNI-3x200").ours
    assert alone is not None
    assert ours.ours.high - ours.ours.low > 0.15 > 0
    assert (ours.n_subjects, ours.n_rows) == (60, 60)


def test_a_small_model_stands_beside_the_row_it_is_run_in_the_place_of() -> None:
    (table,) = result_tables(
        [record("smollm2.lora"), record("other.lora")],
        {"smollm2.lora": "SmolLM2-135M, LoRA"},
        {"smollm2.lora": "biomedlm.lora"},
        n_resamples=20,
    )
    rows = {row.key: row for row in table.rows}
    assert "biomedlm.lora" not in rows
    assert rows["smollm2.lora"].title == "SmolLM2-135M, LoRA"
    assert rows["smollm2.lora"].paper_row == "biomedlm.lora"
    assert cell_of(table, "smollm2.lora", "NACC-3x200").paper == 83.3
    assert rows["other.lora"].paper_row == ""
    assert cell_of(table, "other.lora", "NACC-3x200").paper is None


def test_each_model_is_set_against_the_best_control_of_its_column() -> None:
    model, other = record("biomedlm.lora", share=0.9), record("biomedlm.frozen", share=0.55)
    good, poor = (
        record(row, share=share, role="control") for row, share in (("voxels", 0.5), ("blank", 0.3))
    )
    (table,) = result_tables([model, other, good, poor], n_resamples=1000)
    assert [row.key for row in table.rows][-2:] == ["voxels", "blank"]
    against = cell_of(table, "biomedlm.lora", "ADNI-3x200").against
    assert against is not None
    assert against.control == "voxels"
    plain = paired_difference(model.correct, good.correct, model.subjects)
    assert against.difference.estimate.value == pytest.approx(plain.difference.value)
    assert against.difference.estimate.low == pytest.approx(plain.difference.low, abs=0.03)
    # Two cells were compared: Holm doubles the smaller p.
    assert against.p == pytest.approx(2 * against.difference.p)
    assert table.best_controls == ("voxels", "", "", "", "")
    assert [row.key for row in table.compared] == ["biomedlm.frozen", "biomedlm.lora"]
    elsewhere = cell_of(table, "biomedlm.lora", "NACC-3x200")
    assert elsewhere.against is None
    assert cell_of(table, "voxels", "ADNI-3x200").against is None


def test_other_test_sets_come_after_the_papers() -> None:
    (table,) = result_tables([record("biomedlm.lora", "SIM-A")], n_resamples=20)
    assert table.columns[-1] == "SIM-A"
    assert cell_of(table, "biomedlm.lora", "SIM-A").paper is None


def test_a_test_set_of_few_subjects_has_no_interval_and_no_comparison() -> None:
    model = [record("biomedlm.lora", column, subjects=n) for column, n in (("S", 4), ("L", 10))]
    controls = [
        record("control.voxels", column, 0.5, role="control", subjects=n)
        for column, n in (("S", 4), ("L", 10))
    ]
    (table,) = result_tables([*model, *controls], n_resamples=50)
    small, large = (cell_of(table, "biomedlm.lora", column) for column in ("S", "L"))
    assert small.ours is not None
    assert np.isnan([small.ours.low, small.ours.high]).all()
    assert (small.against, small.too_few) == (None, "too few subjects (4)")
    assert large.ours is not None
    assert large.ours.low < large.ours.high
    assert large.against is not None
    assert large.too_few == ""
    assert dict(zip(table.columns, table.subjects, strict=True))["S"] == 4
    assert table.subjects[0] == 0, "the paper's, not run"
    json.dumps(table.as_dict(), allow_nan=False)


def test_what_uses_the_label_or_the_truth_is_shown_but_is_never_the_best_control() -> None:
    given = [record("biomedlm.lora"), record("control.voxels", share=0.4, role="control")]
    given += [record(row, share=0.95, role="control") for row in sorted(ORACLES)]
    (table,) = result_tables(given, CONTROL_TITLES, n_resamples=50)
    assert table.best_controls[0] == "control.voxels"
    titles = {row.key: row.title for row in table.rows}
    assert all("uses the " in titles[row] for row in ORACLES)
    assert "uses the" not in titles["control.voxels"]
    (alone,) = result_tables([given[0], *given[2:]], n_resamples=50)
    assert alone.compared == ()


def test_notes_say_what_is_unlike_between_rows() -> None:
    given = [record(row, table=4) for row in ("vit", "medblip")]
    alone = record("control.image", table=4, role="control", share=0.5)
    (table,) = result_tables([*given, alone], n_resamples=50)
    (note,) = table_notes(table)
    assert "reads the record as well" in note
    assert "with the image alone, a control, in %: ADNI-3x200 50.0 (" in note
    (without,) = result_tables(given, n_resamples=50)
    assert table_notes(without)[0].endswith("the image's.")
    (text,) = result_tables([record("biomedlm.text_only")], n_resamples=50)
    assert table_notes(text) == (LAST_STEP,)
    (other,) = result_tables([record("biomedlm.lora")], n_resamples=50)
    assert table_notes(other) == ()
