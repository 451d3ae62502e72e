"""`prepare` in processes of their own that are killed, by the system or by themselves.

As a program: how often a killed and resumed run ends as an unbroken one does.

    python tests/cohorts/killed_prepare.py --times 30
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tiny_bids import write_bids

from medblip.cohorts.prepare import prepare
from medblip.findings import Finding
from medblip.volumes.preprocessing import Preprocessing
from medblip.volumes.volume import Volume

SUBJECTS = 40
KILLED = -signal.SIGKILL


def judge(volume: Volume) -> tuple[Finding, ...]:
    """Refuses some heads and warns of others, so that findings depend on every scan."""
    digit = int(1000 * volume.array.mean()) % 5
    level = ("error", "warning", "note", "note", "note")[digit]
    return (Finding(f"digit-{digit}", level, "gate", "by a digit of its mean"),)  # type: ignore[arg-type]


def run(source: Path, folder: Path, workers: int = 1) -> None:
    prepare(
        [source],
        folder / "study",
        preprocessing=Preprocessing(size=16),
        cache=folder / "cache",
        workers=workers,
        progress=False,
        check=judge,
        check_version="1",
    )


def contents(folder: Path) -> dict[str, bytes]:
    """All files below a folder but those that a killed writer of a cube left."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(".")
    }


def forked(work: Callable[[], object]) -> int:
    """Do something in a copy of this process; its exit status as `subprocess` gives it."""
    child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def kill_at_write(source: Path, folder: Path, number: int, *, before: bool) -> int:
    """Run and be killed when file ``number`` (from 1) is to be put in place, or has just been."""
    left = number
    rename = Path.replace

    def counting(self: Path, target: Path) -> Path:
        nonlocal left
        left -= 1
        if left == 0 and before:
            os.kill(os.getpid(), signal.SIGKILL)
        done = rename(self, target)
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return done

    def work() -> None:
        Path.replace = counting  # type: ignore[method-assign,assignment]
        run(source, folder)

    return forked(work)


class Kill(NamedTuple):
    """One run that was killed: its exit status, and whether all its processes ended with it."""

    status: int
    alone: bool


def kill_after(source: Path, folder: Path, cubes: int, seconds: float, workers: int) -> Kill:
    """Run over processes; kill the parent some time after so many cubes are in the cache."""
    command = [sys.executable, __file__, "--run", str(source), str(folder), str(workers)]
    cache = folder / "cache"
    with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
        while process.poll() is None and len(list(cache.glob("[!.]*"))) < cubes:
            time.sleep(0.002)
        time.sleep(seconds)
        process.kill()
        try:
            process.communicate(timeout=20)  # ends when no process holds the pipe any more
            return Kill(process.returncode, True)
        except subprocess.TimeoutExpired:
            return Kill(process.returncode, False)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--times", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--run", nargs=3, help="data set, folder, workers: run here")
    arguments = parser.parse_args()
    if arguments.run:
        source, folder, workers = arguments.run
        run(Path(source), Path(folder), int(workers))
        return 0
    rng = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        source = write_bids(root / "data", "SIM-A", SUBJECTS)
        run(source, root)
        wanted = contents(root / "study") | contents(root / "cache")
        kills = same = alone = 0
        for time_ in range(arguments.times):
            shutil.rmtree(root / "study")
            shutil.rmtree(root / "cache")
            workers = 1 + time_ % 2
            seconds = rng.expovariate(5)
            cubes = rng.randrange(SUBJECTS)
            done = kill_after(source, root, cubes, seconds, workers)
            run(source, root)
            ended = contents(root / "study") | contents(root / "cache") == wanted
            kills += done.status == KILLED
            same += ended
            alone += done.alone
            print(f"{workers} process(es), {cubes} cubes + {seconds:.3f} s: {done}, same: {ended}")
    print(f"{arguments.times} runs, {kills} killed, {alone} left no process, {same} ended the same")
    return 0 if same == alone == arguments.times else 1


if __name__ == "__main__":
    sys.exit(main())
