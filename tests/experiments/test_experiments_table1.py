"""Table 1: a study counted by cohort beside the paper's, without any training."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pandas as pd
import pytest

from medblip.cli import main
from medblip.experiments import runner
from medblip.experiments.part_text import markdown_part
from medblip.experiments.table1 import PAPER_COHORTS, cohorts_of, table_1
from medblip.notice import RESEARCH_USE, SIMULATED_DATA
from medblip.study.study import Study
from study.study_maker import make_images, make_sessions, write_study


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """ADNI with two images of one session and a session of another label, and both OASIS."""
    adni = make_sessions(9, "SIM-ADNI", visits=2)
    adni.loc[0, ["diagnosis", "mmse", "sex", "age"]] = ["OTHER", "", "", ""]
    adni["education_years"] = ""
    parts = [adni, make_sessions(3, "SIM-OASIS1"), make_sessions(3, "SIM-OASIS2"), make_sessions(3)]
    sessions = pd.concat(parts, ignore_index=True)
    images = make_images(sessions)
    again = images.iloc[[1]].assign(run="2", path="again.nii.gz", sha256="0" * 64, primary="false")
    folder = tmp_path_factory.mktemp("table1") / "study"
    return Study.load(write_study(folder, sessions, pd.concat([images, again], ignore_index=True)))


def test_images_are_counted_by_the_papers_cohorts(study: Study) -> None:
    found = cohorts_of(study)
    assert set(found) == {"ADNI", "OASIS", "SIM-A"}, "OASIS is one cohort in the paper"
    adni = found["ADNI"]
    assert (adni.images, adni.sessions, adni.subjects) == (19, 18, 9)
    assert adni.female + adni.male == 18
    assert (adni.mmse, adni.cdr, adni.logical_memory, adni.education) == (18, 19, 19, 0)
    assert adni.labels == "NC 6, MCI 6, AD 6, OTHER 1"
    assert adni.labelled == 18
    assert found["OASIS"].subjects == 6


def test_the_papers_numbers_agree_with_themselves() -> None:
    for facts in PAPER_COHORTS.values():
        assert facts.female + facts.male == facts.images
        fields = (facts.education, facts.ses, facts.mmse, facts.cdr, facts.logical_memory)
        assert max(fields) <= facts.images


def test_ours_stands_beside_the_papers(study: Study) -> None:
    part = table_1(study)
    (table,) = part.tables
    assert table.columns == ("ADNI", "NACC", "OASIS", "AIBL", "MIRIAD", "SIM-A")
    told = markdown_part(part)
    assert "| Images | 19 (paper 10,387) | \N{EN DASH} (paper 15,354) | 6 (paper 3,020) |" in told
    assert part.numbers["ADNI"]["paper"]["mmse"] == 9385
    assert part.numbers["SIM-A"]["paper"] is None


def test_the_command_trains_nothing(
    study: Study,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(runner, "train", None)
    monkeypatch.setattr(runner, "columns_of", None)
    folders = ["--study", str(study.folder), "--out", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["medblip", "experiment", "table1", *folders])
    main()
    told, page = capsys.readouterr().out, (tmp_path / "experiments.html").read_text("utf-8")
    for said in ("10,387", RESEARCH_USE, SIMULATED_DATA):
        assert said in told
        assert said in page
    results = json.loads((tmp_path / "results.json").read_text("utf-8"))
    assert results["analyses"]["table1"]["ADNI"]["ours"]["images"] == 19
    assert not (tmp_path / "records.jsonl").exists()
