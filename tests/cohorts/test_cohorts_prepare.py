"""Data sets become a study: nothing is lost, nothing is done twice, nothing is half there."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tiny_bids import write_bids, write_head

from medblip.cohorts.prepare import PreparedStudy, prepare
from medblip.errors import InputError, MedBlipError, UsageError
from medblip.findings import Finding
from medblip.notice import SIMULATED_DATA
from medblip.study.study import Study
from medblip.study.tables import read_table
from medblip.volumes.cache import read_cube
from medblip.volumes.preprocessing import Preprocessing
from medblip.volumes.volume import Volume

SMALL = Preprocessing(size=16)
FILES = (
    "audit.html",
    "audit.json",
    "findings.tsv",
    "images.tsv",
    "sessions.tsv",
    "splits.json",
    "study.json",
)


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two cohorts that no test changes."""
    root = tmp_path_factory.mktemp("bids")
    return [write_bids(root / "a", "SIM-A", 12), write_bids(root / "z", "SIM-Z", 4)]


def run(sources: list[Path], folder: Path, **options: object) -> PreparedStudy:
    arguments: dict[str, object] = {
        "preprocessing": SMALL,
        "cache": folder / "cache",
        "zero_shot": [],
        "workers": 1,
        "progress": False,
    }
    return prepare(sources, folder / "study", **{**arguments, **options})  # type: ignore[arg-type]


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_two_cohorts_become_a_study(sources: list[Path], tmp_path: Path) -> None:
    before = [contents(root) for root in sources]
    result = run(sources, tmp_path, zero_shot=["SIM-Z"])
    assert (result.found, result.used, result.skipped) == (16, 16, 0)
    assert tuple(path.name for path in sorted(result.folder.iterdir())) == FILES
    study = Study.load(result.folder)
    assert study.info == result.study.info
    assert len(study.examples("zero_shot")) == 4
    examples = [e for s in ("train", "validation", "test") for e in study.examples(s)]
    assert {e.participant_id for e in examples} == {f"SIM-A-SIMA{n:04d}" for n in range(1, 13)}
    for example in examples:
        cube = read_cube(tmp_path / "cache" / example.cube)
        assert cube.array.shape == (16, 16, 16)
        assert (sources[0] / example.image).is_file()
    assert study.info.simulated
    assert study.info.preprocessing.fingerprint == SMALL.fingerprint()
    assert study.info.preprocessing.parameters["size"] == 16
    assert sum(count.images for count in study.info.counts) == 16
    assert SIMULATED_DATA in (result.folder / "audit.html").read_text()
    assert [contents(root) for root in sources] == before


def test_facts_of_the_scan_are_listed(sources: list[Path], tmp_path: Path) -> None:
    images = run(sources[1:], tmp_path).study.images
    assert set(images["shape"]) == {"24x24x24"}
    assert set(images["voxel_mm"]) == {"8x8x8"}
    assert set(images["axcodes"]) == {"RAS"}
    assert set(images["kind"]) == {"skull-stripped"}
    assert images["sha256"].nunique() == 4


@pytest.fixture
def flawed(tmp_path: Path) -> Path:
    """One broken scan, one session with a broken first run, one bad score, one lost row."""
    root = write_bids(tmp_path / "data", "SIM-A", 8)

    def image(number: int, extra: str = "") -> Path:
        label = f"sub-SIMA{number:04d}"
        return root / label / "ses-01" / "anat" / f"{label}_ses-01_{extra}T1w.nii.gz"

    image(1).write_bytes(image(1).read_bytes()[:-900])
    write_head(image(2, "run-2_"), 77)
    image(2).write_bytes(b"<html>not found</html>")
    table = root / "sub-SIMA0003/sub-SIMA0003_sessions.tsv"
    table.write_text(table.read_text().replace("\t23\t", "\t61\t"))
    (root / "sub-SIMA0004/sub-SIMA0004_sessions.tsv").unlink()
    write_head(root / "sub-LOST/ses-01/anat/sub-LOST_ses-01_T1w.nii.gz", 78)
    return root


def test_bad_scans_are_listed_and_never_stop_the_others(flawed: Path, tmp_path: Path) -> None:
    result = run([flawed], tmp_path)
    assert (result.found, result.used, result.skipped) == (10, 6, 4)
    findings = read_table(result.folder / "findings.tsv")
    assert list(findings.columns) == ["code", "level", "where", "problem", "fix", "count"]
    errors = findings[findings["level"] == "error"]
    assert len(errors) == errors["where"].nunique() == result.skipped
    by_subject = {where.split("/")[1]: code for where, code in errors[["where", "code"]].to_numpy()}
    assert set(by_subject) == {"sub-SIMA0001", "sub-SIMA0002", "sub-SIMA0003", "sub-LOST"}
    assert by_subject["sub-SIMA0003"] == "out-of-range"
    assert by_subject["sub-LOST"] == "scan-without-row"
    assert all(errors["problem"] != "")
    assert result.study.info.scans_skipped == 4
    used = set(result.study.sessions["participant_id"])
    assert used == {f"SIM-A-SIMA000{n}" for n in (2, 4, 5, 6, 7, 8)}


def test_second_run_is_primary_where_the_first_is_broken(flawed: Path, tmp_path: Path) -> None:
    images = run([flawed], tmp_path).study.images
    (row,) = images[images["participant_id"] == "SIM-A-SIMA0002"].to_dict("records")
    assert (row["run"], row["primary"]) == ("2", "true")


def test_further_runs_are_kept_but_not_examples(tmp_path: Path) -> None:
    root = write_bids(tmp_path / "data", "SIM-A", 2)
    write_head(root / "sub-SIMA0001/ses-01/anat/sub-SIMA0001_ses-01_run-2_T1w.nii.gz", 5)
    study = run([root], tmp_path).study
    assert study.images["primary"].tolist() == ["true", "false", "true"]
    assert sum(len(study.examples(s)) for s in ("train", "validation", "test")) == 2


def test_same_call_returns_at_once_and_leaves_all_as_it_is(
    sources: list[Path], tmp_path: Path
) -> None:
    first = run(sources, tmp_path)
    edited = first.folder / "sessions.tsv"
    edited.write_text(edited.read_text().replace("\tA0\t", "\tA7\t"))
    before = contents(tmp_path)
    times = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    again = run(sources, tmp_path)
    assert (first.reused, again.reused) == (False, True)
    assert "A7" in set(again.study.sessions["site"])
    assert contents(tmp_path) == before
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == times


def test_deleted_cubes_are_made_again_and_edits_stay(sources: list[Path], tmp_path: Path) -> None:
    first = run(sources, tmp_path)
    edited = first.folder / "sessions.tsv"
    edited.write_text(edited.read_text().replace("\tA0\t", "\tA7\t"))
    before, cubes = contents(tmp_path / "study"), set(contents(tmp_path / "cache"))
    shutil.rmtree(tmp_path / "cache")
    assert run(sources, tmp_path).reused
    assert contents(tmp_path / "study") == before
    assert set(contents(tmp_path / "cache")) == cubes


class StopAfter:
    """A gate that interrupts the run, as a person would, after some scans."""

    def __init__(self, count: int) -> None:
        self.left = count

    def __call__(self, volume: Volume) -> tuple[Finding, ...]:
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        return ()


def test_interrupted_run_goes_on_and_ends_the_same(sources: list[Path], tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(sources, tmp_path, check=StopAfter(5))
    assert not (tmp_path / "study" / "study.json").exists()
    made = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").iterdir()}
    assert len(made) == 5
    # The gate has 11 calls left for the 11 scans that are not in the cache.
    resumed = run(sources, tmp_path, check=StopAfter(11))
    assert {path: path.stat().st_mtime_ns for path in made} == made
    shutil.move(tmp_path / "study", tmp_path / "resumed")
    straight = run(sources, tmp_path, check=StopAfter(16))
    assert resumed.used == straight.used == 16
    assert contents(tmp_path / "resumed") == contents(tmp_path / "study")


def test_two_processes_write_what_one_writes(sources: list[Path], tmp_path: Path) -> None:
    run(sources, tmp_path, workers=1)
    shutil.move(tmp_path / "study", tmp_path / "one")
    shutil.rmtree(tmp_path / "cache")
    run(sources, tmp_path, workers=2)
    assert contents(tmp_path / "one") == contents(tmp_path / "study")


def refuse_half(volume: Volume) -> tuple[Finding, ...]:
    """Refuse about half of the heads, by a digit of their mean."""
    if int(1000 * volume.array.mean()) % 2:
        return (Finding("odd", "error", "gate", "not for us"),)
    return (Finding("even", "warning", "gate", "for us"),)


def test_gate_refuses_scans_and_its_warnings_are_kept(sources: list[Path], tmp_path: Path) -> None:
    result = run(sources, tmp_path, check=refuse_half)
    codes = [finding.code for finding in result.findings]
    assert codes.count("odd") == result.skipped > 0
    assert codes.count("even") == result.used > 0
    assert all(f.where.startswith(("SIM-A/sub-", "SIM-Z/sub-")) for f in result.findings)


def test_other_arguments_are_another_study(sources: list[Path], tmp_path: Path) -> None:
    run(sources, tmp_path, seed=0)
    before = contents(tmp_path / "study")
    for change in ({"seed": 1}, {"fractions": (0.5, 0.2, 0.3)}, {"zero_shot": ["SIM-Z"]}):
        with pytest.raises(UsageError) as caught:
            run(sources, tmp_path, **change)
        assert caught.value.code == "other-study"
    assert contents(tmp_path / "study") == before
    replaced = run(sources, tmp_path, seed=1, overwrite=True)
    assert not replaced.reused
    assert json.loads((replaced.folder / "splits.json").read_text())["seed"] == 1


def test_changed_data_are_noticed(tmp_path: Path) -> None:
    root = write_bids(tmp_path / "data", "SIM-A", 3)
    run([root], tmp_path)
    table = root / "sub-SIMA0001/sub-SIMA0001_sessions.tsv"
    table.write_text(table.read_text().replace("\t29\t", "\t28\t"))
    with pytest.raises(UsageError, match="other data"):
        run([root], tmp_path)


def same_name(root: Path) -> tuple[list[Path], dict[str, object]]:
    return [write_bids(root / "x", "SIM-A", 2), write_bids(root / "y", "SIM-A", 2)], {}


def foreign_folder(root: Path) -> tuple[list[Path], dict[str, object]]:
    (root / "study").mkdir()
    (root / "study" / "thesis.docx").write_text("mine")
    return [write_bids(root / "x", "SIM-A", 2)], {}


def cache_in_source(root: Path) -> tuple[list[Path], dict[str, object]]:
    return [write_bids(root / "x", "SIM-A", 2)], {"cache": root / "x" / "cache"}


def all_broken(root: Path) -> tuple[list[Path], dict[str, object]]:
    data = write_bids(root / "x", "SIM-A", 2)
    for path in data.rglob("*.nii.gz"):
        path.write_bytes(b"")
    return [data], {}


def cache_is_a_file(root: Path) -> tuple[list[Path], dict[str, object]]:
    (root / "file").write_text("")
    return [write_bids(root / "x", "SIM-A", 2)], {"cache": root / "file"}


WRONG: dict[str, tuple[Callable[[Path], object], type[MedBlipError], str]] = {
    "two data sets of one name": (same_name, InputError, "same-cohort"),
    "folder with other files": (foreign_folder, UsageError, "folder-in-use"),
    "cache within a source": (cache_in_source, UsageError, "writes-to-source"),
    "no usable scan": (all_broken, InputError, "no-usable-scan"),
    "cache that cannot be written": (cache_is_a_file, UsageError, "cache-unwritable"),
    "no source": (lambda root: ([], {}), UsageError, "no-source"),
    "unknown zero-shot cohort": (
        lambda root: ([write_bids(root / "x", "SIM-A", 2)], {"zero_shot": ["SIM-B"]}),
        UsageError,
        "unknown-cohort",
    ),
}


@pytest.mark.parametrize(("make", "kind", "code"), WRONG.values(), ids=WRONG)
def test_wrong_calls_are_named_and_leave_no_study(
    tmp_path: Path, make: Callable[..., object], kind: type[MedBlipError], code: str
) -> None:
    data, options = make(tmp_path)  # type: ignore[misc]
    with pytest.raises(kind) as caught:
        run(data, tmp_path, **options)
    assert caught.value.code == code
    assert not (tmp_path / "study" / "study.json").exists()


def test_reasons_are_written_even_when_no_scan_can_be_used(tmp_path: Path) -> None:
    data, _ = all_broken(tmp_path)
    with pytest.raises(InputError, match="none of 2"):
        run(data, tmp_path)
    assert len(read_table(tmp_path / "study" / "findings.tsv")) == 2


def test_one_person_under_two_names_is_an_audit_error(tmp_path: Path) -> None:
    root = write_bids(tmp_path / "data", "SIM-A", 6)
    stem = "sub-SIMA000{0}/ses-01/anat/sub-SIMA000{0}_ses-01_T1w.nii.gz"
    shutil.copyfile(root / stem.format(1), root / stem.format(2))
    (error,) = (finding for finding in run([root], tmp_path).audit if finding.level == "error")
    assert error.code in ("same-image-both-sides", "same-image-two-subjects")


def test_resaved_scan_under_two_names_is_found(tmp_path: Path) -> None:
    import nibabel as nib

    root = write_bids(tmp_path / "data", "SIM-A", 6)
    stem = "sub-SIMA000{0}/ses-01/anat/sub-SIMA000{0}_ses-01_T1w.nii.gz"
    image = nib.load(root / stem.format(1))
    again = np.asarray(image.dataobj) * 1.7
    nib.save(nib.Nifti1Image(again.astype(np.float32), image.affine), root / stem.format(2))
    codes = {finding.code for finding in run([root], tmp_path).audit}
    assert {"near-duplicate", "near-duplicate-both-sides"} & codes


def test_tables_hold_text_only(sources: list[Path], tmp_path: Path) -> None:
    study = run(sources, tmp_path).study
    for frame in (study.sessions, study.images):
        assert all(isinstance(cell, str) for cell in frame.to_numpy().ravel())
        assert isinstance(frame, pd.DataFrame)
