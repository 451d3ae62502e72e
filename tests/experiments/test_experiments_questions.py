"""Table 3 and Figures 3 and 4: one training, blind controls, what is kept, and the page."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_experiment import make_study, tiny_values

from medblip.cli import main
from medblip.errors import InputError, UsageError
from medblip.evaluation import vqa_answers
from medblip.evaluation.over_seeds import Cell, SeededAnswers
from medblip.experiments import runner
from medblip.experiments.figure4 import figure_4
from medblip.experiments.figure_cases import CaseMaker, evenly, marks_of
from medblip.experiments.matrix import EMBEDDED, SIZES, Size, trials_of
from medblip.experiments.questions_claims import question_claims
from medblip.experiments.questions_kept import BLIND, CONTROL, QuestionAnswers, ShownScores
from medblip.experiments.questions_lines import AskedRuns
from medblip.experiments.questions_study import (
    CLAIM_FILE,
    asking_at_most,
    claim_questions,
    trials_on,
)
from medblip.experiments.records import RunRecord, TableAnswers, answers_by_table
from medblip.notice import RESEARCH_USE, SIMULATED_DATA
from medblip.study.study import Study
from medblip.training.run import train
from medblip.volumes.cache import write_cube
from medblip.volumes.cube import Cube, SourceFacts, bounds_of
from medblip.vqa.question_file import QUESTIONS_FILE
from medblip.vqa.questions import Question, SessionImage, Turn
from medblip.vqa.study_questions import study_questions
from study.study_maker import make_sessions, write_study
from vqa.asked_maker import write_about
from vqa.vqa_maker import make_scans, study_of, write_demo

COLUMN = "Simulated questions"


class Medblip:
    """Runs commands on one study into one folder, and counts the trainings."""

    def __init__(self, root: Path, values: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self.root, self.values, self.patch = root, values, monkeypatch
        self.trained: list[str] = []
        monkeypatch.setenv("MEDBLIP_CACHE", str(root))
        monkeypatch.setattr(vqa_answers, "MAX_NEW_TOKENS", {True: 3, False: 3})
        monkeypatch.setattr(runner, "train", self._train)

    def __call__(self, what: str, *more: str) -> int:
        folders = ["--study", str(self.root / "study"), "--out", str(self.root / "out")]
        command = ["medblip", "experiment", what, *folders, "--seeds", "0", *more, *self.values]
        self.patch.setattr(sys, "argv", command)
        try:
            main()
        except SystemExit as left:
            return int(left.code or 0)
        return 0

    def read(self, name: str) -> str:
        return (self.root / "out" / name).read_text("utf-8")

    def _train(self, recipe: Any, study: Any, out: Path, **options: Any) -> Any:
        self.trained.append(out.name)
        return train(recipe, study, out, **options)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("asked")
    make_study(folder)
    return folder


@pytest.fixture
def medblip(root: Path, world: Path, monkeypatch: pytest.MonkeyPatch) -> Medblip:
    return Medblip(root, [*tiny_values(world), "align.steps=0"], monkeypatch)


def test_without_questions_they_are_told_and_left_out_or_refused(
    medblip: Medblip, capsys: pytest.CaptureFixture[str]
) -> None:
    assert medblip("all", "--dry-run") == 0
    told = capsys.readouterr()
    assert "Table 3" not in told.out
    assert told.err.count("No questions") == 1
    assert medblip("figure3") == 3
    assert "medblip questions" in capsys.readouterr().err


def test_one_training_serves_the_table_and_both_figures(
    medblip: Medblip, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_about(Study.load(root / "study"))
    assert medblip("table3") == 0
    told, page = capsys.readouterr().out, medblip.read("experiments.html")
    for said in (RESEARCH_USE, SIMULATED_DATA):
        assert said in told
        assert said in page.replace("&#39;", "'")
    assert "[73.0]" not in told
    assert "| MedBLIP | [78.0] |" in told
    assert "Lenient, M3D" in told
    lines = medblip.read("records.jsonl").splitlines()
    records = [RunRecord.from_dict(json.loads(line), "line") for line in lines]
    table = answers_by_table(records)[3]
    assert table.models == ("medblip",)
    assert set(table.controls) == {CONTROL + name for name in BLIND}
    assert table.columns_of("medblip") == [COLUMN, f"{COLUMN}, unseen"]
    assert not (root / "out" / "simple_controls.json").exists(), "they answer no questions"
    results = json.loads(medblip.read("results.json"))
    assert [c["answer"] for c in results["claims"]] == ["not decided"] * 2, "one seed"
    assert "figure3" not in results["analyses"]

    for figure in ("figure3", "figure4"):
        assert medblip(figure) == 0
        results = json.loads(medblip.read("results.json"))
        assert list(results["analyses"]) == [figure]
        assert results["tables"] == []
        page = medblip.read("experiments.html")
        assert page.count('class="case"') > 1
        assert "Chosen by a fixed rule" in page
    assert len(medblip.trained) == 1
    assert {line["title"] for line in results["analyses"]["figure4"]["Dialogues, by turn"]} == {
        "Turn 1",
        "Turn 2",
        "Turn 3",
    }
    run = root / "out" / "runs" / medblip.trained[0]
    assert not list(run.glob("*/checkpoint-*"))


def test_fewer_of_each_kind_are_kept_apart(
    medblip: Medblip, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_about(Study.load(root / "study"))
    assert medblip("table3", "--most", "2") == 0
    assert "at most 2 of each kind" in medblip.read("results.json")
    assert "--most 2" in medblip.read("results.json")
    kept = {f.name for f in root.glob("out/runs/*/answers*")}
    assert "answers.questions.most-2.json" in kept


def test_runs_that_learnt_other_questions_are_refused(
    medblip: Medblip, root: Path, tmp_path: Path
) -> None:
    study = Study.load(root / "study")
    write_about(study)
    claim_questions(study, tmp_path)
    claim_questions(study, tmp_path)
    path = study.folder / QUESTIONS_FILE
    path.write_text("".join(path.read_text("utf-8").splitlines(keepends=True)[:-1]), "utf-8")
    with pytest.raises(UsageError, match="other questions"):
        claim_questions(study, tmp_path)
    write_about(study)


def test_a_simulated_study_gets_its_questions_from_its_truth(tmp_path: Path) -> None:
    scans = make_scans(120)
    study, trials = study_of(tmp_path / "study", scans), trials_of("table3", EMBEDDED, [0])
    with pytest.raises(InputError, match="no questions"):
        trials_on(study, trials, left_out=False)
    assert trials_on(study, [*trials, *trials_of("table6", EMBEDDED, [0])], left_out=True)
    simulated = write_demo(tmp_path / "simulated", scans)
    source = study.info.sources[0].model_copy(update={"path": str(simulated / "SIM-A")})
    told = replace(study, info=study.info.model_copy(update={"sources": (source,)}))
    assert trials_on(told, trials, left_out=False) == trials
    said: list[str] = []
    claim_questions(told, tmp_path / "out", said.append)
    assert len(said) == 1
    assert len(study_questions(told)) > 120
    assert (tmp_path / "out" / CLAIM_FILE).is_file()


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_question_trials_come_last_and_learn_questions_alone(size: Size) -> None:
    trials = trials_of("all", size, [0, 1])
    asked = [t for t in trials if t.setting.readout == "questions"]
    assert [t.seed for t in asked] == [0, 1]
    assert trials[-2:] == asked
    assert asked[0].recipe.tune.questions == "vqa"
    assert asked[0].recipe.tune.itc_answer == 0
    for name in ("table3", "figure3", "figure4"):
        assert trials_of(name, size, [0, 1]) == asked
    few = asking_at_most(trials, 7)
    others = [t.setting.most for t in few if t.setting.readout != "questions"]
    assert others == [None] * (len(trials) - 2)
    assert [t.run for t in few] == [t.run for t in trials]


def table_of(full: float, blind: float, seeds: int = 3, n: int = 900) -> TableAnswers:
    """Answers to yes-or-no questions, right with these probabilities."""
    rng = np.random.default_rng(0)
    who, drawn = tuple(map(str, range(n))), tuple(range(seeds))
    shares = {"medblip": full, **{CONTROL + name: blind for name in BLIND}}
    answers = {
        Cell(row, COLUMN): SeededAnswers(rng.random((seeds, n)) < share, who, drawn)
        for row, share in shares.items()
    }
    return TableAnswers(answers, ("medblip",), tuple(CONTROL + name for name in BLIND))


@pytest.mark.parametrize(
    ("full", "blind", "seeds", "answers"),
    [
        (0.8, 0.5, 3, ["holds", "holds"]),
        (0.5, 0.5, 3, ["not decided", "holds"]),
        (0.8, 0.6, 3, ["holds", "does not hold"]),
        (0.4, 0.7, 3, ["does not hold", "does not hold"]),
        (0.8, 0.5, 2, ["not decided", "not decided"]),
    ],
)
def test_claims_are_decided_by_the_best_blind_control_and_by_chance(
    full: float, blind: float, seeds: int, answers: list[str]
) -> None:
    given = table_of(full, blind, seeds)
    found = question_claims(given, COLUMN, np.full(900, 0.5), n_resamples=500)
    assert [claim.answer for claim in found] == answers
    assert len(found[1].steps) == len(BLIND)


def test_a_few_questions_do_not_show_that_blind_is_at_chance() -> None:
    given = table_of(0.9, 0.5, n=40)
    found = question_claims(given, COLUMN, np.full(40, 0.5), n_resamples=500)
    assert found[1].answer == "not decided"


def asked_pairs() -> AskedRuns:
    """Two pairs of two-turn cases; two runs, which have one half and both of the first right."""
    questions = tuple(
        Question(
            f"two-turn:{pair}{side}",
            SessionImage(f"SIM-A-000{pair}", "ses-1"),
            "Is it there?",
            "two-turn-topic",
            answer,
            ("yes", "no"),
            turns=(Turn(first, "Go on."),),
        )
        for pair in (1, 2)
        for side, first, answer in (("a", "The skull.", "yes"), ("b", "The cortex.", "no"))
    )
    rows = {"full": ([1, 0, 0, 0], [1, 1, 0, 1]), "no_image": ([0, 1, 1, 0], [0, 1, 0, 1])}
    runs = tuple(
        QuestionAnswers(
            seed,
            tuple(q.id for q in questions),
            {
                name: ShownScores({"right": np.array(by_seed[seed], float)}, ("yes",) * 4)
                for name, by_seed in rows.items()
            },
        )
        for seed in (0, 1)
    )
    return AskedRuns(questions, runs, n_resamples=200)


def test_a_pair_is_right_where_both_cases_are(tmp_path: Path) -> None:
    asked = asked_pairs()
    study = Study.load(write_study(tmp_path / "study", make_sessions(6)))
    part = figure_4(asked, CaseMaker(asked, study, tmp_path))
    lines = {line["title"]: line for line in part.numbers["Two turns"]}
    assert lines["Cases right"]["n"] == 4
    assert lines["Cases right"]["means"]["full"]["value"] == pytest.approx(0.5)
    both = lines["Pairs, both right"]
    assert both["n"] == 2
    assert both["means"]["full"]["value"] == pytest.approx(0.25)
    assert both["means"]["no_image"]["value"] == 0
    assert both["best_blind"] == "no_image"
    assert both["against_best_blind"]["value"] == pytest.approx(0.25)
    assert [case.right for case in part.cases] == [False], "of the first run no pair is right"
    assert part.cases[0].picture == b"", "its cube is not in the cache"


def test_a_case_has_its_picture(tmp_path: Path) -> None:
    asked, sessions = asked_pairs(), make_sessions(6)
    study = Study.load(write_study(tmp_path / "study", sessions))
    array = np.full((16,) * 3, 9, np.uint8)
    facts = SourceFacts((16, 16, 16), (1.0, 1.0, 1.0), "RAS")
    cube = Cube(array, np.eye(4), bounds_of(array), facts)
    for name in study.images["cube"]:
        write_cube(cube, tmp_path / name)
    (case,) = figure_4(asked, CaseMaker(asked, study, tmp_path)).cases
    assert case.picture.startswith(b"\x89PNG")


def test_answers_are_read_back_as_they_were_kept() -> None:
    run = asked_pairs().runs[0]
    scores = {"right": np.array([1.0, np.nan, 0.0, 0.0])}
    given = replace(run, shown={"words": ShownScores(scores)})
    told = json.loads(json.dumps(given.as_dict(), allow_nan=False))
    again = QuestionAnswers.from_dict(told, "file")
    np.testing.assert_array_equal(again.shown["words"].scores["right"], scores["right"])
    assert again.ids == run.ids
    with pytest.raises(InputError, match="not the answers of a run"):
        QuestionAnswers.from_dict({**told, "shown": [1]}, "file")


def test_examples_are_spread_evenly() -> None:
    pool = [[n] for n in range(12)]
    assert evenly(pool, 3) == [[2], [6], [10]]
    assert evenly(pool[:2], 3) == pool[:2]
    assert evenly([], 3) == []


def test_facts_are_marked_as_they_are_scored() -> None:
    question = Question(
        "q",
        SessionImage("P", "1"),
        "How far?",
        "dialogue",
        "The ventricles are larger, by 2.1 mm; the cortex by 0.27 mm.",
    )
    said = "The ventricles are smaller, by 2.4 mm; the cortex by 0.60 mm."
    marks = [(mark.fact, mark.found) for mark in marks_of(question, said)]
    assert set(marks) == {
        ("ventricles", "right"),
        ("cortex", "right"),
        ("larger", "missing"),
        ("smaller", "wrong"),
        ("2.1 mm (ventricles)", "right"),
        ("0.27 mm (cortex)", "missing"),
        ("0.6 mm (cortex)", "wrong"),
    }
    assert marks_of(replace(question, answerable=False), said) == ()
