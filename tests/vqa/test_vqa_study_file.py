"""`medblip questions`: a study's own file from the ground truth, and public files read in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner
from vqa_maker import make_scans, study_of, write_demo, write_replica

from medblip.cli import app
from medblip.errors import InputError, PartlyDoneError
from medblip.notice import SIMULATED_DATA
from medblip.study.study import Study
from medblip.vqa.question_file import QUESTIONS_FILE, read_questions
from medblip.vqa.study_file import write_study_questions
from medblip.vqa.study_questions import study_questions

SUBJECTS = 240
M3D = (
    "Image Path,Image Caption,Question,Choice A,Choice B,Choice C,Choice D,"
    "Answer,Answer Choice,Question Type"
)


SCANS = make_scans(SUBJECTS)


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_demo(tmp_path_factory.mktemp("simulated"), SCANS)


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return study_of(tmp_path / "study", SCANS)


def test_a_file_of_all_forms_is_written_and_read_back(simulated: Path, study: Study) -> None:
    done = write_study_questions(simulated, study, two_turns=24)
    questions = study_questions(study)
    assert len(questions) == sum(sum(kinds.values()) for kinds in done.counts.values())
    split_of = study.splits.split_of()
    by_split: dict[str, list[Any]] = {name: [] for name in done.counts}
    for question in questions:
        by_split[split_of[question.image.participant_id]].append(question)
    assert {name: len(listed) for name, listed in by_split.items() if listed} == {
        name: sum(kinds.values()) for name, kinds in done.counts.items() if kinds
    }
    assert done.two_turns == 24
    assert done.counts["test"]["dialogue"] == len(study.splits.subjects["test"])
    assert not any("two-turn" in kind for kind in done.counts["validation"])
    before = done.path.read_bytes()
    assert write_study_questions(simulated, study, two_turns=24).path.read_bytes() == before


def test_too_few_scans_give_fewer_cases_of_two_turns(simulated: Path, study: Study) -> None:
    done = write_study_questions(simulated, study, two_turns=4000)
    assert 0 < done.two_turns < 4000
    assert write_study_questions(simulated, study, two_turns=0).two_turns == 0


def test_another_simulated_folder_is_refused(study: Study, tmp_path: Path) -> None:
    other = write_demo(tmp_path / "other", make_scans(30, "SIM-Q"))
    with pytest.raises(InputError) as caught:
        write_study_questions(other, study)
    assert caught.value.code == "other-scans"


def test_the_command_says_what_was_made(simulated: Path, study: Study) -> None:
    arguments = ["questions", "simulated", str(simulated), "--study", str(study.folder)]
    shown = CliRunner().invoke(app, [*arguments, "--two-turns", "4000"])
    assert shown.exit_code == 0, shown.output
    assert SIMULATED_DATA in shown.output and "ventricle-size" in shown.output
    assert "not 4000; simulate more" in " ".join(shown.output.split())
    assert (study.folder / QUESTIONS_FILE).is_file()


def test_a_replicas_study_needs_no_folder(tmp_path: Path) -> None:
    """Its sources say where the truth lies; sides are asked about, and told in dialogues."""
    scans = make_scans(SUBJECTS, "ADNI", sided=True)
    raw = write_replica(tmp_path / "raw", scans)
    study = study_of(tmp_path / "study", scans, raw)
    shown = CliRunner().invoke(app, ["questions", "simulated", "--study", str(study.folder)])
    assert shown.exit_code == 0, shown.output
    kinds = {question.kind for question in study_questions(study)}
    assert {"medial-temporal-side", "ventricle-side", "most-affected-region"} <= kinds
    here = (study.folder / QUESTIONS_FILE).read_bytes()
    moved = (tmp_path / "raw").rename(tmp_path / "moved")
    arguments = ["questions", "simulated", "--study", str(study.folder)]
    missing = CliRunner().invoke(app, arguments)
    assert isinstance(missing.exception, InputError) and missing.exception.code == "no-ground-truth"
    assert CliRunner().invoke(app, [*arguments, str(moved)]).exit_code == 0
    assert (study.folder / QUESTIONS_FILE).read_bytes() == here


def test_bad_rows_of_m3d_are_listed_skipped_and_counted(tmp_path: Path) -> None:
    rows = [
        "a/1.npy,text,Which plane?,axial,coronal,sagittal,oblique,axial,A,1",
        "a/2.npy,text,Which phase?,early,,late,none,early,A,2",
        "a/3.npy,text,Which organ?,liver,brain,heart,lung,kidney,A,3",
        "a/1.npy,text,Which plane?,axial,coronal,sagittal,oblique,axial,A,1",
        "../4.npy,text,Where?,left,right,both,none,left,A,5",
    ]
    source, out = tmp_path / "m3d.csv", tmp_path / "out.jsonl"
    source.write_text("\n".join([M3D, *rows]) + "\n")
    shown = CliRunner().invoke(app, ["questions", "m3d", str(source), "--out", str(out)])
    assert isinstance(shown.exception, PartlyDoneError) and shown.exception.exit_code == 4
    assert "1 questions, 4 entries skipped" in shown.output
    assert [q.text for q in read_questions(out).questions] == ["Which plane?"]


def test_a_neuroqa_file_becomes_questions(tmp_path: Path) -> None:
    source, out = tmp_path / "neuroqa.jsonl", tmp_path / "out.jsonl"
    row = {"id": "1", "image": "a.nii.gz", "question": "Is it?", "answer": "yes"}
    source.write_text(json.dumps(row | {"question_type": "presence"}) + "\n")
    shown = CliRunner().invoke(app, ["questions", "neuroqa", str(source), "--out", str(out)])
    assert shown.exit_code == 0, shown.output
    (question,) = read_questions(out).questions
    assert question.choices == ("yes", "no")
