"""The controls that see what the model is shown of a record: these fields, and no others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

import pytest
from tiny_experiment import make_study

from medblip.experiments import runner
from medblip.experiments.aggregate import result_tables
from medblip.experiments.columns import columns_of
from medblip.experiments.hours import Hours
from medblip.experiments.kept import ANY_TABLE, Kept
from medblip.experiments.matrix import EMBEDDED, PAPER, Size, trials_of
from medblip.experiments.records import RunRecord
from medblip.experiments.scoring import Caches
from medblip.experiments.shown_fields import noting_shown_fields, shown_record
from medblip.experiments.simple_controls import CONTROL_TITLES
from medblip.experiments.study_controls import control_inputs, study_controls
from medblip.experiments.trials import Trial
from medblip.recipe import RecordSection
from medblip.study.study import Study

FIELDS_ALONE, BOTH = "control.shown_fields", "control.shown_fields_and_voxels"
Right = Mapping[tuple[str, str], tuple[bool, ...]]
Answering = Callable[..., Right]
FEW = ("record.fields=[age, sex, education_years]",)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """Its global CDR is the label, in every session."""
    return Study.load(make_study(tmp_path_factory.mktemp("shown")))


def shown(*fields: str, dropped: bool = False) -> RecordSection:
    return RecordSection(fields=fields, drop_label_defining_fields=dropped)


@pytest.fixture(scope="module")
def answers(study: Study) -> Answering:
    """Row and column -> who was answered rightly, under what a recipe shows."""

    @cache
    def answering(*fields: str, dropped: bool = False) -> Right:
        record = shown(*fields, dropped=dropped)
        found = study_controls(study, columns_of(study), study.folder.parent / "cubes", 2, record)
        return {(r.row, r.column): r.correct for r in found}

    return answering


def test_controls_see_the_fields_that_the_recipe_shows(answers: Answering) -> None:
    told, untold = answers("age", "cdr_global"), answers("age")
    columns = {column for _, column in told}
    assert len(columns) == 2
    assert all(all(told[FIELDS_ALONE, column]) for column in columns), "CDR is the label"
    assert not all(all(untold[FIELDS_ALONE, column]) for column in columns)
    others = {cell: right for cell, right in told.items() if cell[0] not in (FIELDS_ALONE, BOTH)}
    assert others == {cell: untold[cell] for cell in others}
    assert {(FIELDS_ALONE, c) for c in columns} | {(BOTH, c) for c in columns} <= set(told)


def test_fields_that_the_recipe_drops_are_not_seen(answers: Answering) -> None:
    assert answers("age", "cdr_global", dropped=True) == answers("age")
    nothing = answers("ses", "cdr_global", dropped=True)  # nobody's SES is known
    assert not {FIELDS_ALONE, BOTH} & {row for row, _ in nothing}


def test_other_fields_are_other_inputs_in_whatever_order(study: Study) -> None:
    one = control_inputs(study, shown("age", "mmse"))
    assert one == control_inputs(study, shown("mmse", "age"))
    others = (shown("age"), shown("age", "sex"), shown("age", "mmse", dropped=True))
    assert all(control_inputs(study, record) != one for record in others)


def test_kept_answers_are_made_again_for_other_fields_and_trials_stay_finished(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, cubes = Kept(tmp_path), study.folder.parent / "cubes"
    made: list[RecordSection] = []

    def fitting(*given: object) -> list[RunRecord]:
        record = given[-1]
        assert isinstance(record, RecordSection)
        made.append(record)
        return [RunRecord(ANY_TABLE, BOTH, "Test split", 0, "control", ("s",), (len(made) == 1,))]

    monkeypatch.setattr(runner, "study_controls", fitting)
    monkeypatch.setattr(runner.Runner, "_attempt", lambda *_: pytest.fail("it is finished"))

    def run(overrides: tuple[str, ...] = ()) -> list[RunRecord]:
        trials = [t for t in trials_of("table6", EMBEDDED, [0]) if t.setting.controls]
        given = [Trial(t.table, t.row, t.setting, t.seed, overrides) for t in trials]
        for trial in given:
            kept.keep(trial, [RunRecord(6, "itc_both", "Test split", 0, "model", ("s",), (True,))])
        runner.Runner(study, kept, Hours.read(tmp_path), Caches(cubes, tmp_path)).run(given)
        return [r for r in kept.gather(given) if r.row == BOTH]

    assert [r.correct for r in run()] == [(True,)]
    assert [r.correct for r in run()] == [(True,)]
    assert len(made) == 1, "the same fields"
    assert [r.correct for r in run(FEW)] == [(False,)]
    assert [record.fields for record in made] == [
        ("age", "sex", "education_years", "mmse", "lm_immediate", "lm_delayed"),
        ("age", "sex", "education_years"),
    ]


@pytest.mark.parametrize("size", [EMBEDDED, PAPER], ids=lambda size: size.name)
def test_the_full_models_recipe_says_what_is_shown(size: Size) -> None:
    trials = trials_of("table2", size, [0])
    (full,) = [t for t in trials if t.row == f"{size.main}.lora"]
    plain = [t for t in trials if t.row.endswith("lora_plain_record")]
    assert shown_record([*plain, full]) == full.recipe.record != plain[0].recipe.record
    assert shown_record(plain) == plain[0].recipe.record, "where the full model is not run"


def test_notes_say_what_is_shown_and_which_rows_differ() -> None:
    trials = trials_of("all", EMBEDDED, [0, 1])
    notes = noting_shown_fields(EMBEDDED, trials).notes
    assert sorted(notes) == [2, 4, 5, 6]
    named = "age, sex, education_years, mmse, lm_immediate, lm_delayed."
    assert all(named in note for note in notes.values())
    assert notes[2].startswith(EMBEDDED.notes[2])
    row = "SmolLM2-135M, LoRA, record without label-defining fields: age, sex, education_years."
    assert notes[2].endswith(f"Rows that are shown others: {row}")
    assert not any("others" in notes[table] for table in (4, 5, 6))
    same = noting_shown_fields(EMBEDDED, trials_of("table2", EMBEDDED, [0], FEW)).notes
    assert "others" not in same[2]
    dropped = ("record.drop_label_defining_fields=true",)
    told = noting_shown_fields(EMBEDDED, trials_of("table6", EMBEDDED, [0], dropped)).notes
    assert "without those that its label was made from" in told[6]


def test_they_can_be_the_best_control() -> None:
    def record(row: str, right: int, role: str) -> RunRecord:
        subjects = tuple(f"s{number}" for number in range(20))
        correct = tuple(number < right for number in range(20))
        return RunRecord(6, row, "ADNI-3x200", 0, "control" if role else "model", subjects, correct)

    given = [record("itc_both", 12, ""), record("control.fields", 13, "c")]
    for row, right in ((FIELDS_ALONE, 14), (BOTH, 15)):
        given.append(record(row, right, "c"))
        (table,) = result_tables(given, CONTROL_TITLES, n_resamples=50)
        assert table.best_controls[table.columns.index("ADNI-3x200")] == row
        assert "that the model is shown" in table.rows[-1].title
