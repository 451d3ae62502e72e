"""Controls without a language model: each sees what its name says, and no more."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from medblip.errors import InputError
from medblip.evaluation.controls import CONTROLS
from medblip.evaluation.simple_models import FeatureTable
from medblip.experiments.aggregate import result_tables
from medblip.experiments.simple_controls import (
    LABEL_DEFINING,
    MODEL_CONTROLS,
    PLAIN_FIELDS,
    SIMPLE_CONTROLS,
    control_record,
    fit_controls,
)
from medblip.study.record import FIELDS


def features(prefix: str, seed: int, rows: int = 120) -> tuple[FeatureTable, FeatureTable]:
    """CDR is the label, age says a little; voxels tell class 2; regions tell all."""
    generator = np.random.default_rng(seed)
    labels = np.arange(rows) % 3
    subjects = [f"{prefix}{row}" for row in range(rows)]
    fields = pd.DataFrame(
        {"age": 70 + labels + generator.normal(size=rows), "cdr_global": labels / 2.0}
    )
    voxels = generator.normal(size=(rows, 27)) + 2 * (labels == 2)[:, None]
    regions = pd.DataFrame({"ventricles": labels + 0.2 * generator.normal(size=rows)})
    return (
        FeatureTable(fields, labels, subjects, voxels=voxels.astype(np.float32)),
        FeatureTable(regions, labels, subjects),
    )


TRAIN, TEST = features("train", 0), features("test", 1)
SHOWN = tuple(replace(part[0], fields=part[0].fields[["age"]]) for part in (TRAIN, TEST))


def test_each_sees_what_its_name_says() -> None:
    found = fit_controls(TRAIN[0], TEST[0], (TRAIN[1], TEST[1]), SHOWN)
    assert list(found) == list(SIMPLE_CONTROLS)
    assert [r.title for r in found.values()] == list(SIMPLE_CONTROLS.values())
    right = {k: (r.probabilities.argmax(1) == TEST[0].labels).mean() for k, r in found.items()}
    assert right["control.fields"] == 1.0, "CDR is the label"
    assert 0.35 < right["control.plain_fields"] < 0.85
    assert "cdr" not in found["control.plain_fields"].description
    assert right["control.regions"] > 0.9
    assert 0.55 < right["control.voxels"] < 0.8
    assert right["control.majority"] == pytest.approx(1 / 3)
    assert right["control.shown_fields"] == right["control.plain_fields"], "age alone, both"
    assert right["control.shown_fields"] + 0.1 < right["control.shown_fields_and_voxels"] < 1
    assert right["control.shown_fields_and_voxels"] > right["control.voxels"] + 0.05
    assert "cdr" not in found["control.shown_fields_and_voxels"].description


def test_what_the_model_is_shown_changes_no_other_control() -> None:
    alone, beside = (fit_controls(TRAIN[0], TEST[0], shown=shown) for shown in (None, SHOWN))
    assert set(beside) - set(alone) == {"control.shown_fields", "control.shown_fields_and_voxels"}
    for key, result in alone.items():
        assert np.array_equal(result.probabilities, beside[key].probabilities), key


def test_what_has_no_inputs_is_left_out() -> None:
    fields = [t[0].fields[["cdr_global"]] for t in (TRAIN, TEST)]
    train, test = (
        FeatureTable(f, t[0].labels, t[0].subjects)
        for f, t in zip(fields, (TRAIN, TEST), strict=True)
    )
    assert list(fit_controls(train, test)) == ["control.majority", "control.fields"]


def test_fields_are_plain_or_define_the_label() -> None:
    assert set(PLAIN_FIELDS) | set(LABEL_DEFINING) == set(FIELDS)
    assert PLAIN_FIELDS == ("age", "sex", "education_years", "ses")


def test_every_condition_of_the_model_is_a_control() -> None:
    named = {key.removeprefix("control.") for key in MODEL_CONTROLS}
    assert set(CONTROLS) - {"full"} <= named


def test_a_control_becomes_a_record_beside_the_model() -> None:
    test = TEST[0]
    found = fit_controls(TRAIN[0], test)
    rows = range(0, 120, 2)
    one = control_record("control.fields", found["control.fields"], test, 2, "ADNI-3x200", rows)
    assert one.role == "control"
    assert one.subjects == tuple(f"test{row}" for row in rows)
    assert all(one.correct)
    (table,) = result_tables([one], {"control.fields": "Fields"}, n_resamples=20)
    assert (table.rows[-1].title, table.rows[-1].role) == ("Fields", "control")


def test_what_is_no_control_is_refused() -> None:
    found = fit_controls(TRAIN[0], TEST[0])
    with pytest.raises(InputError, match="found control 'best'"):
        control_record("best", found["control.fields"], TEST[0], 2, "ADNI-3x200")
    short = features("other", 2, rows=30)[0]
    with pytest.raises(InputError, match="120 answers to 30 rows"):
        control_record("control.fields", found["control.fields"], short, 2, "ADNI-3x200")
