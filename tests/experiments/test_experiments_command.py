"""`medblip experiment` for real, with two-step trainings: stops, failures, going on, sharing."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tiny_experiment import make_study, tiny_values

from medblip.cli import main
from medblip.experiments import outcome, runner
from medblip.experiments.records import RunRecord, answers_by_table
from medblip.experiments.simple_controls import MODEL_CONTROLS
from medblip.notice import RESEARCH_USE, SIMULATED_DATA
from medblip.training.interrupts import KeyboardStopError
from medblip.training.run import train
from study.study_maker import make_sessions, write_study

STOPPED = KeyboardStopError("run", "stopped by SIGINT", code="stopped")


@dataclass
class Place:
    """A study, and an experiment's folder that all tests of this file go on with."""

    root: Path
    values: list[str]
    study: Path

    @property
    def out(self) -> Path:
        return self.root / "out"

    def command(self, what: str, *more: str) -> list[str]:
        folders = ["--study", str(self.study), "--out", str(self.out), "--seeds", "0"]
        return ["medblip", "experiment", what, *folders, *more, *self.values]

    def read(self, name: str) -> Any:
        return json.loads((self.out / name).read_text("utf-8"))

    def records(self) -> list[RunRecord]:
        lines = (self.out / "records.jsonl").read_text("utf-8").splitlines()
        return [RunRecord.from_dict(json.loads(line), "records.jsonl") for line in lines]


@dataclass
class Trainings:
    """Counts trainings, and lets one of them fail."""

    fails_at: int = 0
    error: Exception = field(default_factory=lambda: RuntimeError("no luck"))
    runs: list[str] = field(default_factory=list)

    def __call__(self, recipe: Any, study: Any, out: Path, **options: Any) -> Any:
        self.runs.append(out.name)
        if len(self.runs) == self.fails_at:
            raise self.error
        return train(recipe, study, out, **options)


@pytest.fixture(scope="module")
def place(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Place:
    root = tmp_path_factory.mktemp("experiment")
    return Place(root, tiny_values(world), make_study(root))


@pytest.fixture
def medblip(place: Place, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Runs a command with some trainings; returns its exit code."""
    monkeypatch.setenv("MEDBLIP_CACHE", str(place.root))
    few = {**outcome.write_outcome.__kwdefaults__, "n_resamples": 200}
    monkeypatch.setattr(outcome.write_outcome, "__kwdefaults__", few)

    def call(command: list[str], trainings: Trainings | None = None) -> int:
        monkeypatch.setattr(runner, "train", trainings or Trainings())
        monkeypatch.setattr(sys, "argv", command)
        try:
            main()
        except SystemExit as left:
            return int(left.code or 0)
        return 0

    return call


def test_a_dry_run_lists_the_trials_and_writes_nothing(
    place: Place, medblip: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    trainings = Trainings()
    assert medblip(place.command("all", "--dry-run"), trainings) == 0
    told = capsys.readouterr().out.splitlines()
    assert trainings.runs == []
    assert not place.out.exists()
    assert told[-1].startswith(f"{len(told) - 1} trials, left: 1.")
    (shared,) = [line for line in told if "Table 6, itc_both" in line]
    assert "Table 2, smollm2.lora; Table 4, medblip; Table 5, image_text_question" in shared


def test_what_stops_goes_on_and_what_fails_is_told(
    place: Place, medblip: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    stopped = Trainings(fails_at=2, error=STOPPED)
    assert medblip(place.command("table6"), stopped) == 130
    assert "the same command goes on from here" in capsys.readouterr().err
    assert len(stopped.runs) == 2
    assert not (place.out / "experiments.html").exists()

    failed = Trainings(fails_at=1)
    assert medblip(place.command("table6"), failed) == 4
    assert len(failed.runs) == 2, "the first is finished, and the third runs in spite of the second"
    assert place.read("results.json")["failed"] == [
        {"trial": "Table 6, itc_record, seed 0", "error": "RuntimeError: no luck"}
    ]
    entries = place.read("hours.json")["trials"].values()
    assert [e["error"] for e in entries] == ["", "RuntimeError: no luck", ""]
    assert "no luck" in (place.out / "experiments.html").read_text("utf-8")
    assert "itc_record" not in {r.row for r in place.records()}

    mended = Trainings()
    assert medblip(place.command("table6"), mended) == 0
    assert mended.runs == failed.runs[:1]
    assert place.read("results.json")["failed"] == []
    assert {r.row for r in place.records() if r.role == "model"} == {
        "itc_none",
        "itc_record",
        "itc_both",
    }
    assert medblip(place.command("table6"), again := Trainings()) == 0
    assert again.runs == []


def test_tables_share_a_trial_and_stand_beside_all_controls(
    place: Place, medblip: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert medblip(place.command("table6")) == 0
    capsys.readouterr()
    assert medblip(place.command("table4"), trainings := Trainings()) == 0
    assert len(trainings.runs) == 3, "the full model is that of Table 6"
    told = capsys.readouterr().out
    page = (place.out / "experiments.html").read_text("utf-8").replace("&#39;", "'")
    for said in (RESEARCH_USE, SIMULATED_DATA):
        assert said in told
        assert said in page
    assert "linear head, image only" in told
    assert "[72.2]" in told
    given = answers_by_table(place.records())[4]
    assert given.models == ("vit_scratch", "vit", "medqformer", "medblip")
    assert set(given.controls) >= {*MODEL_CONTROLS, "control.majority", "control.voxels"}
    assert given.columns_of("medblip", "control.fields") == ["Test split", "SIM-Z, unseen"]
    results = place.read("results.json")
    assert results["notice"] == RESEARCH_USE
    assert results["simulated"] == SIMULATED_DATA
    assert {claim["table"] for claim in results["claims"]} == {4}
    assert results["claims"][0]["answer"] == "not decided", "one seed"
    assert not list(place.out.glob("runs/*/*/checkpoint-*")), "no more use to a finished trial"
    assert not list(place.out.glob("runs/*/tokens"))


def test_the_text_rows_are_answered_without_the_image(
    place: Place, medblip: Callable[..., int]
) -> None:
    assert medblip(place.command("table2")) == 0
    given = answers_by_table(place.records())[2]
    assert given.models[:3] == ("smollm2.untuned", "smollm2.text_only", "smollm2.frozen")
    for run in (place.out / "runs").iterdir():
        kept = run / "records.record.json"
        assert not kept.exists() or {f.name.split(".")[1] for f in (run / "scores").iterdir()} == {
            "record"
        }


def test_another_study_is_refused(
    place: Place,
    medblip: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    other = Place(place.root, place.values, write_study(tmp_path / "other", make_sessions(30)))
    (place.out).mkdir(exist_ok=True)
    assert medblip(place.command("table6")) == 0
    assert medblip(other.command("table6")) == 2
    assert "experiments on another study" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("what", "more", "code"),
    [("table7", (), 2), ("table6", ("--recipe-size", "huge"), 2), ("table6", ("align.stps=1",), 3)],
)
def test_wrong_use_is_refused_before_anything_is_written(
    place: Place, medblip: Callable[..., int], what: str, more: tuple[str, ...], code: int
) -> None:
    elsewhere = Place(place.root, [*place.values, *more], place.study)
    command = [w.replace(str(place.out), str(place.root / "no")) for w in elsewhere.command(what)]
    assert medblip(command) == code
    assert not (place.root / "no").exists()
