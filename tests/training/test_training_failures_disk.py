"""A full, limited or read-only disk: one line that says so, and the last checkpoint is whole."""

from __future__ import annotations

import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from tiny_run import TinyRun, make_run

from medblip.errors import UsageError
from medblip.training import checkpoints, run_folder
from medblip.training.checkpoints import STAGING, newest_complete
from medblip.training.disk import CannotSaveError, require_space, require_writable
from medblip.training.run import train
from medblip.training.stage_trainer import StageTrainer

pytestmark = pytest.mark.usefixtures("code_stays")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> TinyRun:
    made = make_run(tmp_path_factory.mktemp("tiny"), steps=6, evaluate_every=100, save_every=2)
    values = made.recipe.model_dump()
    values["align"]["steps"] = 0
    return TinyRun(made.root, type(made.recipe).model_validate(values))


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small disk of its own; only root may make one."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2000k", "none", str(place)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("a file system can only be mounted as root")
    yield place
    while place.is_mount():  # a read-only one may lie over it
        subprocess.run(["umount", "--recursive", "--lazy", str(place)], check=True)


def go(tiny: TinyRun, out: Path) -> Any:
    return train(tiny.recipe, tiny.study, out, **tiny.places, progress=False)


def fails(tiny: TinyRun, out: Path) -> CannotSaveError:
    with pytest.raises(CannotSaveError) as caught:
        go(tiny, out)
    assert caught.value.exit_code == 1
    assert len(str(caught.value).splitlines()) == 1
    return caught.value


def assert_last_is_whole(out: Path, step: int) -> None:
    newest = newest_complete(out / "tune")
    assert newest == out / "tune" / f"checkpoint-{step}"
    assert load_file(newest / "model.safetensors")
    assert load_file(newest / "ema.safetensors")


def test_a_checkpoint_that_will_not_fit_is_not_begun(tiny: TinyRun, disk: Path) -> None:
    error = fails(tiny, disk / "run")
    assert error.code == "disk-full"
    assert error.where == str(disk / "run" / "tune")
    assert "bytes are free, a save takes" in error.problem
    assert_last_is_whole(disk / "run", 2)


def test_a_disk_that_fills_up_within_a_save(
    tiny: TinyRun, disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (checkpoints, run_folder):
        monkeypatch.setattr(module, "require_space", lambda folder, expected: None)
    assert fails(tiny, disk / "run").code == "disk-full"
    assert_last_is_whole(disk / "run", 2)
    assert not (disk / "run" / "tune" / STAGING).exists()
    subprocess.run(["mount", "-o", "remount,size=20m", str(disk)], check=True)
    assert go(tiny, disk / "run").model.exists()


def test_a_disk_that_becomes_read_only(
    tiny: TinyRun, disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = StageTrainer.training_step

    def training_step(self: StageTrainer, *args: Any, **kwargs: Any) -> Any:
        if self.steps_done == 3:
            make_read_only(disk / "run" / "tune")
        return real(self, *args, **kwargs)

    monkeypatch.setattr(StageTrainer, "training_step", training_step)
    assert fails(tiny, disk / "run").code == "not-writable"
    assert_last_is_whole(disk / "run", 2)


def make_read_only(folder: Path) -> None:
    """A read-only mount of a folder over itself."""
    subprocess.run(["mount", "--bind", str(folder), str(folder)], check=True)
    subprocess.run(["mount", "-o", "remount,ro,bind", str(folder)], check=True)


def test_a_read_only_folder_is_named_before_anything_is_done(tiny: TinyRun, disk: Path) -> None:
    make_read_only(disk)
    with pytest.raises(UsageError) as caught:
        go(tiny, disk / "run")
    assert caught.value.code == "not-writable"
    assert caught.value.exit_code == 2
    assert "Read-only file system" in str(caught.value)


@pytest.fixture
def limit() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("largest", [100_000, 500_000])  # the weights, the optimizer's state
def test_a_file_beyond_the_limit(tiny: TinyRun, tmp_path: Path, limit: None, largest: int) -> None:
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    with pytest.MonkeyPatch.context() as patch:
        real = StageTrainer.training_step

        def training_step(self: StageTrainer, *args: Any, **kwargs: Any) -> Any:
            if self.steps_done == 3:
                resource.setrlimit(resource.RLIMIT_FSIZE, (largest, hard))
            return real(self, *args, **kwargs)

        patch.setattr(StageTrainer, "training_step", training_step)
        assert fails(tiny, tmp_path / "run").code == "file-too-large"
    assert_last_is_whole(tmp_path / "run", 2)
    assert not (tmp_path / "run" / "tune" / STAGING).exists()


def test_space_is_looked_at_with_a_margin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda folder: type("Usage", (), {"free": 119}))
    with pytest.raises(CannotSaveError, match="119 bytes are free, a save takes 120 bytes"):
        require_space(tmp_path, 100)
    monkeypatch.setattr("shutil.disk_usage", lambda folder: type("Usage", (), {"free": 120}))
    require_space(tmp_path, 100)


def test_a_file_in_the_way_is_named_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("")
    with pytest.raises(UsageError, match=r"run: cannot be written to"):
        require_writable(tmp_path / "run")
