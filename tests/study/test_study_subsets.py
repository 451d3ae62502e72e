"""The paper's subsets: balanced, seeded, of held-out subjects, and honest about their size."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from study_maker import make_images, make_sessions, write_study

from medblip.errors import InputError, UsageError
from medblip.study.audit import audit
from medblip.study.study import Study
from medblip.study.subsets import (
    SUBSETS_FILE,
    Subset,
    Subsets,
    check_subsets,
    make_subsets,
    small_subsets,
    subset_examples,
)


def make(folder: Path, order: int = 0) -> Study:
    """ADNI, OASIS-2 (with converters) and MIRIAD: two visits a subject, two runs at the first."""
    parts = [make_sessions(150, name, visits=2, seed=len(name)) for name in ("ADNI", "MIRIAD")]
    oasis = make_sessions(150, "OASIS2", visits=2, seed=9).replace({"diagnosis": {"MCI": "NC"}})
    oasis["diagnosis_detail"] = ["Converted" if n % 7 == 0 else "" for n in range(len(oasis))]
    sessions = pd.concat([*parts, oasis], ignore_index=True)
    sessions.loc[sessions["cohort"] == "MIRIAD", "diagnosis"] = [
        "NC" if n % 3 == 0 else "AD" for n in range(300)
    ]
    images = make_images(sessions)
    again = images[images["session_id"] == "ses-1"].assign(run="2", primary="false")
    again["path"] += "2"
    again["sha256"] = again["sha256"].str[::-1]
    images = pd.concat([images, again], ignore_index=True)
    if order:
        sessions = sessions.sample(frac=1, random_state=order)
        images = images.sample(frac=1, random_state=order)
    return Study.load(write_study(folder, sessions, images, ["MIRIAD"]))


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return make(tmp_path_factory.mktemp("subsets") / "study")


@pytest.fixture(scope="module")
def subsets(study: Study) -> Subsets:
    return make_subsets(study)


def labels(subset: Subset) -> Counter[str]:
    return Counter(image.label for image in subset.images)


def test_the_cohorts_that_are_there_have_their_subsets_in_both_units(subsets: Subsets) -> None:
    names = [(subset.name, subset.unit) for subset in subsets.subsets]
    assert names == [
        (name, unit)
        for name in ("ADNI-3x200", "OASIS-2x200", "MIRIAD-2x200")
        for unit in ("subject", "image")
    ]


def test_every_subset_is_balanced_and_of_held_out_subjects(study: Study, subsets: Subsets) -> None:
    held_out = {*study.splits.subjects["test"], *study.splits.subjects["zero_shot"]}
    for subset in subsets.subsets:
        assert set(labels(subset)) == set(subset.labels)
        assert set(labels(subset).values()) == {subset.drawn}
        assert subset.drawn == min(200, *subset.available.values()) > 0
        assert {image.participant_id for image in subset.images} <= held_out
        assert subset.subjects == len({image.participant_id for image in subset.images})


def test_unit_subject_takes_one_primary_image_a_subject(study: Study, subsets: Subsets) -> None:
    primary = set(study.images.loc[study.images["primary"] == "true", "path"])
    for subset in subsets.subsets:
        subjects = [image.participant_id for image in subset.images]
        if subset.unit == "subject":
            assert len(set(subjects)) == len(subjects)
            assert all(image.path in primary for image in subset.images)
            assert {image.session_id for image in subset.images} == {"ses-1"} or (
                subset.name == "OASIS-2x200"  # a converter's first session is left out
            )
        else:
            assert len(set(subjects)) < len(subjects)
            assert not all(image.path in primary for image in subset.images)


def test_the_units_reach_what_the_paper_reaches(subsets: Subsets) -> None:
    # 150 MIRIAD subjects, 50 of them NC: 200 a label only if runs and visits count
    assert subsets.get("MIRIAD-2x200", "subject").drawn < 200
    assert subsets.get("MIRIAD-2x200", "image").available["AD"] > 200
    (notes,) = [[f for f in small_subsets(subsets) if "MIRIAD-2x200, unit subject" in f.problem]]
    assert notes[0].level == "note"
    assert "instead of 200" in notes[0].problem


def test_sessions_of_converters_are_left_out(study: Study, subsets: Subsets) -> None:
    detail = study.sessions.set_index(["participant_id", "session_id"])["diagnosis_detail"]
    for image in subsets.get("OASIS-2x200", "image").images:
        assert detail[image.participant_id, image.session_id] == ""


def test_the_draw_does_not_depend_on_the_order_of_rows(subsets: Subsets, tmp_path: Path) -> None:
    assert make_subsets(make(tmp_path / "study", order=3)) == subsets


def test_another_seed_draws_others_of_the_same_number(study: Study, subsets: Subsets) -> None:
    other = make_subsets(study, seed=1, per_label=4)
    same = make_subsets(study, seed=0, per_label=4)
    assert len(subsets.subsets) == len(same.subsets)
    for one, two in zip(same.subsets, other.subsets, strict=True):
        assert one.drawn == two.drawn == 4
        assert one.images != two.images


def test_subsets_are_read_back_equal_and_say_how_they_were_made(
    subsets: Subsets, tmp_path: Path
) -> None:
    subsets.write(tmp_path / SUBSETS_FILE)
    assert Subsets.read(tmp_path / SUBSETS_FILE) == subsets
    stored = json.loads((tmp_path / SUBSETS_FILE).read_text())
    assert stored["subsets"][0]["unit"] == "subject"
    assert "SHA-256" in stored["rule"]


@pytest.mark.parametrize("text", ["", "[]", '{"version": 9}', '{"version": 1, "subsets": [{}]}'])
def test_broken_subsets_are_an_input_error(tmp_path: Path, text: str) -> None:
    (tmp_path / SUBSETS_FILE).write_text(text)
    with pytest.raises(InputError) as caught:
        Subsets.read(tmp_path / SUBSETS_FILE)
    assert caught.value.code == "bad-subsets"


def test_a_subset_that_the_splits_have_left_is_an_error(study: Study, subsets: Subsets) -> None:
    check_subsets(subsets, study.splits)
    moved = subsets.get("ADNI-3x200", "subject").images[0].participant_id
    subjects = dict(study.splits.subjects)
    subjects["test"] = tuple(name for name in subjects["test"] if name != moved)
    subjects["train"] = (*subjects["train"], moved)
    with pytest.raises(InputError) as caught:
        check_subsets(subsets, replace(study.splits, subjects=subjects))
    assert caught.value.code == "subset-in-training"
    assert "1 subject(s)" in str(caught.value)
    assert moved not in str(caught.value)


def test_the_audit_reads_the_file(study: Study, subsets: Subsets, tmp_path: Path) -> None:
    codes = {finding.code for finding in audit(study).findings}
    assert "small-subset" not in codes
    subsets.write(study.folder / SUBSETS_FILE)
    assert "small-subset" in {finding.code for finding in audit(study).findings}


def test_a_subset_becomes_examples_in_its_order(study: Study, subsets: Subsets) -> None:
    subset = subsets.get("ADNI-3x200", "image")
    examples = subset_examples(study, subset)
    assert [(e.participant_id, e.session_id, e.image, e.label) for e in examples] == [
        (i.participant_id, i.session_id, i.path, i.label) for i in subset.images
    ]
    gone = replace(study, images=study.images[study.images["path"] != subset.images[0].path])
    with pytest.raises(InputError) as caught:
        subset_examples(gone, subset)
    assert caught.value.code == "subset-mismatch"


def test_an_unknown_subset_names_the_nearest(subsets: Subsets) -> None:
    with pytest.raises(UsageError) as caught:
        subsets.get("ADNI-3x20", "subject")
    assert "did you mean 'ADNI-3x200'?" in str(caught.value)
