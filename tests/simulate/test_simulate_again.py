"""The same arguments give the same bytes, and a run that was stopped goes on."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from replica_files import REPLICA, SCALE, files, key, truth
from typer.testing import CliRunner

from medblip.errors import UsageError
from medblip.simulate import replica as module
from medblip.simulate.layouts.delivery import Order
from medblip.simulate.pictures import Acquisition, Picture, make_picture
from medblip.simulate.replica import LAYOUTS, Replica, simulate_replica

SOME = ("aibl", "Oasis2", "MIRIAD")  # DICOM, NIfTI, Analyze, zip, CSV and workbooks


def again(out: Path, world: Path, **changes: object) -> Replica:
    arguments: dict[str, object] = {
        "replica": REPLICA,
        "scale": SCALE,
        "cohorts": SOME,
        "template": world / "template",
        "cache": world / "anatomy",
        "workers": 1,
        "progress": False,
    }
    return simulate_replica(out, **{**arguments, **changes})  # type: ignore[arg-type]


def test_a_stopped_run_goes_on_and_gives_the_same_bytes(
    replica: Path, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs = [f for f in LAYOUTS["OASIS2"](Order(REPLICA, 0, SCALE)).files if hasattr(f, "scan")]
    left = len(pairs) + 5  # in the middle of AIBL

    def stop(anatomy: object, scan: Acquisition) -> Picture:
        nonlocal left
        left -= 1
        if left < 0:
            raise KeyboardInterrupt
        return make_picture(anatomy, scan)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(module, "make_picture", stop)
        with pytest.raises(KeyboardInterrupt):
            again(tmp_path, world)
    half = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.is_file()}
    next(tmp_path.rglob("*_2_S*.dcm")).unlink()  # a series that was being written
    assert not (tmp_path / "ground_truth").exists()

    done = again(tmp_path, world)
    assert done.written > 0
    series = {p.parent for p in half if not p.exists() or p.stat().st_mtime_ns != half[p]}
    assert len(series) == 1  # that series alone was written anew
    for cohort in ("AIBL", "OASIS2", "MIRIAD"):
        assert files(tmp_path / cohort) == files(replica / cohort)
        for kind in ("sessions", "scans", "traps", "states"):
            assert truth(tmp_path, cohort, kind) == truth(replica, cohort, kind)
    assert again(tmp_path, world).written == 0


def test_another_seed_gives_other_people() -> None:
    def ages(seed: int) -> list[str]:
        return [row["age"] for row in LAYOUTS["ADNI"](Order(500, seed, 1.0)).truth.sessions]

    assert ages(0) == ages(0)
    assert ages(0) != ages(1)


def test_wrong_arguments_are_told(world: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="MIRIAD") as unknown:
        again(tmp_path, world, cohorts=("miriat",))
    assert unknown.value.code == "unknown-cohort"
    for wrong in ({"scale": 1.5}, {"scale": 0.0}, {"replica": 0}):
        with pytest.raises(UsageError) as bad:
            again(tmp_path, world, **wrong)
        assert bad.value.code == "bad-replica"
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "simulation.json").write_text('{"seed": 5}', encoding="utf-8")
    with pytest.raises(UsageError) as other:
        again(tmp_path, world)
    assert other.value.code == "other-simulation"


def test_the_command_writes_the_cohorts_it_is_asked_for(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from medblip import cli
    from medblip.model import pretrained

    embedded = SimpleNamespace(anatomy=world / "template")
    monkeypatch.setattr(pretrained, "fetch_embedded", lambda: embedded)
    monkeypatch.setenv("MEDBLIP_CACHE", str(tmp_path / "cache"))
    words = ["simulate", str(tmp_path / "out"), "--replica", str(REPLICA), "--cohorts", "miriad"]
    result = CliRunner().invoke(cli.app, [*words, "--image-scale", str(SCALE), "--workers", "1"])
    assert result.exit_code == 0, result.output
    assert "scans" in result.output
    assert (tmp_path / "out/MIRIAD/README.txt").exists()
    assert not (tmp_path / "out/ADNI").exists()


# ---------------------------------------------------------------- shares of the paper's Table 1

SHARES = {
    "ADNI": {"images": 10387, "education_years": 9860, "mmse": 9385, "cdr_global": 9401,
             "lm_delayed": 7189},
    "NACC": {"images": 15354, "education_years": 15329, "mmse": 7867, "cdr_global": 15354,
             "lm_delayed": 7654, "diagnosis": 14277},
    "AIBL": {"images": 1002, "education_years": 0, "mmse": 1002, "cdr_global": 1002,
             "lm_delayed": 1002, "diagnosis": 997},
    "MIRIAD": {"images": 708, "mmse": 268, "diagnosis": 708, "education_years": 0},
    "OASIS1": {"images": 1656, "education_code": 936, "cdr_global": 936},
    "OASIS2": {"images": 1364, "education_years": 1364, "cdr_global": 1364},
}  # fmt: skip
WOMEN = {"ADNI": 4710 / 10387, "NACC": 9058 / 15354, "AIBL": 471 / 1002, "MIRIAD": 393 / 708}
AGES = {"ADNI": (45, 96), "NACC": (19, 102), "AIBL": (42, 97), "MIRIAD": (55, 88)}


@pytest.mark.parametrize("cohort", sorted(SHARES))
def test_a_tenth_has_the_shares_of_the_papers_table(cohort: str) -> None:
    made = LAYOUTS[cohort](Order(10, 0, 1.0)).truth
    rows = {key(row): row for row in made.sessions}
    plain = [rows[key(row)] for row in made.scans if row["verdict"] == "used" and not row["trap"]]
    tolerance = 7 if cohort.startswith("OASIS") else 3  # of OASIS-1 whole sessions are delivered
    assert len(plain) == pytest.approx(SHARES[cohort]["images"] / 10, abs=tolerance)
    for field, images in SHARES[cohort].items():
        if field != "images":
            having = sum(bool(row[field]) for row in plain)
            assert having == pytest.approx(images / 10, abs=tolerance), field
    if cohort in WOMEN:
        women = sum(row["sex"] == "F" for row in plain) / len(plain)
        assert women == pytest.approx(WOMEN[cohort], abs=0.06)
        ages = [float(row["age"]) for row in plain]
        assert AGES[cohort][0] <= min(ages) <= max(ages) <= AGES[cohort][1]


def test_records_and_images_carry_the_disease() -> None:
    """More severe and more forgetful, the further the disease: as in SIM-A."""
    made = LAYOUTS["ADNI"](Order(10, 0, 1.0)).truth
    states = {(row["participant_id"], row["session_id"]): row for row in made.states}
    severity: dict[str, list[float]] = {}
    mmse: dict[str, list[float]] = {}
    for row in made.sessions:
        if row["diagnosis"] and row["mmse"]:
            state = states[key(row)]
            severity.setdefault(row["diagnosis"], []).append(float(state["severity"]))
            mmse.setdefault(row["diagnosis"], []).append(float(row["mmse"]))

    def mean(values: list[float]) -> float:
        return sum(values) / len(values)

    assert mean(severity["NC"]) + 0.3 < mean(severity["MCI"]) < mean(severity["AD"]) - 0.6
    assert mean(mmse["NC"]) > mean(mmse["MCI"]) + 1.0 > mean(mmse["AD"])
