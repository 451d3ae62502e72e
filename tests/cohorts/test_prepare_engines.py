"""Whatever reads the scans, and in however many slices, the study is the same bytes."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from killed_prepare import contents, judge, run
from tiny_bids import write_bids

from medblip import cli
from medblip.cohorts.prepare import prepare
from medblip.cohorts.shards import Filled, Shard, fill_cache
from medblip.errors import MedBlipError, PartlyDoneError, UsageError
from medblip.in_flight import in_order
from medblip.parallel import run_all
from medblip.volumes.preprocessing import Preprocessing

SUBJECTS = 7
SMALL = Preprocessing(size=16)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bids(tmp_path_factory.mktemp("bids") / "a", "SIM-A", SUBJECTS)


@pytest.fixture(scope="module")
def ray() -> Iterator[object]:
    """One cluster for all tests of this file, on this machine."""
    reason = "ray is an extra of 80 MB, not part of dev: pip install 'medblip[ray]'"
    module = pytest.importorskip("ray", reason=reason)
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    # Its processes import these tests too.
    paths = {"env_vars": {"PYTHONPATH": str(Path(__file__).parent)}}
    options = {"include_dashboard": False, "log_to_driver": False, "runtime_env": paths}
    module.init(address="local", num_cpus=2, **options)
    yield module
    module.shutdown()


def test_ray_writes_what_processes_write(ray: object, source: Path, tmp_path: Path) -> None:
    here = tmp_path / "here"
    run(source, here)
    here.rename(tmp_path / "processes")
    prepare(
        [source],
        here / "study",
        preprocessing=SMALL,
        cache=here / "cache",
        workers=2,
        progress=False,
        check=judge,
        check_version="1",
        engine="ray",
    )
    assert contents(here) == contents(tmp_path / "processes")


def add(shared: int, task: int) -> int:
    if task == 13:
        raise UsageError("task", "unlucky", code="unlucky")
    return shared + task


def die_once(folder: Path, task: int) -> int:
    mark = folder / str(task)
    if task == 3 and not mark.exists():
        mark.touch()
        os._exit(1)
    return task


def die(shared: object, task: int) -> int:
    os._exit(1)


def with_ray(function: object, shared: object, tasks: range) -> list[int]:
    options = {"title": "Testing", "unit": "task", "workers": 2, "progress": False}
    return list(run_all(function, shared, tasks, engine="ray", **options))  # type: ignore[arg-type]


def test_ray_keeps_order_and_errors_and_tries_again(ray: object, tmp_path: Path) -> None:
    assert with_ray(add, 100, range(12)) == list(range(100, 112))
    with pytest.raises(UsageError) as caught:
        with_ray(add, 100, range(20))
    assert (type(caught.value), caught.value.code) == (UsageError, "unlucky")
    assert with_ray(die_once, tmp_path, range(5)) == list(range(5))
    with pytest.raises(PartlyDoneError) as lost:
        with_ray(die, None, range(1))
    assert lost.value.code == "worker-died"


def test_without_ray_the_extra_is_named(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"medblip\[ray\]") as caught:
        with_ray(add, 0, range(1))
    assert caught.value.code == "missing-extra"


def test_an_unknown_engine_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        prepare(
            [tmp_path / "none"],
            tmp_path / "study",
            preprocessing=SMALL,
            cache=tmp_path / "cache",
            engine="spark",  # type: ignore[arg-type]
        )
    assert caught.value.code == "unknown-choice"


def test_slices_fill_the_cache_and_the_study_is_the_same(source: Path, tmp_path: Path) -> None:
    here = tmp_path / "here"
    run(source, here)
    here.rename(tmp_path / "whole")
    whole = contents(tmp_path / "whole")
    cubes = {name for name in whole if name.startswith("cache/")}
    done = []
    for number in (2, 1, 3, 3):
        filled = fill_cache(
            [source],
            cache=here / "cache",
            shard=Shard(number, 3),
            preprocessing=SMALL,
            workers=1,
            progress=False,
            check=judge,
            check_version="1",
        )
        done.append(filled)
    assert [filled.scans for filled in done] == [2, 3, 2, 2]
    assert sum(filled.cubes for filled in done[:3]) == len(cubes) < SUBJECTS
    assert isinstance(done[0], Filled)
    assert set(contents(here)) == cubes
    run(source, here)
    assert contents(here) == whole


@pytest.mark.parametrize("text", ["", "3", "0/4", "5/4", "1/0", "-1/4", "a/b", "1/4/8"])
def test_what_is_no_slice_is_refused(text: str) -> None:
    with pytest.raises(MedBlipError) as caught:
        Shard.parse(text)
    assert caught.value.code == "bad-shard"


def test_little_is_given_out_ahead() -> None:
    given, most = [], 0

    def start() -> Iterator[int]:
        for number in range(100):
            given.append(number)
            yield number

    for done in in_order(start(), 5, lambda number: number):
        most = max(most, len(given) - done)
    assert (most, len(given)) == (5, 100)


def test_the_command_takes_slices_and_engines(
    source: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def command(*options: str) -> int:
        words = ["medblip", "prepare", str(source), "--out", str(tmp_path / "study"), *options]
        cache = ["--cache", str(tmp_path / "cache"), "--size", "16", "--workers", "1"]
        monkeypatch.setattr(sys, "argv", [*words, *cache])
        try:
            cli.main()
        except SystemExit as stopped:
            return int(stopped.code or 0)
        return 0

    assert command("--shard", "1/2") == 0
    assert "slice 1/2: " in capsys.readouterr().out
    assert not (tmp_path / "study").exists()
    assert command("--shard", "3/2") == 2
    assert command("--engine", "spark") == 2
    assert "'spark' is not an engine" in capsys.readouterr().err
