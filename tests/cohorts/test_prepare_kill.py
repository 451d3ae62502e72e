"""Killed at any moment, the same command ends with the same bytes; no process is left behind."""

from __future__ import annotations

from pathlib import Path

import pytest
from killed_prepare import KILLED, contents, forked, kill_after, kill_at_write, run
from tiny_bids import write_bids

from medblip.storage import remove_leftovers

SUBJECTS = 4
STUDY_FILES = 7


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bids(tmp_path_factory.mktemp("bids") / "a", "SIM-A", SUBJECTS)


def test_killed_at_every_write_the_resumed_study_is_the_same(source: Path, tmp_path: Path) -> None:
    # The path of the cache is in study.json: all runs are in one folder, moved away when done.
    here = tmp_path / "here"
    run(source, here)
    here.rename(tmp_path / "unbroken")
    wanted = contents(tmp_path / "unbroken")
    cubes = [name for name in wanted if name.startswith("cache/")]
    assert 0 < len(cubes) < SUBJECTS  # the gate refuses some
    assert len(wanted) == len(cubes) + STUDY_FILES
    # The state after one write is that before the next: the first two cubes, then every file.
    writes = [(number, True) for number in (1, 2, *range(len(cubes) + 1, len(wanted) + 1))]
    for number, before in [*writes, (len(wanted), False)]:
        assert kill_at_write(source, here, number, before=before) == KILLED
        left = contents(here)
        assert len(left) == number - before
        assert left.items() <= wanted.items()
        assert ("study/study.json" in left) == (not before)
        assert forked(lambda: run(source, here)) == 0
        assert contents(here) == wanted
        assert not list((here / "study").glob(".*"))
        here.rename(tmp_path / f"{number} {before}")


def test_processes_end_with_a_killed_parent_and_the_study_is_the_same(
    source: Path, tmp_path: Path
) -> None:
    visits = {number: [f"ses-{visit}" for visit in range(6)] for number in range(SUBJECTS)}
    many = write_bids(tmp_path / "many", "SIM-A", SUBJECTS, sessions=visits)
    here = tmp_path / "here"
    done = kill_after(many, here, cubes=3, seconds=0.02, workers=2)
    assert done == (KILLED, True)
    assert 3 <= len(contents(here / "cache")) < 6 * SUBJECTS
    assert not (here / "study" / "study.json").exists()
    run(many, here)
    resumed = contents(here)
    here.rename(tmp_path / "resumed")
    run(many, here)
    assert resumed == contents(here)


def test_only_old_leftovers_of_writers_are_removed(tmp_path: Path) -> None:
    left = tmp_path / f".{'0a' * 16}.part.safetensors"
    others = [tmp_path / ".hidden.part.tsv", tmp_path / "images.tsv", tmp_path / ".part"]
    for path in (left, *others):
        path.write_text("")
    remove_leftovers(tmp_path, older_than_s=3600)
    assert left.exists()
    remove_leftovers(tmp_path)
    remove_leftovers(tmp_path / "none")
    assert sorted(tmp_path.iterdir()) == sorted(others)
