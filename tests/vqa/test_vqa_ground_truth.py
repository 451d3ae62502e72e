"""The truth about a study's sessions, in both forms that `medblip simulate` writes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from vqa_maker import make_scans, study_of, write_demo, write_replica

from medblip.cohorts.prepare import prepare
from medblip.cohorts.readers import parse_downloads
from medblip.errors import InputError
from medblip.simulate.cohort import demo_cohorts
from medblip.simulate.dataset import simulate
from medblip.simulate.replica import simulate_replica
from medblip.study.study import Study
from medblip.volumes import Preprocessing
from medblip.vqa.ground_truth import Scan, read_scans
from medblip.vqa.truth_tables import state_key, states_of

Write = Callable[[Path, Sequence[Scan]], Path]
DEMO = make_scans(30)
REPLICA = make_scans(30, "NACC", sided=True)
FORMS = [
    pytest.param(write_demo, DEMO, "SIM-A.tsv", id="demo"),
    pytest.param(write_replica, REPLICA, "NACC_states.tsv", id="replica"),
]


@pytest.mark.parametrize(("write", "scans", "table"), FORMS)
def test_scans_are_read_from_either_form(
    tmp_path: Path, write: Write, scans: list[Scan], table: str
) -> None:
    simulated = write(tmp_path / "raw", scans)
    study = study_of(tmp_path / "study", scans, simulated)
    assert read_scans(study) == read_scans(study, simulated) == tuple(scans)
    assert (simulated / "ground_truth" / table).is_file()
    rows = states_of(study)
    assert len(rows) == len(scans)
    key = state_key(scans[3].participant_id, scans[3].session_id)
    assert float(rows[key]["cortex_mean_mm"]) == scans[3].mean_mm["cortex"]


def test_the_studys_own_words_decide_what_is_read(tmp_path: Path) -> None:
    """Age and image kind are the study's; sessions without a label or an age are left out."""
    simulated = write_replica(tmp_path / "raw", REPLICA)
    study = study_of(tmp_path / "study", [replace(s, skull=None) for s in REPLICA], simulated)
    sessions = study.sessions.copy()
    sessions.loc[sessions.index[0], "age"] = ""
    sessions.loc[sessions.index[1], "diagnosis"] = "OTHER"
    sessions.loc[sessions.index[2], "age"] = "66.5"
    read = read_scans(replace(study, sessions=sessions))
    assert [scan.participant_id for scan in read] == [s.participant_id for s in REPLICA[2:]]
    assert read[0].age == 66.5
    assert {scan.skull for scan in read} == {None}
    stripping = study.info.preprocessing.model_copy(update={"parameters": {"strip": "hd-bet"}})
    info = study.info.model_copy(update={"preprocessing": stripping})
    raw = study.images.assign(kind="raw")
    assert {s.skull for s in read_scans(replace(study, images=raw))} == {True}
    assert {s.skull for s in read_scans(replace(study, images=raw, info=info))} == {None}


@pytest.mark.parametrize(("write", "scans", "table"), FORMS)
@pytest.mark.parametrize("fault", ["no table", "no number", "no column", "twice"])
def test_a_truth_that_is_not_whole_is_refused(
    tmp_path: Path, write: Write, scans: list[Scan], table: str, fault: str
) -> None:
    simulated = write(tmp_path / "raw", scans)
    study = study_of(tmp_path / "study", scans, simulated)
    path = simulated / "ground_truth" / table
    rows = pd.read_csv(path, sep="\t", dtype=str)
    if fault == "no table":
        path.unlink()
    elif fault == "no number":
        rows.assign(cortex_mean_mm="n/a").to_csv(path, sep="\t", index=False)
    elif fault == "no column":
        rows.drop(columns="ventricles_mean_mm").to_csv(path, sep="\t", index=False)
    else:
        pd.concat([rows, rows[:1]]).to_csv(path, sep="\t", index=False)
    with pytest.raises(InputError) as caught:
        read_scans(study)
    expected = {"no table": "no-ground-truth", "twice": "duplicate-row"}
    assert caught.value.code == expected.get(fault, "bad-ground-truth")


def prepared(folder: Path, words: list[str]) -> Study:
    return prepare(
        parse_downloads(words),
        folder / "study",
        preprocessing=Preprocessing(size=16),
        cache=folder / "cubes",
        workers=1,
        progress=False,
    ).study


def test_what_the_simulator_writes_is_read(world: Path, tmp_path: Path) -> None:
    """Demo cohorts in BIDS, beside the truth of other sites."""
    templates = {"template": world / "template", "cache": world / "anatomy"}
    simulate(tmp_path, demo_cohorts(1, 1), **templates, workers=1, progress=False)
    study = prepared(tmp_path, [str(tmp_path / "SIM-A"), str(tmp_path / "SIM-Z")])
    scans = read_scans(study)
    assert {scan.participant_id for scan in scans} == {
        "SIM-A-SIMA0001",
        "SIM-Z-SIMZ0001",
    }
    assert all(50 < scan.age < 100 and set(scan.mean_mm) for scan in scans)
    assert not any(scan.skull or scan.sides_mm for scan in scans)  # first sites: stripped images


def test_a_replica_with_its_traps_is_read(world: Path, tmp_path: Path) -> None:
    """DICOM series, several scans a session; every labelled session has its truth."""
    templates = {"template": world / "template", "cache": world / "anatomy"}
    simulate_replica(
        tmp_path / "raw",
        replica=4000,
        cohorts=("ADNI",),
        scale=0.07,
        **templates,
        workers=1,
        progress=False,
    )
    study = prepared(tmp_path, ["adni", str(tmp_path / "raw" / "ADNI")])
    scans = read_scans(study)
    assert len(study.images) > len(study.sessions)
    assert len(scans) == len(study.labelled_images()) > 3
    assert all(scan.skull and scan.sides_mm for scan in scans)
    for scan in scans:
        for region, mm in scan.mean_mm.items():
            assert min(scan.sides_mm[region]) - 0.002 <= mm <= max(scan.sides_mm[region]) + 0.002
