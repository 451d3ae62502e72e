"""Numbers of the analyses against plain computations, and the shares of the low-data curve."""

from __future__ import annotations

import json
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import balanced_accuracy_score, f1_score, roc_auc_score

from medblip.evaluation.calibration import Temperature
from medblip.experiments.analyses.answers import CONDITIONS, Answers, ColumnAnswers
from medblip.experiments.analyses.calibration import calibration
from medblip.experiments.analyses.decisions import decisions
from medblip.experiments.analyses.groups import subgroups
from medblip.experiments.columns import ColumnSet
from medblip.experiments.matrix import EMBEDDED, SHARES, TABLES, share_row, trials_of
from medblip.experiments.paper_tables import LOW_DATA
from medblip.experiments.results_file import write_results
from medblip.study.labels import LABELS
from medblip.study.study import Example, Study
from medblip.training.train_share import share_of_subjects, training_examples
from study.study_maker import make_sessions, write_study

# Of the embedded recipe with seed 0, as it was before recipes had a `train_share`.
FULL_RUN = "88e54e00d8bb"


def example(number: int, label: str, cohort: str = "A") -> Example:
    name = f"{cohort}-{number:03d}"
    return Example(name, "1", cohort, "", {}, label, f"{name}.safetensors", name)  # type: ignore[arg-type]


def answers(runs: int = 2) -> Answers:
    """A column of three labels and one of two, whose runs are right more often than not."""
    rng = np.random.default_rng(0)
    columns = []
    for cohort, labels in (("A", tuple(LABELS)), ("B", ("NC", "AD"))):
        examples = tuple(example(i, labels[i % len(labels)], cohort) for i in range(60))
        truth = np.eye(len(labels))[[i % len(labels) for i in range(60)]]
        scores = {row: 3 * (rng.normal(size=(runs, 60, len(labels))) + truth) for row in CONDITIONS}
        columns.append(ColumnAnswers(ColumnSet(cohort, labels, examples), scores))
    return Answers(tuple(range(runs)), tuple(columns), (Temperature(2.0, 30),) * runs)


def test_decisions_are_means_over_runs_of_what_scikit_learn_finds() -> None:
    given = answers()
    found = decisions(given, {}, 50)
    for column, told in zip(given.columns, found.columns, strict=True):
        runs, truth = column.probabilities(), column.truth
        labels = range(runs.shape[-1])
        (full,) = [row for row in told.rows if row.row == "full"]
        called = runs.argmax(-1)
        wanted = {
            "balanced_accuracy": [balanced_accuracy_score(truth, c) for c in called],
            "macro_f1": [f1_score(truth, c, average="macro") for c in called],
            "macro_auc": [
                np.mean([roc_auc_score(truth == k, run[:, k]) for k in labels]) for run in runs
            ],
        }
        for name, values in wanted.items():
            estimate = getattr(full, name)
            assert estimate.value == pytest.approx(np.mean(values), abs=1e-4), name
            assert estimate.low < estimate.value < estimate.high
        assert full.sensitivity["AD"].value == pytest.approx(
            np.mean([(c == labels[-1])[truth == labels[-1]].mean() for c in called]), abs=1e-4
        )
        ends = {0, labels[-1]}
        swaps = [sum({t, c} == ends for t, c in zip(truth, run, strict=True)) for run in called]
        assert full.swaps == pytest.approx(np.mean(swaps))


def test_a_temperature_that_takes_confidence_back_mends_what_was_too_sure() -> None:
    for column in calibration(answers(), 50).columns:
        assert column.after.log_loss < column.before.log_loss
        assert (column.after.ece.value or 0) < (column.before.ece.value or 0)


def test_subgroups_count_scans_once_and_say_which_are_too_few() -> None:
    given = answers()
    people = [e for column in given.columns for e in column.column.examples]
    sessions = pd.DataFrame(
        {
            "participant_id": [e.participant_id for e in people],
            "session_id": "1",
            "cohort": [e.cohort for e in people],
            "sex": ["F" if i % 60 < 55 else "M" for i in range(len(people))],
            "age": "71",
            "site": "",
            "field_strength_t": "2.9",
        }
    )
    study = Study(Path(), None, sessions, pd.DataFrame(), None)  # type: ignore[arg-type]
    found = {a.name: a for a in subgroups(given, study, 50).attributes}
    (every,) = found["field strength"].groups
    assert (every.name, every.n_rows, every.n_subjects) == ("3 T", 120, 120)
    right = [(c.probabilities().argmax(-1) == c.truth).mean() for c in given.columns]
    assert every.accuracy.value == pytest.approx(np.mean(right), abs=1e-4)
    assert [g.name for g in found["sex"].groups] == ["F", "M"]
    few = sessions.assign(sex=["F" if i else "M" for i in range(len(people))])
    study = Study(Path(), None, few, pd.DataFrame(), None)  # type: ignore[arg-type]
    sex = next(a for a in subgroups(given, study, 50).attributes if a.name == "sex")
    assert ([g.name for g in sex.groups], sex.hidden_groups, sex.hidden_subjects) == (["F"], 1, 1)


def test_shares_lie_in_each_other_and_hold_every_label() -> None:
    people = [example(i, ["NC", "NC", "NC", "MCI", "AD"][i % 5]) for i in range(300)]
    chosen = [share_of_subjects(people, share) for share in SHARES]
    assert all(small < large for small, large in pairwise(chosen))
    counts = [Counter(e.label for e in people if e.participant_id in names) for names in chosen]
    assert counts[0] == {"NC": 2, "MCI": 1, "AD": 1}
    assert counts[2] == {"NC": 45, "MCI": 15, "AD": 15}
    assert len(chosen[-1]) == 300


def test_a_recipe_trains_on_its_share_and_tests_on_all(tmp_path: Path) -> None:
    study = Study.load(write_study(tmp_path / "s", make_sessions(60, visits=2)))
    trials = {t.row: t for t in trials_of("lowdata", EMBEDDED, [0])}
    quarter = training_examples(study, trials[share_row(0.25)].recipe)
    whole = training_examples(study, trials[share_row(1.0)].recipe)
    assert whole == study.examples("train")
    assert [e for e in whole if e in quarter] == quarter, "in the same order"
    subjects = {e.participant_id for e in quarter}
    assert 0.15 < len(subjects) / len({e.participant_id for e in whole}) < 0.35
    assert {e for e in map(repr, whole) if e.split("'")[1] in subjects} == set(map(repr, quarter))


def test_the_curve_comes_after_the_tables_and_names_of_finished_runs_stay() -> None:
    trials = trials_of("all", EMBEDDED, [0, 1])
    curve = [t.table == LOW_DATA for t in trials]
    of_tables = [t.table in TABLES.values() for t in trials]
    assert curve.index(True) == sum(of_tables), "after every seed of every table"
    assert sum(curve) == 2 * len(SHARES)
    (full,) = {t.run for t in trials if t.setting.controls and t.seed == 0}
    assert full == FULL_RUN, "folders of finished experiments are named so"
    shares = {t.run for t in trials if t.table == LOW_DATA and t.seed == 0}
    assert len(shares) == len(SHARES)
    assert full in shares


def test_results_are_rounded_and_say_the_same(tmp_path: Path) -> None:
    values = {"p": 0.00012345678, "rows": [{"a": 1, "b": None}, {"a": 2.0, "b": "x"}], "none": []}
    write_results(tmp_path / "r.json", values)
    text = (tmp_path / "r.json").read_text("utf-8")
    assert json.loads(text) == {**values, "p": 0.0001235}
    assert '{"a": 1, "b": null}' in text
    with pytest.raises(ValueError, match="JSON"):
        write_results(tmp_path / "r.json", {"a": float("nan")})
