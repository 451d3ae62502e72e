"""A run goes on with what it was started with; what changed since is named, and refused or told."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pytest
from tiny_run import TinyRun, kept_step, make_run

from medblip.cli import main
from medblip.errors import UsageError
from medblip.recipe import Recipe
from medblip.study.study import Study
from medblip.training import claim
from medblip.training.claim import changes_since, new_claim, require_accepted, write_claim
from medblip.training.entering import Start, alone
from medblip.training.run import resume, train
from medblip.training.session import Session
from study.study_maker import make_sessions, write_study

ENVIRONMENT = {
    **dict.fromkeys(claim.LIBRARIES, "1.0"),
    "device": "cpu",
    "precision": "float32",
    "processes": 1,
    "threads": 1,
}


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return Study.load(write_study(tmp_path / "study", make_sessions(12)))


def recipe(**tune: Any) -> Recipe:
    return Recipe.model_validate({"align": {"steps": 2}, "tune": {"steps": 5, **tune}})


def claimed(out: Path, study: Study) -> None:
    out.mkdir()
    write_claim(out, recipe(), new_claim(study, ENVIRONMENT))


def test_nothing_has_changed_where_nothing_has(tmp_path: Path, study: Study) -> None:
    assert changes_since(tmp_path / "new", recipe(), new_claim(study, ENVIRONMENT)) == {}
    claimed(tmp_path / "run", study)
    assert changes_since(tmp_path / "run", recipe(), new_claim(study, ENVIRONMENT)) == {}


def test_each_kind_of_change_is_named(
    tmp_path: Path, study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    claimed(out, study)
    package = tmp_path / "package"
    (package / "evaluation").mkdir(parents=True)
    (package / "evaluation" / "report.py").write_text("no training runs through it")
    (package / "model").mkdir()
    (package / "model" / "new.py").write_text("new = 1")
    monkeypatch.setattr(claim, "PACKAGE", package)
    table = study.folder / "sessions.tsv"
    table.write_text(table.read_text().replace("MCI", "NC", 1))
    now = new_claim(study, {**ENVIRONMENT, "torch": "2.0", "threads": 4})
    changes = changes_since(out, recipe(steps=9, patience=2), now)
    assert changes["recipe"] == ["tune.steps: 5 -> 9", "tune.patience: none -> 2"]
    assert changes["data"] == ["sessions.tsv"]
    assert changes["code"][0] == "torch: 1.0 -> 2.0"
    assert "model/new.py" in changes["code"]
    assert "training/claim.py" in changes["code"]
    assert not any(name.startswith(("evaluation", "cli")) for name in changes["code"])
    assert changes["surroundings"] == ["threads: 1 -> 4"]


@pytest.mark.parametrize(
    ("accepted", "refused"),
    [
        ((), "another recipe: tune.steps: 5 -> 9; another code: model.py"),
        (("recipe",), "started with another code: model.py"),
        (("recipe", "code"), None),
    ],
)
def test_a_change_is_refused_until_it_is_accepted(
    accepted: tuple[str, ...], refused: str | None
) -> None:
    changes = {"recipe": ["tune.steps: 5 -> 9"], "code": ["model.py"], "surroundings": ["x"]}
    if refused is None:
        require_accepted(Path("run"), changes, accepted, finished=False)
        return
    with pytest.raises(UsageError, match=refused) as caught:
        require_accepted(Path("run"), changes, accepted, finished=False)
    assert caught.value.code == "changed-since"
    assert caught.value.exit_code == 2
    assert "--accept-changes recipe,code" in str(caught.value)


def test_where_only_code_has_changed_the_whole_command_is_given() -> None:
    with pytest.raises(UsageError, match="`medblip train --resume run --accept-changes code`"):
        require_accepted(Path("run"), {"code": ["model.py"]}, (), finished=False)


def test_a_finished_run_minds_no_other_code_and_takes_no_other_recipe() -> None:
    require_accepted(Path("run"), {"code": ["model.py"]}, (), finished=True)
    with pytest.raises(UsageError, match="finished run was started with another recipe"):
        require_accepted(Path("run"), {"recipe": ["x"]}, ("recipe",), finished=True)


def test_training_runs_through_no_code_that_is_not_looked_at() -> None:
    harmless = {"errors", "findings", "notice", "parallel", "parallel_ray", "in_flight"}
    known = {name.removesuffix(".py") for name in claim.ROOMS} | harmless
    for name in dict(claim._own_files()):
        tree = ast.parse((claim.PACKAGE / name).read_text("utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("medblip."):
                assert str(node.module).split(".")[1] in known, name


def test_a_long_list_is_cut() -> None:
    changes = {"code": [f"{i}.py" for i in range(30)]}
    with pytest.raises(UsageError, match=r"7\.py and 22 more;"):
        require_accepted(Path("run"), changes, (), finished=False)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> TinyRun:
    short = {"steps": 4, "ema_decay": 0.0, "patience": None}
    return make_run(tmp_path_factory.mktemp("tiny"), **short)


@pytest.fixture(scope="module")
def stopped(tiny: TinyRun) -> Path:
    """A run whose second stage was killed after its first checkpoint."""
    out = tiny.root / "stopped"
    with pytest.MonkeyPatch.context() as patch:
        real = Session._run_stage

        def first_stage(self: Session, name: str, *, last: bool) -> None:
            if last:
                raise KeyboardInterrupt
            real(self, name, last=last)

        patch.setattr(Session, "_run_stage", first_stage)
        with pytest.raises(KeyboardInterrupt):
            train(tiny.recipe, tiny.study, out, **tiny.places, progress=False)
    return out


def test_a_stopped_run_refuses_then_accepts_and_needs_nothing_but_its_folder(
    tiny: TinyRun, stopped: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=r"another recipe: tune\.steps: 4 -> 3"):
        resume(stopped, overrides=["tune.steps=3"], progress=False)
    with pytest.raises(UsageError, match="'recipes' is no kind; did you mean 'recipe'"):
        resume(stopped, accept_changes=["recipes"], progress=False)
    assert not (stopped / "changes.jsonl").exists()
    monkeypatch.chdir(tmp_path)  # folders are kept as absolute ones
    done = resume(stopped, overrides=["tune.steps=3"], accept_changes=["recipe"], progress=False)
    assert kept_step(done.folder) == 3
    (row,) = map(json.loads, (stopped / "changes.jsonl").read_text().splitlines())
    assert row["changes"] == {"recipe": ["tune.steps: 4 -> 3"]}
    assert (row["stage"], row["step"]) == ("align", 4)
    again = resume(stopped, progress=False)
    assert again.metrics == done.metrics


def test_a_run_that_kept_nothing_yet_takes_any_recipe(tiny: TinyRun, tmp_path: Path) -> None:
    out = tmp_path / "run"
    out.mkdir()
    write_claim(out, recipe(), {"data": {}, "code": {}, "surroundings": {}})
    values = tiny.recipe.model_dump()
    for stage in ("align", "tune"):
        values[stage] |= {"steps": 1}
    done = train(Recipe.model_validate(values), tiny.study, out, **tiny.places, progress=False)
    assert (done.folder / "done.json").exists()


def test_a_folder_in_use_is_refused(tiny: TinyRun, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with alone(tmp_path / "run"), pytest.raises(UsageError) as caught:
        train(tiny.recipe, tiny.study, tmp_path / "run", **tiny.places, progress=False)
    assert caught.value.code == "run-in-use"


def test_what_a_run_was_started_with_is_kept_as_absolute_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    start = Start(study=Path("study"), cubes=Path("cubes"), tokens=Path("/t"), accept_audit=("x",))
    start.write(tmp_path)
    again = Start.read(tmp_path)
    assert again.study == tmp_path / "study"
    assert again.tokens == Path("/t")
    assert again.accept_audit == ("x",)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["embedded", "--resume", "run"], "leave out RECIPE and --out"),
        (["--resume", "run", "--out", "run"], "leave out RECIPE and --out"),
        (["--resume", "nowhere"], "no run to go on with"),
        (["embedded", "--out", "run"], "--study missing"),
        (["--study", "s"], "RECIPE, --out missing"),
        ([], "RECIPE, --study, --out missing"),
    ],
)
def test_wrong_combinations_are_named(
    arguments: list[str],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("sys.argv", ["medblip", "train", *arguments])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 2
    assert said in " ".join(capsys.readouterr().err.split())
