"""The simple models learn what is there, from training subjects only, and say what they are."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
import pytest

from medblip.errors import InputError, UsageError
from medblip.evaluation.simple_models import (
    FeatureTable,
    SimpleResult,
    downsample_cube,
    field_matrix,
    fit_simple_models,
)
from medblip.study.record import DEFAULT_FIELDS

KEYS = {
    "majority",
    "fields",
    "voxels",
    "fields_and_voxels",
    "image_token",
    "fields_and_image_token",
}


@dataclass(frozen=True)
class Record:
    fields: dict[str, str] = field(default_factory=dict)


def table(rows: int, prefix: str, seed: int) -> FeatureTable:
    """Records tell class 0 from the rest, images tell class 2 from the rest; some are missing."""
    generator = np.random.default_rng(seed)
    labels = np.arange(rows) % 3
    noise = generator.normal(size=(rows, 2, 40))
    mmse = 25 + 2.5 * (labels == 0) + generator.normal(size=rows)
    age = 70 + generator.normal(size=rows)
    age[::4] = np.nan
    direction = np.linspace(-1, 1, 40)
    images = noise + 2.0 * (labels == 2)[:, None, None] * direction
    return FeatureTable(
        fields=pd.DataFrame({"age": age, "mmse": mmse}),
        labels=labels,
        subjects=np.array([f"{prefix}{row // 2}" for row in range(rows)]),
        voxels=images[:, 0].astype(np.float32),
        tokens=images[:, 1],
    )


TRAIN, TEST = table(150, "train", seed=0), table(90, "test", seed=1)


def accuracy(key: str, train: FeatureTable = TRAIN, test: FeatureTable = TEST) -> float:
    answers = fit_simple_models(train, test)[key].probabilities.argmax(axis=1)
    return float((answers == test.labels).mean())


@pytest.fixture(scope="module")
def results() -> dict[str, SimpleResult]:
    return fit_simple_models(TRAIN, TEST)


def test_every_model_answers_every_row(results: dict[str, SimpleResult]) -> None:
    assert set(results) == KEYS
    for result in results.values():
        assert result.probabilities.shape == (90, 3)
        assert result.probabilities.sum(axis=1) == pytest.approx(np.ones(90))
        assert result.title
        assert result.description


def test_models_learn_what_their_inputs_hold(results: dict[str, SimpleResult]) -> None:
    scores = {k: (r.probabilities.argmax(1) == TEST.labels).mean() for k, r in results.items()}
    assert scores["majority"] == pytest.approx(1 / 3)
    # Each input tells one class of three from the others, so about 2/3 is what it can give.
    assert 0.5 < scores["fields"] < 0.8
    assert 0.5 < scores["voxels"] < 0.8
    assert 0.5 < scores["image_token"] < 0.8
    assert scores["fields_and_voxels"] > scores["voxels"] + 0.1
    assert scores["fields_and_image_token"] > scores["fields"] + 0.1


def test_majority_knows_the_training_shares_only() -> None:
    few = replace(
        TRAIN,
        voxels=None,
        tokens=None,
        labels=np.where(np.arange(150) < 120, 2, np.arange(150) % 2),
    )
    answers = fit_simple_models(few, TEST)["majority"].probabilities
    assert answers[0] == pytest.approx([0.1, 0.1, 0.8])
    assert np.ptp(answers, axis=0) == pytest.approx(np.zeros(3))


def test_being_missing_is_a_feature() -> None:
    def told_by_absence(source: FeatureTable) -> FeatureTable:
        age = np.where(source.labels == 0, np.nan, 70.0)
        return replace(source, fields=pd.DataFrame({"age": age}), voxels=None, tokens=None)

    train, test = told_by_absence(TRAIN), told_by_absence(TEST)
    answers = fit_simple_models(train, test)["fields"].probabilities.argmax(axis=1)
    assert np.array_equal(answers == 0, test.labels == 0)


def test_a_test_row_is_answered_alone(results: dict[str, SimpleResult]) -> None:
    """No answer depends on the other test rows: nothing is fitted on them."""
    head = FeatureTable(TEST.fields[:5], TEST.labels[:5], TEST.subjects[:5], None, TEST.tokens[:5])
    alone = fit_simple_models(TRAIN, head)
    for key in alone:
        # float32 components: other batch sizes sum in another order
        assert alone[key].probabilities == pytest.approx(results[key].probabilities[:5], abs=1e-4)


def test_same_seed_same_answers(results: dict[str, SimpleResult]) -> None:
    tokens_only = replace(TRAIN, voxels=None), replace(TEST, voxels=None)
    for key, again in fit_simple_models(*tokens_only).items():
        assert np.array_equal(again.probabilities, results[key].probabilities)


def test_a_model_asked_for_alone_answers_as_among_the_others(
    results: dict[str, SimpleResult],
) -> None:
    for key in ("majority", "fields", "fields_and_voxels"):
        alone = fit_simple_models(TRAIN, TEST, only=[key])
        assert list(alone) == [key]
        assert np.array_equal(alone[key].probabilities, results[key].probabilities)


def test_images_left_out_leave_their_models_out() -> None:
    fewer = fit_simple_models(replace(TRAIN, voxels=None), replace(TEST, voxels=None))
    assert set(fewer) == {k for k in KEYS if "voxels" not in k}


def test_a_field_that_nobody_has_is_no_fault() -> None:
    def without_age(source: FeatureTable) -> FeatureTable:
        return replace(source, fields=source.fields.assign(age=np.nan), voxels=None, tokens=None)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert accuracy("fields", without_age(TRAIN), without_age(TEST)) > 0.5


def test_a_class_unknown_to_training_gets_no_probability() -> None:
    seen = TRAIN.labels != 1
    train = FeatureTable(
        TRAIN.fields[seen], TRAIN.labels[seen], TRAIN.subjects[seen], None, TRAIN.tokens[seen]
    )
    for result in fit_simple_models(train, TEST).values():
        assert np.all(result.probabilities[:, 1] == 0)


def test_a_class_of_one_subject_is_fitted_without_folds() -> None:
    train = replace(TRAIN, tokens=None, labels=np.where(np.arange(150) < 2, 2, np.arange(150) % 2))
    assert fit_simple_models(train, TEST)["fields"].probabilities.shape == (90, 3)


@pytest.mark.parametrize(
    ("train", "test", "code"),
    [
        (TRAIN, replace(TEST, subjects=TRAIN.subjects[:90]), "subject-in-two-sets"),
        (TRAIN, replace(TEST, fields=TEST.fields[["mmse", "age"]]), "field-names"),
        (TRAIN, replace(TEST, labels=TEST.labels + 1), "label-range"),
        (replace(TRAIN, labels=np.zeros(150, int)), TEST, "one-class"),
    ],
)
def test_sets_that_do_not_fit_are_refused(
    train: FeatureTable, test: FeatureTable, code: str
) -> None:
    with pytest.raises(InputError) as error:
        fit_simple_models(train, test)
    assert error.value.code == code


def test_parts_of_other_lengths_are_refused() -> None:
    with pytest.raises(InputError, match="rows"):
        replace(TRAIN, labels=TRAIN.labels[:-1])


def test_field_matrix_reads_the_record() -> None:
    records = [
        Record({"age": "71.5", "sex": "F", "mmse": "28", "cdr_global": "1"}),
        Record({"age": "89", "sex": "male", "lm_delayed": " "}),
        Record(),
    ]
    matrix = field_matrix(records)
    assert tuple(matrix.columns) == DEFAULT_FIELDS
    assert "cdr_global" not in matrix, "it defines the label of some cohorts"
    assert matrix["age"].tolist()[:2] == [71.5, 89.0]
    assert matrix["sex"].tolist()[:2] == [1.0, 0.0]
    assert matrix.loc[1, ["mmse", "lm_delayed"]].isna().all()
    assert matrix.loc[2].isna().all()
    assert field_matrix([], ("age",)).shape == (0, 1)


@pytest.mark.parametrize("text", ["27,5", "nan", "31", "seventy"])
def test_field_matrix_refuses_what_the_record_refuses(text: str) -> None:
    with pytest.raises(InputError, match="example 1: mmse"):
        field_matrix([Record({"mmse": "28"}), Record({"mmse": text})])
    with pytest.raises(UsageError, match="mmze"):
        field_matrix([], ("mmze",))


def test_downsampling_is_mean_pooling() -> None:
    cube = np.random.default_rng(0).integers(0, 256, (16, 24, 8), dtype=np.uint8)
    pooled = cube.reshape(8, 2, 8, 3, 8, 1).mean(axis=(1, 3, 5))
    coarse = downsample_cube(cube, 8)
    assert coarse.dtype == np.float32
    assert coarse == pytest.approx(pooled, abs=1e-3)  # float32 sums of numbers up to 255


def test_downsampling_by_a_broken_ratio_weighs_by_area() -> None:
    line = np.zeros((3, 1, 1), np.uint8)
    line[:, 0, 0] = [30, 60, 90]
    halves = downsample_cube(np.broadcast_to(line, (3, 2, 2)), 2)[:, 0, 0]
    assert halves == pytest.approx([(30 + 60 / 2) / 1.5, (60 / 2 + 90) / 1.5])


def test_downsampling_keeps_axes_and_the_mean() -> None:
    cube = np.random.default_rng(1).integers(0, 256, (45, 37, 50), dtype=np.uint8)
    coarse = downsample_cube(cube)
    assert coarse.shape == (28, 28, 28)
    assert coarse.mean() == pytest.approx(cube.mean(), rel=1e-5)
    corner = np.zeros((56, 56, 56), np.uint8)
    corner[:2, 54:, 20:22] = 200
    assert np.argwhere(downsample_cube(corner) > 0).tolist() == [[0, 27, 10]]
