"""Analyses of a finished experiment: made from what its folder keeps, once, and said if not."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tiny_experiment import make_study, tiny_values

from medblip.experiments.analyses import analyse, groups
from medblip.experiments.analyses.analyse import Analyst
from medblip.experiments.analyses.part import Part
from medblip.experiments.experiment import Plan, experiment, listed
from medblip.experiments.kept import Kept
from medblip.experiments.scoring import Caches
from medblip.study.study import Study

KEYS = ["decisions", "calibration", "selective", "subgroups", "perturbations", "low_data"]


@pytest.fixture(scope="module")
def plan(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """A low-data curve of one seed, run to its end."""
    root = tmp_path_factory.mktemp("analyses")
    values = tuple(tiny_values(world))
    plan = Plan("lowdata", make_study(root), root / "out", seeds=(0,), overrides=values)
    experiment(plan, cubes=root / "cubes", tokens=root / "tokens", progress=False, n_resamples=100)
    return plan


def analyst(plan: Plan, told: list[str] | None = None) -> Analyst:
    kept, root = Kept(plan.out), plan.out.parent
    caches = Caches(root / "cubes", root / "tokens")
    say = (told if told is not None else []).append
    records = kept.gather(plan.trials)
    study = Study.load(plan.study)
    return Analyst(study, kept, plan.trials, records, caches, say=say, progress=False)


def results(plan: Plan) -> Any:
    return json.loads((plan.out / "results.json").read_text("utf-8"))


def test_every_analysis_is_on_the_page_and_in_the_results(plan: Plan) -> None:
    page = (plan.out / "experiments.html").read_text("utf-8")
    found = results(plan)["analyses"]
    assert list(found) == KEYS
    for key in KEYS:
        assert f'<section id="{key}">' in page
        assert "said" not in found[key], found[key]
    assert page.count("<svg") == 2 + 2 + 1 + 1, "two columns twice, and two curves"
    assert "<script" not in page
    columns = found["decisions"]["columns"]
    assert [c["column"] for c in columns] == ["Test split", "SIM-Z, unseen"]
    rows = {row["row"] for row in columns[0]["rows"]}
    assert rows >= {"full", "control.record", "control.blank_image", "control.fields"}
    changes = [(v["change"], v["level"]) for v in found["perturbations"]["levels"]]
    assert len(set(changes)) == 12
    assert [s["subjects"] for s in found["low_data"]["shares"]] == [3, 3, 6, 21]
    assert results(plan)["tables"] == [], "the curve is no table of the paper"


def test_what_is_kept_is_not_computed_again(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*args: Any, **options: Any) -> Any:
        raise AssertionError

    for name in ("read_answers", "simple_answers"):
        monkeypatch.setattr(analyse, name, never)
    told: list[str] = []
    parts = analyst(plan, told).parts()
    assert [part.key for part in parts] == KEYS
    assert all(part.numbers for part in parts)
    assert told == []


def test_a_perturbed_scan_never_enters_the_token_cache(plan: Plan) -> None:
    cached = [file.name for file in (plan.out.parent / "tokens").rglob("*") if file.is_file()]
    clean = {path.name for path in (plan.out.parent / "cubes").iterdir()}
    assert set(cached) <= clean
    run = analyst(plan).runs[0]
    scores = {f.name: f.read_text("utf-8") for f in (run.folder / "scores").glob("perturbed-*")}
    assert len(scores) == 1 + 12
    assert scores["perturbed-noise-3.full.tsv"] != scores["perturbed-noise-1.full.tsv"]


def test_what_cannot_be_done_is_said_and_the_rest_is_done(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = analyst(plan)
    splits = whole.study.splits
    subjects = {**splits.subjects, "validation": ()}
    study = replace(whole.study, splits=replace(splits, subjects=subjects))
    told: list[str] = []
    without = replace(whole, study=study, n_resamples=20, say=told.append)
    monkeypatch.setattr(groups, "subgroups", lambda *_: 1 / 0)
    parts: dict[str, Part] = {part.key: part for part in without.parts()}
    assert "no labelled validation subject" in parts["calibration"].said
    assert "ZeroDivisionError" in parts["subgroups"].said
    assert parts["selective"].numbers["calibrated"] is False
    assert parts["decisions"].numbers
    assert "ZeroDivisionError" in (plan.out / "analyses/subgroups.error.txt").read_text("utf-8")
    assert [line for line in told if "not done" in line] != []


def test_without_a_finished_run_one_line_stands_in_the_place_of_all(
    plan: Plan, tmp_path: Path
) -> None:
    empty = replace(analyst(plan), kept=Kept(tmp_path), records=())
    told = {part.key: part.said for part in empty.parts()}
    assert "no run of the full model" in told["full_model"]
    assert "no share was run" in told["low_data"]
    of_others = [t for t in plan.trials if not t.setting.controls and t.table]
    assert replace(empty, trials=of_others).parts() == []


def test_a_dry_run_names_the_curve_and_its_hours(plan: Plan, tmp_path: Path) -> None:
    fresh = replace(plan, out=tmp_path / "none")
    lines = listed(fresh)
    assert lines[0].uses == ("Low data, share_1",)
    assert all(line.hours and line.hours > 0.1 for line in lines)
