"""Checkpoints are whole or absent, whatever cuts their writing short; older ones go only then."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from medblip.training import checkpoints, folders
from medblip.training.checkpoints import (
    COMPLETE,
    STAGING,
    drop_incomplete,
    is_complete,
    newest_complete,
    whole_checkpoint,
)
from medblip.training.disk import CannotSaveError
from medblip.training.folders import beside, replace_folder, settle
from medblip.training.metrics_file import MetricsFile

PARTS = ("model.safetensors", "adapter/adapter.safetensors", "optimizer.pt")


class Killed(BaseException):
    """As kill -9: nothing catches it."""


def write(folder: Path, text: str) -> None:
    for part in PARTS:
        (folder / part).parent.mkdir(parents=True, exist_ok=True)
        (folder / part).write_text(text)


def save(folder: Path, step: int) -> None:
    with whole_checkpoint(folder, step, estimate=100) as staging:
        write(staging / f"checkpoint-{step}", f"weights of {step}")


def is_whole(folder: Path, text: str) -> bool:
    return all((folder / part).read_text() == text for part in PARTS)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@contextmanager
def killed_at(call: int) -> Iterator[Callable[[], bool]]:
    """Die at the so-manieth change of the disk; gives whether it came to that."""
    count = 0

    def counted(real: Callable[..., Any]) -> Callable[..., Any]:
        def change(*args: Any, **kwargs: Any) -> Any:
            nonlocal count
            count += 1
            if count > call:
                raise Killed
            return real(*args, **kwargs)

        return change

    with pytest.MonkeyPatch.context() as patch:
        for owner, name in (
            (os, "fsync"),
            (os, "unlink"),
            (os, "rmdir"),
            (os, "mkdir"),
            (Path, "rename"),
            (Path, "replace"),
            (Path, "write_text"),
        ):
            patch.setattr(owner, name, counted(getattr(owner, name)))
        yield lambda: count > call


def instants(work: Callable[[], None], before: Callable[[], None]) -> Iterator[bool]:
    """Run ``work`` once for each instant it can be killed at, anew from ``before`` each time."""
    for call in range(1000):
        before()
        with killed_at(call) as died, suppress(Killed):
            work()
        yield died()
        if not died():
            assert call > 3, "nothing was counted"
            return


def test_the_two_latest_stay_and_each_is_whole(tmp_path: Path) -> None:
    for step in (2, 4, 6):
        save(tmp_path, step)
    assert names(tmp_path) == ["checkpoint-4", "checkpoint-6"]
    newest = newest_complete(tmp_path)
    assert newest is not None
    assert is_whole(newest, "weights of 6")


def test_a_save_killed_at_any_instant_leaves_the_old_or_the_new_one(tmp_path: Path) -> None:
    def before() -> None:
        shutil.rmtree(tmp_path / "stage", ignore_errors=True)
        for step in (2, 4):
            save(tmp_path / "stage", step)

    seen = set()
    for died in instants(lambda: save(tmp_path / "stage", 6), before):
        drop_incomplete(tmp_path / "stage")
        newest = newest_complete(tmp_path / "stage")
        assert newest is not None
        step = newest.name.split("-")[1]
        seen.add(step)
        assert is_whole(newest, f"weights of {step}")
        assert step == "6" or died
        assert all(is_complete(path) for path in (tmp_path / "stage").iterdir())
    assert seen == {"4", "6"}


def test_a_kept_model_replaced_at_any_instant_is_the_old_or_the_new_one(tmp_path: Path) -> None:
    model = tmp_path / "model"

    def before() -> None:
        for folder in tmp_path.iterdir():
            shutil.rmtree(folder)
        write(model, "old")
        write(beside(model), "new")

    seen = set()
    for died in instants(lambda: replace_folder(beside(model), model), before):
        settle(model)
        text = (model / PARTS[0]).read_text()
        seen.add(text)
        assert is_whole(model, text)
        assert text == "new" or died
        assert names(tmp_path) == ["model"]
    assert seen == {"old", "new"}


def test_rows_are_rewound_at_once_or_not_at_all(tmp_path: Path) -> None:
    file = MetricsFile(tmp_path / "metrics.jsonl")
    rows = [{"stage": "tune", "step": step, "language": 1.0} for step in (1, 2, 3)]

    def before() -> None:
        file.path.unlink(missing_ok=True)
        for row in rows:
            file.append(row)

    for died in instants(lambda: file.rewind("tune", 2), before):
        left = file.read()
        assert left in (rows, rows[:2])
        assert died or left == rows[:2]


def test_rows_follow_a_cut_one(tmp_path: Path) -> None:
    file = MetricsFile(tmp_path / "metrics.jsonl")
    file.append({"stage": "align", "step": 1})
    with file.path.open("a") as handle:
        handle.write('{"stage": "align", "st')
    file.rewind("align", 1)
    file.append({"stage": "align", "step": 2})
    assert [row["step"] for row in file.read()] == [1, 2]


def test_a_row_after_a_cut_one_is_kept_whole(tmp_path: Path) -> None:
    file = MetricsFile(tmp_path / "metrics.jsonl")
    file.path.write_text('{"key": "a"}\n{"key": "b", "sc')
    file.append({"key": "c"})
    file.append({"key": "d"})
    assert [row["key"] for row in file.read()] == ["a", "c", "d"]


def test_one_that_was_cut_afterwards_is_not_gone_on_from(tmp_path: Path) -> None:
    for step in (2, 4):
        save(tmp_path, step)
    os.truncate(tmp_path / "checkpoint-4" / "optimizer.pt", 3)
    newest = newest_complete(tmp_path)
    assert newest is not None
    assert newest.name == "checkpoint-2"
    (tmp_path / "checkpoint-2" / COMPLETE).write_text('{"files": ')
    assert newest_complete(tmp_path) is None


def test_a_folder_of_another_name_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "checkpoint-mine").mkdir()
    save(tmp_path, 2)
    drop_incomplete(tmp_path)
    assert names(tmp_path) == ["checkpoint-2", "checkpoint-mine"]


@pytest.mark.parametrize("when", ["before", "within", "after"])
def test_a_failed_save_leaves_the_last_one_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    save(tmp_path, 2)

    def fails(*args: object) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(CannotSaveError) as caught:
        if when == "before":
            monkeypatch.setattr(checkpoints, "require_space", fails)
            save(tmp_path, 4)
        elif when == "after":
            monkeypatch.setattr(checkpoints, "sync_tree", fails)
            save(tmp_path, 4)
        else:
            with whole_checkpoint(tmp_path, 4, estimate=1) as staging:
                write(staging / "checkpoint-4", "half")
                fails()
    assert caught.value.code == "disk-full"
    assert caught.value.exit_code == 1
    assert names(tmp_path) == ["checkpoint-2"]
    assert not (tmp_path / STAGING).exists()


def test_a_fault_that_is_none_of_the_disk_is_not_called_one(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="shape"), whole_checkpoint(tmp_path, 2, estimate=1):
        raise RuntimeError("shape mismatch")


def test_every_file_and_folder_is_flushed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed = []
    monkeypatch.setattr(folders, "_sync", flushed.append)
    write(tmp_path / "made", "x")
    folders.sync_tree(tmp_path / "made")
    made = tmp_path / "made"
    assert set(flushed) == {made, made / "adapter", *(made / part for part in PARTS)}
    assert flushed[-1] == made  # names last, when what they name is there
