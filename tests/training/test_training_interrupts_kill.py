"""Processes that are killed with -9, and one of the command line that is told to stop.

`benchmarks/kill_resume.py` does the same at many random instants.
"""

from __future__ import annotations

import multiprocessing
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny_run import TinyRun, make_run

from medblip.training.checkpoints import STAGING, is_complete
from medblip.training.run import resume, train
from tiny_world import learned_bytes

pytestmark = pytest.mark.usefixtures("code_stays")

LIMIT_S = 120.0


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> TinyRun:
    return make_run(tmp_path_factory.mktemp("tiny"), steps=6)


def begin(tiny: TinyRun, out: Path) -> None:
    train(tiny.recipe, tiny.study, out, **tiny.places, progress=False)


def kill_at(place: Path, work: Callable[..., Any], *arguments: Any) -> None:
    """Run ``work`` in a process of its own until ``place`` exists, then kill -9."""
    process = multiprocessing.get_context("fork").Process(target=work, args=arguments)
    process.start()
    wait_for(place, process.is_alive)
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL


def wait_for(place: Path, alive: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not place.exists():
        assert alive(), f"it ended before {place.name}"
        assert time.monotonic() < deadline, f"no {place}"
        time.sleep(0.001)


def test_three_kills_two_of_them_in_saves_change_nothing(tiny: TinyRun) -> None:
    out = tiny.root / "killed"
    kill_at(out / "align" / "checkpoint-2", begin, tiny, out)
    kill_at(out / "align" / ".final.new", resume, out)
    kill_at(out / "tune" / STAGING, resume, out)
    resume(out, progress=False)
    begin(tiny, tiny.root / "whole")
    assert learned_bytes(out) == learned_bytes(tiny.root / "whole")


def test_the_command_line_leaves_with_the_signal_s_exit_code(tiny: TinyRun) -> None:
    out = tiny.root / "stopped"
    process = tiny.start(tiny.command(out))
    wait_for(out / "align" / "checkpoint-2", lambda: process.poll() is None)
    process.send_signal(signal.SIGTERM)
    printed, said = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 143, said
    assert printed == ""
    lines = said.strip().splitlines()
    assert f"go on with `medblip train --resume {out}`" in lines[-1]
    assert lines[-1].startswith(f"{out}: stopped by SIGTERM; step")
    assert all(is_complete(path) for path in (out / "align").glob("checkpoint-*"))
