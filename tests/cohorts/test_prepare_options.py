"""Options of `prepare` about splits and records, and `audit` of what it wrote."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from tiny_bids import write_bids

from medblip import cli
from medblip.cohorts.auditing import audit_folder, read_thumbnails
from medblip.cohorts.prepare import PreparedStudy, prepare
from medblip.errors import UsageError
from medblip.study.audit import AUDIT_SCHEMA
from medblip.study.study import AUDIT_JSON_FILE, Study
from medblip.study.subsets import SUBSETS_FILE, Subsets
from medblip.volumes.cache import read_cube
from medblip.volumes.preprocessing import Preprocessing


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    root = tmp_path_factory.mktemp("bids")
    return [write_bids(root / name, name, 9) for name in ("ADNI", "AIBL", "MIRIAD")]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cubes")


def run(sources: list[Path], out: Path, cache: Path, **options: object) -> PreparedStudy:
    arguments = {"preprocessing": Preprocessing(size=16), "workers": 1, "progress": False}
    return prepare(sources, out, cache=cache, **{**arguments, **options})  # type: ignore[arg-type]


def test_aibl_and_miriad_are_never_trained_on_by_default(
    sources: list[Path], tmp_path: Path, cache: Path
) -> None:
    splits = run(sources, tmp_path, cache).study.splits
    assert splits.zero_shot_cohorts == ("AIBL", "MIRIAD")
    assert {name.split("-")[0] for name in splits.subjects["zero_shot"]} == {"AIBL", "MIRIAD"}


@pytest.mark.parametrize("zero_shot", [(), ("MIRIAD",)])
def test_a_list_replaces_the_default(
    sources: list[Path], tmp_path: Path, cache: Path, zero_shot: tuple[str, ...]
) -> None:
    splits = run(sources, tmp_path, cache, zero_shot=zero_shot).study.splits
    assert splits.zero_shot_cohorts == zero_shot
    assert any(name.startswith("AIBL") for name in splits.subjects["train"])


def test_the_papers_subsets_are_written_and_audited(
    sources: list[Path], tmp_path: Path, cache: Path
) -> None:
    prepared = run(sources, tmp_path, cache)
    subsets = Subsets.read(tmp_path / SUBSETS_FILE)
    assert {subset.name for subset in subsets.subsets} >= {"AIBL-3x200", "MIRIAD-2x200"}
    assert subsets.get("AIBL-3x200", "subject").drawn == 3
    assert "small-subset" in {finding.code for finding in prepared.audit}


def test_without_the_papers_cohorts_there_are_no_subsets(tmp_path: Path, cache: Path) -> None:
    run([write_bids(tmp_path / "data", "MINE", 6)], tmp_path / "study", cache)
    assert not (tmp_path / "study" / SUBSETS_FILE).exists()


def test_people_of_two_cohorts_stay_on_one_side(
    sources: list[Path], tmp_path: Path, cache: Path
) -> None:
    subjects = run(sources, tmp_path / "a", cache).study.sessions["participant_id"]
    one, two = (next(n for n in subjects if n.startswith(c)) for c in ("ADNI", "AIBL"))
    table = tmp_path / "people.tsv"
    table.write_text(f"participant_id\tperson_id\n{one}\tp\n{two}\tp\n")
    splits = run(sources, tmp_path / "b", cache, same_person=table).study.splits
    assert one in splits.subjects["test"]  # AIBL is zero-shot: the person is never trained on
    assert splits.same_person == ((one, two),)
    with pytest.raises(UsageError) as caught:  # other arguments are another study
        run(sources, tmp_path / "b", cache)
    assert caught.value.code == "other-study"


def test_label_defining_fields_are_dropped_from_records_and_stay_in_the_table(
    sources: list[Path], tmp_path: Path, cache: Path
) -> None:
    whole = run(sources, tmp_path / "a", cache).study
    defining = set(whole.sessions["label_defined_by"].iloc[0].split(","))
    assert defining & set(whole.examples("train")[0].fields)
    dropped = run(sources, tmp_path / "b", cache, drop_label_defining_fields=True).study
    assert not defining & set(dropped.examples("train")[0].fields)
    assert Study.load(tmp_path / "b").info.drop_label_defining_fields
    assert (dropped.sessions == whole.sessions).all().all()


def test_audit_looks_at_the_cubes_again(sources: list[Path], tmp_path: Path, cache: Path) -> None:
    prepared = run(sources, tmp_path, cache)
    before = (tmp_path / AUDIT_JSON_FILE).read_bytes()
    page = (tmp_path / "audit.html").read_bytes()
    (tmp_path / AUDIT_JSON_FILE).unlink()
    _, result = audit_folder(tmp_path, progress=False)
    assert [f.code for f in result.findings] == [f.code for f in prepared.audit]
    assert (tmp_path / AUDIT_JSON_FILE).read_bytes() == before
    assert (tmp_path / "audit.html").read_bytes() == page
    assert json.loads(before)["schema"] == AUDIT_SCHEMA


def test_cubes_that_are_gone_or_damaged_are_counted(
    sources: list[Path], tmp_path: Path, cache: Path
) -> None:
    study = run(sources, tmp_path / "study", cache).study
    mine = tmp_path / "cubes"
    shutil.copytree(cache, mine)
    gone, damaged, whole = study.images["cube"].iloc[:3]
    (mine / gone).unlink()
    (mine / damaged).write_bytes((mine / damaged).read_bytes()[:-50])
    seen = read_thumbnails(study, mine, progress=False)
    assert set(seen) == set(study.images["cube"]) - {gone, damaged}
    cube = read_cube(mine / whole)
    extents = [(high - low) * cube.voxel_mm for low, high in cube.bounds]
    np.testing.assert_allclose(seen[whole].head_mm, extents, rtol=1e-6)
    _, result = audit_folder(tmp_path / "study", cache=mine, progress=False)
    (note,) = [f for f in result.findings if f.code == "images-not-compared"]
    assert note.problem.startswith("2 image(s)")


def test_the_command_prints_the_json_and_fails_at_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write_bids(tmp_path / "data", "MINE", 6)
    run([root], tmp_path / "study", tmp_path / "cubes")
    command = ["medblip", "audit", str(tmp_path / "study"), "--json", "--workers", "1"]
    monkeypatch.setattr("sys.argv", command)
    cli.main()
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads((tmp_path / "study" / AUDIT_JSON_FILE).read_text())
    # one file under two subjects
    table = tmp_path / "study" / "images.tsv"
    lines = [line.split("\t") for line in table.read_text().splitlines()]
    at = lines[0].index("sha256")
    lines[2][at] = lines[1][at]
    table.write_text("\n".join("\t".join(line) for line in lines) + "\n")
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 3
    levels = [f["level"] for f in json.loads(capsys.readouterr().out)["findings"]]
    assert levels[0] == "error"


def test_both_options_of_zero_shot_are_wrong_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ["--out", str(tmp_path / "o"), "--zero-shot", "A", "--no-zero-shot"]
    monkeypatch.setattr("sys.argv", ["medblip", "prepare", str(tmp_path), *options])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 2
