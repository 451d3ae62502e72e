"""Training stops at what no result would survive, unless a person has accepted just that."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from invented_heads import copy_of
from leak_maker import load, make, thumbnails

from medblip.errors import InputError, UsageError
from medblip.study.audit import audit, write_audit_json
from medblip.study.record import FIELDS, record_text
from medblip.study.soundness import _DIAGNOSIS, require_sound
from medblip.study.study import AUDIT_JSON_FILE, SPLITS_FILE, Study


def one_file_on_both_sides(folder: Path) -> Study:
    made = make(people=60)
    study = load(folder / "first", made)
    train, test = study.splits.subjects["train"], study.splits.subjects["test"]
    sha = made.images.set_index("participant_id")["sha256"]
    made.images.loc[made.images["participant_id"] == test[0], "sha256"] = sha[train[0]]
    return load(folder / "study", made)


def test_a_clean_study_is_sound(tmp_path: Path) -> None:
    require_sound(load(tmp_path, make(people=60)))


def test_an_error_stops_with_its_code_and_the_way_out(tmp_path: Path) -> None:
    study = one_file_on_both_sides(tmp_path)
    with pytest.raises(InputError) as caught:
        require_sound(study)
    assert caught.value.code == "same-image-both-sides"
    assert "--accept-audit same-image-both-sides" in str(caught.value)
    assert "participant_id" in caught.value.fix


def test_an_accepted_error_lets_training_go_on(tmp_path: Path) -> None:
    study = one_file_on_both_sides(tmp_path)
    require_sound(study, ["same-image-both-sides"])
    with pytest.raises(InputError):
        require_sound(study, ["diagnosis-in-record"])


@pytest.mark.parametrize(
    "code", ["same-image-both-side", "subject-on-two-sides", "label-in-record"]
)
def test_only_some_errors_can_be_accepted(tmp_path: Path, code: str) -> None:
    with pytest.raises(UsageError) as caught:
        require_sound(load(tmp_path, make(people=60)), [code])
    assert caught.value.code == "bad-accept"


def test_a_subject_on_two_sides_can_never_be_accepted(tmp_path: Path) -> None:
    study = load(tmp_path, make(people=60))
    subjects = dict(study.splits.subjects)
    subjects["test"] += subjects["train"][:1]
    study = replace(study, splits=replace(study.splits, subjects=subjects))
    with pytest.raises(InputError) as caught:
        require_sound(study)
    assert caught.value.code == "subject-on-two-sides"
    assert "--accept-audit" not in str(caught.value)


def near_duplicate(folder: Path) -> Study:
    """A study whose audit saw a copy across the split; its tables alone do not show it."""
    made = make(people=60)
    study = load(folder, made)
    one, two = (made.cube_of(made.subject(study, split)) for split in ("train", "test"))
    made.cubes[two] = copy_of(made.cubes[one], "all")
    write_audit_json(study, audit(study, thumbnails(made)), folder / AUDIT_JSON_FILE)
    return study


def test_errors_of_the_last_audit_stop_training_too(tmp_path: Path) -> None:
    study = near_duplicate(tmp_path)
    with pytest.raises(InputError) as caught:
        require_sound(study)
    assert caught.value.code == "near-duplicate-both-sides"
    require_sound(study, ["near-duplicate-both-sides"])


def test_an_audit_of_other_tables_is_not_believed(tmp_path: Path) -> None:
    study = near_duplicate(tmp_path)
    path = tmp_path / SPLITS_FILE
    path.write_text(path.read_text() + " ")  # edited, perhaps to mend it
    require_sound(study)


@pytest.mark.parametrize("text", ["", "[]", '{"findings": 3}', '{"findings": [{}], "tables": {}}'])
def test_a_damaged_audit_is_as_good_as_none(tmp_path: Path, text: str) -> None:
    study = load(tmp_path, make(people=60))
    (tmp_path / AUDIT_JSON_FILE).write_text(text)
    require_sound(study)


def test_the_json_holds_every_number_and_no_identifier(tmp_path: Path) -> None:
    near_duplicate(tmp_path)
    text = (tmp_path / AUDIT_JSON_FILE).read_text()
    audited = json.loads(text)
    assert audited["schema"] == "medblip-audit/1"
    assert audited["simulated"] is True
    ceiling = audited["predictability"][0]
    assert ceiling["source"] == "record"
    assert 0 < ceiling["low"] < ceiling["accuracy"] < ceiling["high"] < 1
    assert {row["split"] for row in audited["splits"]} == {
        "train",
        "validation",
        "test",
        "zero_shot",
    }
    assert not [
        name for name in load(tmp_path / "b", make(people=60)).splits.split_of() if name in text
    ]


@pytest.mark.parametrize("wording", ["short", "long"])
def test_no_wording_of_a_record_holds_a_word_of_a_diagnosis(wording: str) -> None:
    fields = dict.fromkeys(FIELDS, "1") | {"sex": "F", "age": "70"}
    for units in (False, True):
        text = record_text(fields, tuple(FIELDS), wording=wording, units=units)  # type: ignore[arg-type]
        assert not _DIAGNOSIS.search(text)


def test_training_stops_before_it_makes_anything(tmp_path: Path) -> None:
    from medblip.recipe import load_recipe
    from medblip.training.run import train

    study = one_file_on_both_sides(tmp_path)
    places = {"cubes": tmp_path / "cubes", "tokens": tmp_path / "tokens"}
    with pytest.raises(InputError) as caught:
        train(load_recipe("embedded"), study, tmp_path / "run", **places)  # type: ignore[arg-type]
    assert caught.value.code == "same-image-both-sides"
    with pytest.raises(UsageError):
        train(  # type: ignore[call-overload,unused-ignore]
            load_recipe("embedded"), study, tmp_path / "run", **places, accept_audit=["nonsense"]
        )
    assert not (tmp_path / "run").exists()
