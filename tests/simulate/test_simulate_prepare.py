"""From raw downloads of five cohorts to one study, in one command, against the known truth."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import pytest
from replica_files import Row, truth

from medblip.cohorts.prepare import PreparedStudy, prepare
from medblip.cohorts.readers import parse_downloads
from medblip.simulate import LAYOUTS
from medblip.study.record import FIELDS
from medblip.volumes import Preprocessing
from medblip.volumes.gate import GATE_VERSION, check_plausibility

KINDS = {"OASIS1": "oasis", "OASIS2": "oasis"}
COHORTS = ("ADNI", "AIBL", "MIRIAD", "NACC", "OASIS1", "OASIS2")


@pytest.fixture(scope="module")
def prepared(replica: Path, tmp_path_factory: pytest.TempPathFactory) -> PreparedStudy:
    out = tmp_path_factory.mktemp("study")
    words = [w for c in COHORTS for w in (KINDS.get(c, c.lower()), str(replica / c))]
    return prepare(
        parse_downloads(words),
        out / "study",
        preprocessing=Preprocessing(size=32),
        cache=out / "cubes",
        check=check_plausibility,
        check_version=GATE_VERSION,
        workers=1,
        progress=False,
    )


def planned(replica: Path, kind: str) -> list[Row]:
    return [row for cohort in COHORTS for row in truth(replica, cohort, kind)]


def findings(prepared: PreparedStudy) -> list[dict[str, str]]:
    with (prepared.folder / "findings.tsv").open(encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle, delimiter="\t"))


def test_all_cohorts_of_the_replica_are_here() -> None:
    assert len(LAYOUTS) == len(COHORTS)


def test_scans_found_used_and_refused_are_those_of_the_truth(
    replica: Path, prepared: PreparedStudy
) -> None:
    scans = planned(replica, "scans")
    used = [row for row in scans if row["verdict"] == "used"]
    assert (prepared.found, prepared.used) == (len(scans), len(used))
    counted = Counter(
        zip(prepared.study.images.participant_id, prepared.study.images.session_id, strict=True)
    )
    assert counted == Counter((row["participant_id"], row["session_id"]) for row in used)


def test_every_session_has_the_label_and_the_scores_of_the_truth(
    replica: Path, prepared: PreparedStudy
) -> None:
    found = prepared.study.sessions.set_index(["participant_id", "session_id"])
    columns = ["diagnosis", "age", "sex", *(f for f in FIELDS if f not in ("age", "sex"))]
    compared = 0
    for row in planned(replica, "sessions"):
        key = (row["participant_id"], row["session_id"])
        if key not in found.index:  # none of its scans could be read
            continue
        compared += 1
        for name in columns:
            assert found.loc[key, name] == row[name], (key, name)
    assert compared == len(found)


def test_every_planted_trap_is_in_the_findings_with_its_fix(
    replica: Path, prepared: PreparedStudy
) -> None:
    listed = findings(prepared)
    for trap in planned(replica, "traps"):
        hits = [f for f in listed if f["code"] == trap["finding"] and f["level"] == trap["level"]]
        assert hits, trap
        assert all(f["where"] and f["problem"] for f in hits)


def test_the_study_says_that_it_is_simulated(prepared: PreparedStudy) -> None:
    assert prepared.study.info.simulated


def test_cohorts_that_are_only_tested_on_are_in_no_other_split(prepared: PreparedStudy) -> None:
    for split in ("train", "validation", "test"):
        cohorts = {s.split("-")[0] for s in prepared.study.splits.subjects[split]}
        assert not cohorts & {"AIBL", "MIRIAD"}
