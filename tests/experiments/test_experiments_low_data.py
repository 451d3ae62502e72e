"""The low-data curve: which test sets stand in its means, and what it is measured against."""

from __future__ import annotations

import numpy as np
import pytest

from medblip.experiments.analyses.low_data import low_data, part
from medblip.experiments.matrix import share_row
from medblip.experiments.paper_tables import LOW_DATA
from medblip.experiments.records import Role, RunRecord
from medblip.experiments.simple_controls import SIMPLE_CONTROLS


def record(row: str, column: str, right: int, subjects: int, role: Role) -> RunRecord:
    names = tuple(f"{column}-{n}" for n in range(subjects))
    correct = tuple(bool(r) for r in np.arange(subjects) < right)
    return RunRecord(LOW_DATA, row, column, 0, role, names, correct)


def records() -> list[RunRecord]:
    full = share_row(1.0)
    return [
        record(full, "large", 15, 20, "model"),
        record(full, "small", 0, 4, "model"),
        record("control.voxels", "large", 10, 20, "control"),
        record("control.voxels", "small", 4, 4, "control"),
        record("control.regions", "large", 20, 20, "control"),
    ]


def test_few_subjects_stand_in_no_mean_and_have_no_interval() -> None:
    found = low_data(records(), [], 50)
    (share,) = found.shares
    assert found.left_out == {"small": 4}
    assert share.mean.value == pytest.approx(0.75)
    assert share.mean.low is not None
    assert (share.by_column["small"].value, share.by_column["small"].low) == (0.0, None)
    assert "Too few subjects" in part(found).said
    assert "small (4 subjects)" in part(found).said


def test_the_level_to_pass_does_not_know_the_truth() -> None:
    found = low_data(records(), [], 50)
    assert found.best_simple == SIMPLE_CONTROLS["control.voxels"]
    assert found.best_simple_mean == pytest.approx(0.5), "over the same columns as the model"


def test_where_all_are_small_the_mean_is_over_all_without_an_interval() -> None:
    (share,) = low_data([r for r in records() if r.column == "small"], [], 50).shares
    assert (share.mean.value, share.mean.low) == (0.0, None)
