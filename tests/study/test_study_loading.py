"""A study folder, edited by hand or not, is checked once and then gives examples."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from study_maker import make_images, make_sessions, write_study

from medblip.errors import InputError, UsageError
from medblip.study.info import StudyInfo
from medblip.study.study import Example, Study


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    sessions = pd.concat([make_sessions(20, visits=3), make_sessions(6, "SIM-Z", visits=2)])
    return write_study(tmp_path / "study", sessions, zero_shot=["SIM-Z"])


def test_examples_cover_the_study_once(folder: Path) -> None:
    study = Study.load(folder)
    examples = [e for s in ("train", "validation", "test", "zero_shot") for e in study.examples(s)]
    keys = {(e.participant_id, e.session_id) for e in examples}
    assert len(keys) == len(examples) == 72
    assert len(study.examples("zero_shot")) == 12
    assert study.info.simulated


def test_an_example_holds_the_values_as_text_and_only_those_known(folder: Path) -> None:
    example = Study.load(folder).examples("train")[0]
    row = make_sessions(20, visits=3).iloc[0]
    assert example == Example(
        participant_id="SIM-A-0000",
        session_id="ses-1",
        cohort="SIM-A",
        site=row["site"],
        fields={
            name: row[name]
            for name in ("age", "sex", "education_years", "mmse", "cdr_global", "lm_delayed")
        },
        label="NC",
        cube=example.cube,
        image="SIM-A-0000/ses-1/anat/T1w.nii.gz",
    )


def test_first_session_is_the_earliest_with_a_label_and_an_image(tmp_path: Path) -> None:
    sessions = make_sessions(9, visits=3)
    unlabelled = (sessions["participant_id"] == "SIM-A-0000") & (sessions["session_id"] == "ses-1")
    sessions.loc[unlabelled, "diagnosis"] = ""
    images = make_images(sessions)
    without = (images["participant_id"] == "SIM-A-0001") & (images["session_id"] == "ses-1")
    study = Study.load(write_study(tmp_path / "s", sessions, images[~without]))
    first = {
        e.participant_id: e.session_id
        for split in ("train", "validation", "test")
        for e in study.examples(split, "first")
    }
    assert len(first) == 9
    assert first.pop("SIM-A-0000") == first.pop("SIM-A-0001") == "ses-2"
    assert set(first.values()) == {"ses-1"}


def test_other_diagnoses_are_no_examples(tmp_path: Path) -> None:
    sessions = make_sessions(6).assign(diagnosis=["NC", "OTHER", "", "MCI", "AD", "OTHER"])
    study = Study.load(write_study(tmp_path / "s", sessions))
    assert sum(len(study.examples(s)) for s in ("train", "validation", "test")) == 3
    assert {c.diagnosis: c.sessions for c in study.info.counts} == {
        "NC": 1,
        "MCI": 1,
        "AD": 1,
        "OTHER": 2,
        "none": 1,
    }


def test_counts_are_by_cohort_and_diagnosis(folder: Path) -> None:
    counts = {(c.cohort, c.diagnosis): c for c in Study.load(folder).info.counts}
    entry = counts["SIM-A", "NC"]
    assert (entry.subjects, entry.sessions, entry.images) == (7, 21, 21)
    entry = counts["SIM-Z", "AD"]
    assert (entry.subjects, entry.sessions, entry.images) == (2, 4, 4)


def edit(name: str, old: str, new: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / name
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))

    return change


def edit_info(**changes: object) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / "study.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return change


def append_copy(name: str, line: int) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / name
        text = path.read_text()
        path.write_text(text + text.splitlines()[line] + "\n")

    return change


EDITS: dict[str, tuple[Callable[[Path], None], str, str]] = {
    "newer version": (edit_info(schema_version=2), "schema-version", "expected 1"),
    "unknown key": (edit_info(extra=1), "bad-study", "extra"),
    "no study.json": (lambda f: (f / "study.json").unlink(), "not-a-study", "medblip prepare"),
    "cut study.json": (lambda f: (f / "study.json").write_text("{"), "bad-study", "study.json"),
    "bad label": (edit("sessions.tsv", "\tNC\t", "\tHC\t"), "unknown-value", "line 2"),
    "session twice": (append_copy("sessions.tsv", 1), "duplicate-row", "lines 2, 74"),
    "unknown session": (
        edit("images.tsv", "SIM-A-0000\tses-1", "SIM-A-0000\tses-9"),
        "image-without-session",
        "images.tsv line 2",
    ),
    "cube with a path": (edit("images.tsv", ".safetensors", "/x"), "bad-form", "line 2"),
    "no primary": (edit("images.tsv", "\ttrue\t", "\tfalse\t"), "primary-image", "1 session"),
    "subject on two sides": (
        edit("splits.json", '"test": [', '"test": [\n    "SIM-Z-0000",'),
        "subject-on-two-sides",
        "1 subject",
    ),
    "subject in no split": (
        edit("splits.json", '    "SIM-Z-0000",\n', ""),
        "splits-mismatch",
        "1 subject",
    ),
}


@pytest.mark.parametrize(("change", "code", "says"), EDITS.values(), ids=EDITS)
def test_bad_edits_are_named(
    folder: Path, change: Callable[[Path], None], code: str, says: str
) -> None:
    change(folder)
    with pytest.raises(InputError) as caught:
        Study.load(folder)
    assert caught.value.code == code
    assert says in str(caught.value)


def test_a_good_edit_is_taken(folder: Path) -> None:
    edit("sessions.tsv", "SIM-A-0000\tses-1\t\t\t0\t\t\t", "SIM-A-0000\tses-1\tbl\t\t0\t\t\t")(
        folder
    )
    assert Study.load(folder).sessions["visit_code"].iloc[0] == "bl"


def test_wrong_names_of_splits_are_usage_errors(folder: Path) -> None:
    study = Study.load(folder)
    with pytest.raises(UsageError, match="did you mean 'zero_shot'"):
        study.examples("zeroshot")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="all, first"):
        study.examples("train", "last")  # type: ignore[arg-type]


def test_fields_that_defined_the_label_can_be_left_out_of_the_records(tmp_path: Path) -> None:
    sessions = make_sessions(9)
    sessions["label_defined_by"] = ["mmse,cdr_global"] * 3 + ["cdr_global"] * 6
    folder = write_study(tmp_path / "s", sessions)
    whole = Study.load(folder)
    for study in (whole.dropping_label_defining_fields(), reloaded_as_dropping(folder)):
        examples = [e for s in ("train", "validation", "test") for e in study.examples(s)]
        assert len(examples) == 9
        for example in examples:
            number = int(example.participant_id[-4:])
            assert ("mmse" in example.fields) is (number >= 3)
            assert "cdr_global" not in example.fields
            assert "age" in example.fields
        assert (study.sessions["cdr_global"] != "").all()  # the table keeps them
    assert whole.dropping_label_defining_fields(drop=False) == whole
    assert "cdr_global" in whole.examples("train")[0].fields


def reloaded_as_dropping(folder: Path) -> Study:
    """As `prepare --drop-label-defining-fields` writes it."""
    path = folder / "study.json"
    info = StudyInfo.read(path).model_copy(update={"drop_label_defining_fields": True})
    info.write(path)
    return Study.load(folder)


def test_a_study_of_before_the_option_keeps_its_fields(tmp_path: Path) -> None:
    folder = write_study(tmp_path / "s", make_sessions(9))
    stored = json.loads((folder / "study.json").read_text())
    del stored["drop_label_defining_fields"]
    (folder / "study.json").write_text(json.dumps(stored))
    assert "cdr_global" in Study.load(folder).examples("train")[0].fields
