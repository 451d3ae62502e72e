"""Planted leaks: each is found by its code, and a clean study has nothing above a note."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from invented_heads import copy_of, head
from leak_maker import PEOPLE, Made, load, make, thumbnails, worse_than_notes
from study_maker import make_images

from medblip.study.audit import audit
from medblip.study.soundness import hard_findings


@pytest.mark.parametrize("seed", range(3))
def test_a_clean_study_has_only_notes(tmp_path: Path, seed: int) -> None:
    made = make(seed=10 * seed)
    findings = audit(load(tmp_path, made), thumbnails(made)).findings
    assert worse_than_notes(findings) == {}
    assert "text-only-ceiling" in {finding.code for finding in findings}


# ---------------------------------------------------------------- leaks in the tables


def told_by(column: str, *values: str) -> Callable[[Made], None]:
    """The label in one column of the sessions; one in ten is told wrong."""

    def leak(made: Made) -> None:
        table = made.sessions if column in made.sessions else made.images
        codes = made.sessions["diagnosis"].map({"NC": 0, "MCI": 1, "AD": 2}).to_numpy()
        wrong = np.random.default_rng(0).random(len(codes)) < 0.1
        table[column] = np.array(values)[np.where(wrong, (codes + 1) % 3, codes)]

    return leak


def score_tells(made: Made) -> None:
    made.sessions["mmse"] = made.sessions["diagnosis"].map({"NC": "30", "MCI": "24", "AD": "15"})


def group_in_the_path(made: Made) -> None:
    group = made.sessions["diagnosis"].map({"NC": "HC", "MCI": "HC", "AD": "AD"})
    made.images["path"] = "scans/" + group + "/" + made.images["participant_id"] + "/T1w.nii.gz"


def numbers_by_group(made: Made) -> None:
    for _, rows in made.sessions.groupby("cohort"):
        order = rows["diagnosis"].map({"NC": 0, "MCI": 1, "AD": 2}).sort_values(kind="stable")
        names = [f"{rows['cohort'].iloc[0]}-{number:04d}" for number in range(len(rows))]
        made.sessions.loc[order.index, "participant_id"] = names
        made.images.loc[order.index, "participant_id"] = names


def patients_scanned_later(made: Made) -> None:
    sick = made.sessions["diagnosis"] == "AD"
    dates = pd.to_datetime(made.sessions["scan_date"])
    later = dates.where(~sick, dates + pd.Timedelta(days=3000))
    made.sessions["scan_date"] = later.dt.strftime("%Y-%m-%d")


def patients_older(made: Made) -> None:
    age = made.sessions["age"].astype(float) + 8 * (made.sessions["diagnosis"] == "AD")
    made.sessions["age"] = age.round(1).astype(str)


def patients_men(made: Made) -> None:
    sick = made.sessions["diagnosis"] == "AD"
    made.sessions.loc[sick, "sex"] = "M"


def patients_not_tested(made: Made) -> None:
    made.sessions.loc[made.sessions["diagnosis"] == "AD", "lm_delayed"] = ""


def label_from_a_field_of_the_record(made: Made) -> None:
    made.sessions["label_defined_by"] = "mmse,cdr_global"


def visits_numbered_as_people(made: Made) -> None:
    names = [f"SIM-A-{n // 2:04d}_MR{n % 2 + 1}" for n in range(PEOPLE // 2)]
    made.sessions.loc[: len(names) - 1, "participant_id"] = names
    made.images.loc[: len(names) - 1, "participant_id"] = names


def two_diagnoses_on_a_day(made: Made) -> None:
    add_visit(made, days="0", diagnosis="AD", scan_date=made.sessions["scan_date"].iloc[0])


def sudden_recovery(made: Made) -> None:
    made.sessions.loc[0, ["diagnosis", "scan_date"]] = ["AD", "2008-05-01"]
    add_visit(made, days="900", diagnosis="NC", scan_date="2010-11-01")


def add_visit(made: Made, *, days: str, diagnosis: str, scan_date: str) -> None:
    """Another session of the first subject, which is an NC."""
    session = made.sessions.iloc[[0]].assign(
        session_id="ses-9", days_from_baseline=days, diagnosis=diagnosis, scan_date=scan_date
    )
    image = make_images(session).assign(kind="raw")
    made.sessions = pd.concat([made.sessions, session], ignore_index=True)
    made.images = pd.concat([made.images, image], ignore_index=True)
    made.cubes[image["cube"].iloc[0]] = head(0, visit=1)


def diagnosed_much_later(made: Made) -> None:
    made.sessions["match_days"] = ["-170" if n % 5 == 0 else "3" for n in range(PEOPLE)]


@pytest.mark.parametrize(
    ("leak", "code", "said"),
    [
        (score_tells, "label-in-record", "balanced accuracy 1.00"),
        (told_by("site", "North", "South", "East"), "label-from-site", "site"),
        (told_by("voxel_mm", "1x1x1", "1x1x1.2", "2x1x1"), "label-from-voxel-size", "voxel size"),
        (told_by("field_strength_t", "1.5", "3", "7"), "label-from-scanner", "scanner"),
        (told_by("kind", "raw", "averaged", "registered"), "label-from-file-kind", "file kind"),
        (group_in_the_path, "label-from-file-name", "file name"),
        (numbers_by_group, "label-from-file-name", "file name"),
        (patients_scanned_later, "label-from-scan-date", "scan date"),
        (patients_older, "mean-age-by-label", "NC"),
        (patients_men, "women-by-label", "AD 0%"),
        (patients_not_tested, "missing-by-label", "AD 100%"),
        (label_from_a_field_of_the_record, "label-defining-field", "mmse"),
        (visits_numbered_as_people, "visits-as-subjects", "two sides"),
        (two_diagnoses_on_a_day, "two-diagnoses", "2 session(s)"),
        (sudden_recovery, "label-jump", "1 subject visit(s)"),
        (diagnosed_much_later, "label-from-later-visit", "20%"),
    ],
    ids=lambda value: value if isinstance(value, str) and "-" in value else "",
)
def test_a_leak_in_the_tables_is_found(
    tmp_path: Path, leak: Callable[[Made], None], code: str, said: str
) -> None:
    made = make()
    leak(made)
    finding = worse_than_notes(audit(load(tmp_path, made)).findings)[code]
    assert finding.level == "warning"
    assert said in finding.problem
    assert finding.fix


# ---------------------------------------------------------------- leaks that stop training


def test_a_subject_on_both_sides_is_an_error(tmp_path: Path) -> None:
    study = load(tmp_path, make())
    subjects = dict(study.splits.subjects)
    subjects["test"] += subjects["train"][:1]
    leaking = replace(study, splits=replace(study.splits, subjects=subjects))
    finding = audit(leaking).findings[0]
    assert (finding.code, finding.level) == ("subject-on-two-sides", "error")


@pytest.mark.parametrize("split", ["validation", "test", "zero_shot"])
def test_one_file_on_both_sides_is_an_error(tmp_path: Path, split: str) -> None:
    made = make()
    study = load(tmp_path / "a", made)
    taken, by = made.subject(study, "train"), made.subject(study, split)
    sha = made.images.set_index("participant_id")["sha256"]
    made.images.loc[made.images["participant_id"] == by, "sha256"] = sha[taken]
    finding = hard_findings(load(tmp_path / "b", made))[1]  # after the note on sides
    assert (finding.code, finding.level) == ("same-image-both-sides", "error")
    assert "1 image file(s)" in finding.problem


@pytest.mark.parametrize("kind", ["noise", "scale", "shift", "mirror", "all"])
def test_one_scan_saved_twice_on_both_sides_is_an_error(tmp_path: Path, kind: str) -> None:
    made = make()
    study = load(tmp_path, made)
    one, two = (made.cube_of(made.subject(study, split)) for split in ("train", "test"))
    made.cubes[two] = copy_of(made.cubes[one], kind)
    finding = audit(study, thumbnails(made)).findings[0]
    assert (finding.code, finding.level) == ("near-duplicate-both-sides", "error")


@pytest.mark.parametrize("word", ["probable AD", "dementia", "MCI", "Alzheimer's"])
def test_a_word_of_a_diagnosis_in_the_record_is_an_error(tmp_path: Path, word: str) -> None:
    study = load(tmp_path, make())
    sessions = study.sessions.copy()
    sessions.iloc[3, sessions.columns.get_loc("mmse")] = f"21 ({word})"
    finding = hard_findings(replace(study, sessions=sessions))[1]
    assert (finding.code, finding.level) == ("diagnosis-in-record", "error")
    assert finding.where == "sessions.tsv line 5"
