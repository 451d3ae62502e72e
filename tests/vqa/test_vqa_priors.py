"""Questions that compare with an earlier session: written, read back; a bad one is a finding."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from medblip.errors import InputError
from medblip.study.study import SESSIONS_FILE, Study
from medblip.study.tables import write_table
from medblip.vqa.priors import Visit, prior_cube, prior_cubes, visits_of
from medblip.vqa.question_file import QUESTIONS_FILE, as_dict, read_questions, write_questions
from medblip.vqa.questions import Question, SessionImage, VolumeFile
from medblip.vqa.study_questions import study_questions, unrolled
from study.study_maker import make_images, make_sessions, write_study

GOOD: dict[str, Any] = {
    "id": "q1",
    "participant_id": "SIM-A-0001",
    "session_id": "ses-2",
    "prior_session_id": "ses-1",
    "kind": "growth",
    "text": "Have the ventricles grown?",
    "answer": "yes",
    "choices": ["no", "yes"],
}
CURRENT, PRIOR = SessionImage("SIM-A-0001", "ses-2"), SessionImage("SIM-A-0001", "ses-1")
QUESTION = Question(
    "q1", CURRENT, "Have the ventricles grown?", "growth", "yes", ("no", "yes"), prior=PRIOR
)


def test_a_question_comes_back_as_it_was(tmp_path: Path) -> None:
    assert as_dict(QUESTION) == GOOD
    write_questions(tmp_path / "q.jsonl", [QUESTION, replace(QUESTION, id="q2", prior=None)])
    read = read_questions(tmp_path / "q.jsonl")
    assert read.questions == (QUESTION, replace(QUESTION, id="q2", prior=None))
    second = (tmp_path / "q.jsonl").read_text("utf-8").splitlines()[1]
    assert "prior" not in second  # lines without one are what they were


@pytest.mark.parametrize(
    ("image", "prior"),
    [
        (CURRENT, CURRENT),
        (CURRENT, SessionImage("SIM-A-0002", "ses-1")),
        (VolumeFile("a.nii"), PRIOR),
    ],
)
def test_a_prior_of_another_subject_or_the_same_session_is_refused(image: Any, prior: Any) -> None:
    with pytest.raises(InputError) as caught:
        replace(QUESTION, image=image, prior=prior)
    assert caught.value.code == "wrong-prior"


def test_the_turns_of_a_dialogue_keep_the_prior() -> None:
    open_one = replace(QUESTION, choices=(), turns=(), answer="They have.")
    assert [turn.prior for turn in unrolled(open_one)] == [PRIOR]


def visit(date: str = "", days: float | None = None, cube: str = "c") -> Visit:
    return Visit(date, days, cube)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (visit("2011-03-01"), visit("2012-03-01"), True),
        (visit("2012-03-01"), visit("2011-03-01"), False),
        (visit("2012-03-01"), visit("2012-03-01"), False),
        (visit("2012-03-01", 0), visit("2011-03-01", 365), False),  # the date says more
        (visit(days=0), visit("2011-03-01", 365), True),
        (visit(days=365), visit(days=365), False),
        (visit("2011-03-01"), visit(days=365), None),
        (visit(), visit(), None),
    ],
)
def test_which_visit_is_the_earlier_one(first: Visit, second: Visit, expected: object) -> None:
    assert first.before(second) is expected


FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "unknown session": ({"prior_session_id": "ses-9"}, "unknown-session"),
    "the same session": ({"prior_session_id": "ses-2"}, "wrong-prior"),
    "a later session": ({"session_id": "ses-1", "prior_session_id": "ses-2"}, "prior-not-earlier"),
    "no text": ({"prior_session_id": 1}, "wrong-type"),
    "without a scan": ({"prior_session_id": "ses-3", "session_id": "ses-2"}, "prior-without-scan"),
    "without a date": ({"prior_session_id": "ses-4", "session_id": "ses-2"}, "prior-not-earlier"),
}
VISITS = {
    SessionImage("SIM-A-0001", "ses-1"): visit("2011-01-01"),
    SessionImage("SIM-A-0001", "ses-2"): visit("2012-01-01"),
    SessionImage("SIM-A-0001", "ses-3"): visit("2010-01-01", cube=""),
    SessionImage("SIM-A-0001", "ses-4"): visit(),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_bad_prior_is_one_finding_and_the_others_are_read(name: str, tmp_path: Path) -> None:
    changed, code = FAULTS[name]
    path = tmp_path / "q.jsonl"
    lines = [GOOD | changed, GOOD | {"id": "q2"}]
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines), "utf-8")
    read = read_questions(path, visits=VISITS)
    assert [q.id for q in read.questions] == ["q2"] and read.skipped == 1
    assert [finding.code for finding in read.findings if finding.level == "error"] == [code]


def test_a_prior_of_a_volume_is_a_finding(tmp_path: Path) -> None:
    path = tmp_path / "q.jsonl"
    line = {k: v for k, v in GOOD.items() if k not in ("participant_id", "session_id")}
    path.write_text(f"{json.dumps(line | {'volume': 'a.npy'})}\n", "utf-8")
    assert [finding.code for finding in read_questions(path).findings] == ["wrong-prior"]


def test_a_study_knows_its_visits_and_checks_its_questions(tmp_path: Path) -> None:
    sessions = make_sessions(3, visits=2)
    images = make_images(sessions)
    kept = (images["participant_id"] != "SIM-A-0002") | (images["session_id"] != "ses-1")
    study = Study.load(write_study(tmp_path / "study", sessions, images[kept]))
    visits = visits_of(study)
    assert visits[CURRENT].days == 365 and visits[PRIOR].before(visits[CURRENT])
    assert visits[SessionImage("SIM-A-0002", "ses-1")].cube == ""
    cube = dict(zip(zip(images.participant_id, images.session_id, strict=True), images.cube))  # noqa: B905
    assert prior_cube(QUESTION, visits) == cube["SIM-A-0001", "ses-1"]
    assert prior_cubes([QUESTION, replace(QUESTION, prior=None), QUESTION], visits) == [
        cube["SIM-A-0001", "ses-1"]
    ]
    write_questions(study.folder / QUESTIONS_FILE, [QUESTION])
    assert study_questions(study) == (QUESTION,)
    sessions["days_from_baseline"] = ""
    write_table(study.folder / SESSIONS_FILE, sessions)
    with pytest.raises(InputError) as caught:
        study_questions(Study.load(study.folder))
    assert caught.value.code == "bad-questions" and "not known to be the earlier" in str(
        caught.value
    )
