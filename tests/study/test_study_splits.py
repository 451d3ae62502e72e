"""Splits are by subject, seeded, balanced, independent of row order, and checked."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from study_maker import make_sessions

from medblip.errors import InputError, UsageError
from medblip.study.order import first_labelled, in_order
from medblip.study.people import read_people
from medblip.study.splits import (
    FRACTIONS,
    SPLITS,
    Splits,
    check_splits,
    make_splits,
    zero_shot_by_default,
)


def two_cohorts(subjects: int = 90, visits: int = 2) -> pd.DataFrame:
    return pd.concat([make_sessions(subjects, name, visits) for name in ("SIM-A", "SIM-B")])


def test_splits_do_not_depend_on_the_order_of_rows() -> None:
    sessions = two_cohorts()
    shuffled = sessions.sample(frac=1, random_state=3)
    assert make_splits(sessions, seed=5) == make_splits(shuffled, seed=5)


def test_another_seed_draws_other_subjects_in_equal_numbers() -> None:
    one, two = make_splits(two_cohorts(), seed=1), make_splits(two_cohorts(), seed=2)
    assert one.subjects["test"] != two.subjects["test"]
    assert {s: len(one.subjects[s]) for s in SPLITS} == {s: len(two.subjects[s]) for s in SPLITS}


def test_each_cohort_and_diagnosis_has_its_share_in_each_split() -> None:
    sessions = two_cohorts()
    side = make_splits(sessions).split_of()
    first = first_labelled(sessions)
    first = first.assign(side=first["participant_id"].map(side))
    for _, group in first.groupby(["cohort", "diagnosis"]):
        for split, fraction in zip(SPLITS, FRACTIONS, strict=False):
            share = (group["side"] == split).mean() * len(group)
            # dealing one by one keeps each stretch of the list within two subjects of its share
            assert abs(share - fraction * len(group)) <= 2


@settings(max_examples=50, deadline=None)
@given(
    subjects=st.integers(1, 40),
    seed=st.integers(0, 5),
    fractions=st.sampled_from([FRACTIONS, (1.0, 0.0, 0.0), (0.5, 0.5, 0.0), (0.34, 0.33, 0.33)]),
)
def test_whole_sizes_follow_the_fractions(
    subjects: int, seed: int, fractions: tuple[float, float, float]
) -> None:
    sessions = make_sessions(subjects)
    splits = make_splits(sessions, seed=seed, fractions=fractions)
    check_splits(splits, sessions)
    for split, fraction in zip(SPLITS, fractions, strict=False):
        assert abs(len(splits.subjects[split]) - fraction * subjects) <= 1


def test_zero_shot_cohorts_are_never_trained_on() -> None:
    sessions = two_cohorts()
    splits = make_splits(sessions, zero_shot=["SIM-B"])
    assert all(name.startswith("SIM-B") for name in splits.subjects["zero_shot"])
    assert len(splits.subjects["zero_shot"]) == 90
    assert all(name.startswith("SIM-A") for s in SPLITS[:3] for name in splits.subjects[s])


def test_subject_without_a_label_is_placed_too() -> None:
    sessions = make_sessions(10).assign(diagnosis="")
    check_splits(make_splits(sessions), sessions)


def test_splits_are_read_back_equal_and_hold_the_rule(tmp_path: Path) -> None:
    splits = make_splits(two_cohorts(), zero_shot=["SIM-B"], seed=7)
    splits.write(tmp_path / "splits.json")
    assert Splits.read(tmp_path / "splits.json") == splits
    stored = json.loads((tmp_path / "splits.json").read_text())
    assert stored["seed"] == 7
    assert "SHA-256" in stored["rule"]


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"version": 2}', '{"version": 1, "fractions": {"train": 1}}']
)
def test_broken_splits_are_an_input_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "splits.json").write_text(text)
    with pytest.raises(InputError) as caught:
        Splits.read(tmp_path / "splits.json")
    assert caught.value.code == "bad-splits"


def edited(splits: Splits, **subjects: tuple[str, ...]) -> Splits:
    return replace(splits, subjects={**splits.subjects, **subjects})


def test_subject_on_two_sides_stops_with_a_count_and_no_name() -> None:
    sessions = make_sessions(30)
    splits = make_splits(sessions)
    taken = splits.subjects["train"][:2]
    with pytest.raises(InputError) as caught:
        check_splits(edited(splits, test=splits.subjects["test"] + taken), sessions)
    assert caught.value.code == "subject-on-two-sides"
    assert "2 subject(s)" in str(caught.value)
    assert "SIM-A-" not in str(caught.value)


def test_missing_unknown_and_misplaced_subjects_stop() -> None:
    sessions = two_cohorts(30)
    splits = make_splits(sessions, zero_shot=["SIM-B"])
    train, held_out = splits.subjects["train"], splits.subjects["zero_shot"]
    wrong = {
        "splits-mismatch": [
            edited(splits, train=train[1:]),
            edited(splits, train=(*train, "SIM-A-x")),
        ],
        "zero-shot-in-training": [
            edited(splits, train=(*train, held_out[0]), zero_shot=held_out[1:]),
            edited(splits, train=train[1:], zero_shot=(*held_out, train[0])),
        ],
    }
    for code, cases in wrong.items():
        for case in cases:
            with pytest.raises(InputError) as caught:
                check_splits(case, sessions)
            assert caught.value.code == code


@pytest.mark.parametrize(
    "fractions", [(0.7, 0.2), (0.7, 0.2, 0.2), (1.2, -0.1, -0.1), (float("nan"), 0.5, 0.5)]
)
def test_wrong_fractions_are_a_usage_error(fractions: tuple[float, ...]) -> None:
    with pytest.raises(UsageError) as caught:
        make_splits(make_sessions(5), fractions=fractions)
    assert caught.value.code == "bad-fractions"


def test_unknown_zero_shot_cohort_names_the_nearest() -> None:
    with pytest.raises(UsageError) as caught:
        make_splits(make_sessions(5), zero_shot=["SIMA"])
    assert caught.value.code == "unknown-cohort"
    assert "did you mean 'SIM-A'?" in str(caught.value)


def test_sessions_are_ordered_by_time_then_by_number() -> None:
    sessions = make_sessions(1, visits=3)
    sessions["session_id"] = ["ses-10", "ses-2", "ses-1"]
    sessions["days_from_baseline"] = ["", "", "5"]
    assert in_order(sessions)["session_id"].tolist() == ["ses-1", "ses-2", "ses-10"]
    sessions["diagnosis"] = ["NC", "MCI", ""]
    assert first_labelled(sessions)["session_id"].tolist() == ["ses-2"]


# ---------------------------------------------------------------- one person, several identifiers


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 3),
    groups=st.lists(
        st.tuples(st.integers(0, 39), st.integers(0, 39)), max_size=12, unique_by=(lambda p: p[0],)
    ),
)
def test_the_same_person_is_never_torn_apart(seed: int, groups: list[tuple[int, int]]) -> None:
    sessions = two_cohorts(40, visits=1)
    once = {b: a for a, b in groups}  # no subject in two groups
    people = [(f"SIM-A-{a:04d}", f"SIM-B-{b:04d}") for b, a in once.items()]
    splits = make_splits(sessions, seed=seed, same_person=people)
    check_splits(splits, sessions)
    side = splits.split_of()
    assert all(side[one] == side[two] for one, two in people)
    for split, fraction in zip(SPLITS, FRACTIONS, strict=False):
        assert abs(len(splits.subjects[split]) - fraction * 80) <= 1 + len(people)


def test_equal_identifiers_in_two_cohorts_are_two_people_without_a_table() -> None:
    sessions = two_cohorts(90, visits=1)
    side = make_splits(sessions).split_of()
    assert any(side[f"SIM-A-{n:04d}"] != side[f"SIM-B-{n:04d}"] for n in range(90))
    assert make_splits(sessions, same_person=[]) == make_splits(sessions)


def test_a_person_of_a_zero_shot_cohort_is_never_trained_on() -> None:
    sessions = two_cohorts(90, visits=1)
    people = [(f"SIM-A-{n:04d}", f"SIM-B-{n:04d}") for n in range(20)]
    splits = make_splits(sessions, zero_shot=["SIM-B"], same_person=people)
    check_splits(splits, sessions)
    assert {f"SIM-A-{n:04d}" for n in range(20)} <= set(splits.subjects["test"])


def test_a_person_on_two_sides_stops(tmp_path: Path) -> None:
    sessions = two_cohorts(30, visits=1)
    splits = make_splits(sessions, same_person=[("SIM-A-0003", "SIM-B-0007")])
    splits.write(tmp_path / "splits.json")
    assert Splits.read(tmp_path / "splits.json") == splits
    side = splits.split_of()["SIM-A-0003"]
    other = "train" if side != "train" else "test"
    moved = {
        side: tuple(name for name in splits.subjects[side] if name != "SIM-A-0003"),
        other: (*splits.subjects[other], "SIM-A-0003"),  # type: ignore[index]
    }
    with pytest.raises(InputError) as caught:
        check_splits(edited(splits, **moved), sessions)
    assert caught.value.code == "person-on-two-sides"
    assert "SIM-A" not in str(caught.value)


@pytest.mark.parametrize(
    ("rows", "groups"),
    [
        ("A-1\tp\nB-9\tp\nA-2\tq\n", (("A-1", "B-9"),)),
        ("A-1\tp\nB-9\tp\nA-2\tn/a\nA-3\tn/a\nA-4\t\nA-5\t\n", (("A-1", "B-9"),)),
    ],
)
def test_a_table_of_people_is_read(
    tmp_path: Path, rows: str, groups: tuple[tuple[str, ...], ...]
) -> None:
    (tmp_path / "people.tsv").write_text("participant_id\tperson_id\n" + rows)
    assert read_people(tmp_path / "people.tsv") == groups


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("participant_id\tperson_id\nA-1\tp\nA-2\tq\n", "nobody-twice"),
        ("participant_id\tperson_id\nA-1\tp\nA-1\tq\n", "duplicate-row"),
        ("participant_id\tperson\nA-1\tp\n", "missing-column"),
    ],
)
def test_a_table_that_says_nothing_or_too_much_is_refused(
    tmp_path: Path, text: str, code: str
) -> None:
    (tmp_path / "people.tsv").write_text(text)
    with pytest.raises(InputError) as caught:
        read_people(tmp_path / "people.tsv")
    assert caught.value.code == code


# ---------------------------------------------------------------- zero-shot by default


@pytest.mark.parametrize(
    ("cohorts", "held_out"),
    [
        ({"ADNI", "NACC", "OASIS1", "OASIS2", "AIBL", "MIRIAD"}, ("AIBL", "MIRIAD")),
        ({"SIM-ADNI", "SIM-AIBL"}, ("SIM-AIBL",)),
        ({"ADNI", "NACC"}, ()),
        ({"AIBL"}, ()),
        ({"AIBL", "MIRIAD"}, ()),
    ],
)
def test_aibl_and_miriad_are_zero_shot_beside_others(
    cohorts: set[str], held_out: tuple[str, ...]
) -> None:
    assert zero_shot_by_default(cohorts) == held_out


def test_the_five_cohorts_train_on_three() -> None:
    names = ("ADNI", "NACC", "OASIS1", "OASIS2", "AIBL", "MIRIAD")
    sessions = pd.concat([make_sessions(30, name) for name in names])
    splits = make_splits(sessions, zero_shot=zero_shot_by_default(names))
    check_splits(splits, sessions)
    trained = {name.split("-")[0] for s in SPLITS[:3] for name in splits.subjects[s]}
    assert trained == {"ADNI", "NACC", "OASIS1", "OASIS2"}
    assert {n.split("-")[0] for n in splits.subjects["zero_shot"]} == {"AIBL", "MIRIAD"}
