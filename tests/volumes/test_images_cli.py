"""Folders of slices and archives as a user meets them: on the command line and in a data set."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

import dicom_makers as makers
import fault_files
from dicom_faults import DICOM_FAULTS
from known_faults import Fault
from medblip import cli
from medblip.cohorts.dataset import Scan
from medblip.cohorts.images import ImageResult, ImageSettings, ImageTask, read_image
from medblip.findings import Finding
from medblip.volumes import Preprocessing, read_cube
from medblip.volumes.cache import load_cube


def ask(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> tuple[int, str]:
    """Exit code and error line of ``medblip ask ARGUMENTS``."""
    monkeypatch.setattr(sys, "argv", ["medblip", "ask", *arguments])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("error: ")
    assert said.err.count("\n") == 1
    return int(stop.value.code or 0), said.err


@pytest.mark.parametrize("fault", DICOM_FAULTS, ids=lambda fault: fault.name)
def test_ask_refuses_each_faulty_series_in_one_line(
    fault: Fault,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, line = ask([str(fault.make(tmp_path))], monkeypatch, capsys)
    assert code == 3
    assert fault.says in line


def test_ask_reads_folders_and_archives_up_to_the_missing_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = makers.series(tmp_path)
    packed = tmp_path / "visit.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        for path in folder.iterdir():
            archive.write(path, f"I123/{path.name}")
    none = ["--model", str(tmp_path / "none")]
    for scan in (folder, folder / "*.dcm", packed, packed / "I123"):
        code, line = ask([str(scan), *none], monkeypatch, capsys)
        assert (code, "checkpoint" in line) == (3, True), line
    code, line = ask([str(folder), "--series", "1.2.3", *none], monkeypatch, capsys)
    assert (code, "no such series" in line) == (3, True)
    code, line = ask([str(packed / "I124"), *none], monkeypatch, capsys)
    assert (code, "no such file" in line) == (3, True)


# a data set's scans


def image(task: ImageTask, folder: Path) -> ImageResult | Finding:
    return read_image(ImageSettings(Preprocessing(size=16), folder / "cubes"), task)


def scan(path: str, **options: str) -> Scan:
    return Scan("SIM-1", "v1", path, 0, **options)  # type: ignore[arg-type]


def test_two_series_in_one_folder_are_two_scans(tmp_path: Path) -> None:
    root = tmp_path / "data"
    makers.write(root / "visit", makers.slices(), "S1_I11_")
    makers.write(root / "visit", makers.slices(makers.picture(seed=9)), "S2_I22_")
    patterns = [f"*_{image_id}_*.dcm" for image_id in ("I11", "I22")]
    scans = [scan("visit", files=pattern, format="dicom") for pattern in patterns]
    tasks = [ImageTask(scan_, root, "SIM") for scan_ in scans]

    results = [image(task, tmp_path) for task in tasks]

    assert all(isinstance(result, ImageResult) for result in results)
    cubes = [result.row["cube"] for result in results if isinstance(result, ImageResult)]
    assert len(set(cubes)) == 2
    assert {task.where for task in tasks} == {"SIM/visit/*_I11_*.dcm", "SIM/visit/*_I22_*.dcm"}
    both = image(ImageTask(scan("visit"), root, "SIM"), tmp_path)
    assert isinstance(both, Finding)
    assert (both.code, both.where) == ("several-series", "SIM/visit")


def test_a_row_names_the_cube_that_was_made(tmp_path: Path) -> None:
    root = tmp_path / "data"
    root.mkdir()
    fault_files.analyze(root)
    task = ImageTask(scan("scan.img", assume_orientation="ASL", format="analyze"), root, "SIM")

    result = image(task, tmp_path)

    assert isinstance(result, ImageResult)
    assert result.row["axcodes"] == "ASL"
    cube = read_cube(tmp_path / "cubes" / result.row["cube"])
    assert cube.source_sha256 == result.row["sha256"]
    assert [(f.code, f.where) for f in result.findings] == [("orientation-assumed", "SIM/scan.img")]
    unturned = image(ImageTask(scan("scan.img"), root, "SIM"), tmp_path)
    assert isinstance(unturned, Finding)
    assert unturned.code == "left-right-unknown"


def test_a_scan_inside_an_archive_shares_the_cube_of_the_unpacked_one(tmp_path: Path) -> None:
    root = tmp_path / "data"
    root.mkdir()
    plain = fault_files.good(root)
    with zipfile.ZipFile(root / "visit.zip", "w") as archive:
        archive.write(plain, "T1/scan.nii.gz")

    paths = (plain.name, "visit.zip/T1/scan.nii.gz")
    results = [image(ImageTask(scan(path), root, "SIM"), tmp_path) for path in paths]

    rows = [result.row for result in results if isinstance(result, ImageResult)]
    assert len(rows) == 2
    assert rows[0]["cube"] == rows[1]["cube"]
    assert rows[0]["sha256"] == rows[1]["sha256"]
    outside = image(ImageTask(scan("visit.zip/../../secret.nii"), root, "SIM"), tmp_path)
    assert isinstance(outside, Finding)
    assert outside.code == "outside-root"


def test_a_series_is_read_once_and_then_found(tmp_path: Path) -> None:
    folder, cache, settings = makers.series(tmp_path), tmp_path / "cubes", Preprocessing(size=16)
    first = load_cube(folder, settings, cache)
    again = load_cube(folder, settings, cache, files="*.dcm")
    assert first.cache_file == again.cache_file
    np.testing.assert_array_equal(first.array, again.array)
    assert len(list(cache.iterdir())) == 1
