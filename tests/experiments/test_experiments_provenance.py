"""What stands in an experiment's folder tells what made it, and is made again if that changed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_experiment import make_study

from medblip.experiments import kept as kept_module
from medblip.experiments import scoring
from medblip.experiments.analyses.analyse import Analyst
from medblip.experiments.analyses.estimate import Estimate
from medblip.experiments.analyses.keeping import kept_or_made
from medblip.experiments.hours import Hours
from medblip.experiments.kept import ANY_TABLE, CONTROLS_FILE, Kept
from medblip.experiments.records import RunRecord
from medblip.experiments.scoring import Caches, records_of
from medblip.experiments.trials import Setting, Trial
from medblip.study.labels import LABELS
from medblip.study.study import Example, Study

DROPPING = ("record.drop_label_defining_fields=true",)
RECORDS = [RunRecord(ANY_TABLE, "control.fields", "Test split", 0, "control", ("s",), (True,))]


def trial(seed: int = 0, overrides: tuple[str, ...] = ()) -> Trial:
    setting = Setting("embedded", readout="record", controls=True)
    return Trial(2, "smollm2.lora", setting, seed, overrides)


class Scores:
    """In the place of a model's: remembers what was asked."""

    asked: list[Example]

    def __init__(self, *_: Any) -> None:
        type(self).asked = []

    def scores(self, name: str, examples: Sequence[Example], shown: str) -> Any:
        type(self).asked += examples
        return np.zeros((len(examples), len(LABELS)), np.float32)


@pytest.mark.parametrize("overrides", [(), DROPPING])
def test_a_trial_is_tested_on_the_fields_that_it_learnt(
    overrides: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = Study.load(make_study(tmp_path))
    monkeypatch.setattr(scoring, "load_scorer", lambda *_: None)
    monkeypatch.setattr(scoring, "KeptScores", Scores)
    caches = Caches(tmp_path, tmp_path)
    plain = trial(overrides=overrides)
    plain = replace(plain, setting=replace(plain.setting, controls=False))
    records_of(plain, tmp_path, study, caches, progress=False)
    learnt = trial(overrides=overrides).study(study).examples("test", "first")
    assert learnt
    of_test = [e for e in Scores.asked if e.participant_id in {x.participant_id for x in learnt}]
    assert of_test == learnt
    assert (of_test == study.examples("test", "first")) is (not overrides)
    analyst = Analyst(study, Kept(tmp_path), [plain], [], caches)
    monkeypatch.setitem(analyst.__dict__, "runs", [analyst._scored(plain)])
    assert list(analyst.columns[0].examples) == learnt


def test_hours_tell_which_code_ran_each_trial(tmp_path: Path) -> None:
    trials = [trial(seed) for seed in range(4)]
    hours = Hours.read(tmp_path)
    hours.end(trials[0], "commit a")
    hours.fail(trials[1], "no luck")
    hours.end(trials[1], "commit b")
    hours.end(trials[2], "commit b")
    again = Hours.read(tmp_path)
    assert again.of(trials[1])["error"] == ""
    assert again.codes(trials) == "commit a: 1 trial; commit b: 2 trials; not recorded: 1"
    assert again.codes(trials[:1]) == "commit a: 1 trial"


def test_simple_controls_of_other_inputs_or_another_version_are_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = Kept(tmp_path)
    kept.keep_simple_controls(RECORDS, ["age"])
    assert kept.simple_controls() == kept.simple_controls(["age"]) == RECORDS
    assert kept.simple_controls(["age", "true regional change"]) is None
    assert json.loads((tmp_path / CONTROLS_FILE).read_text())["controls"] == ["control.fields"]
    monkeypatch.setattr(kept_module, "VERSION", 1000)
    assert kept.simple_controls() is None
    (tmp_path / CONTROLS_FILE).write_text(json.dumps([r.as_dict() for r in RECORDS]))
    assert kept.simple_controls() is None, "of before versions"


def test_an_analysis_of_another_version_is_made_again(tmp_path: Path) -> None:
    made: list[int] = []

    def make() -> Estimate:
        made.append(1)
        return Estimate(value=float(len(made)))

    for version, count in ((1, 1), (1, 1), (2, 2)):
        kept_or_made(tmp_path, "name", version, ["run"], Estimate, make)
        assert len(made) == count
