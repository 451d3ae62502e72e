"""Ways of doing the same, timed in turn, each in a process of its own.

A process builds its model once, takes one step to warm up, and then one whenever it is asked. One
step of each way follows upon the other, so that what else the machine does meets all of them.
Beside the time on the clock each step's processor time is taken, over all its threads: that hardly
changes with what else runs. Threads that wait sleep, so that waiting is not counted as work.
"""

from __future__ import annotations

import importlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Taken:
    """Seconds of one step: on the clock, and of the processor."""

    clock: float
    processor: float


def take_turns(
    ways: Mapping[str, Sequence[str]], repeats: int, threads: int
) -> dict[str, list[Taken]]:
    """What each way took in each turn.

    Args:
        ways: for each name a module beside this one and the arguments of its ``step_of``, which
            returns the step as a function of nothing.
    """
    workers = {name: _start(arguments, threads) for name, arguments in ways.items()}
    taken: dict[str, list[Taken]] = {name: [] for name in ways}
    try:
        for turn in range(repeats):
            order = list(workers) if turn % 2 == 0 else list(workers)[::-1]
            for name in order:
                taken[name].append(_ask(workers[name]))
                print(f"{turn} {name}: {taken[name][-1]}", file=sys.stderr, flush=True)
    finally:
        for worker in workers.values():
            worker.kill()
    return taken


def ratios(slow: Sequence[Taken], fast: Sequence[Taken]) -> dict[str, dict[str, float]]:
    """How many times as long, turn by turn."""
    pairs = list(zip(slow, fast, strict=True))
    return {
        "clock": spread([a.clock / b.clock for a, b in pairs]),
        "processor": spread([a.processor / b.processor for a, b in pairs]),
    }


def spreads(taken: Sequence[Taken]) -> dict[str, dict[str, float]]:
    return {
        "clock": spread([t.clock for t in taken]),
        "processor": spread([t.processor for t in taken]),
    }


def spread(values: Sequence[float]) -> dict[str, float]:
    return {"min": min(values), "median": statistics.median(values), "max": max(values)}


def _start(arguments: Sequence[str], threads: int) -> subprocess.Popen[str]:
    worker = subprocess.Popen(
        [sys.executable, "-W", "ignore", __file__, str(threads), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE"},
    )
    _answer(worker)  # when it is built and warm, before the next one starts
    return worker


def _ask(worker: subprocess.Popen[str]) -> Taken:
    if worker.stdin is None:
        raise SystemExit("no pipe to the worker")
    worker.stdin.write("\n")
    worker.stdin.flush()
    return _answer(worker)


def _answer(worker: subprocess.Popen[str]) -> Taken:
    line = worker.stdout.readline() if worker.stdout else ""
    if not line:
        raise SystemExit(f"a process ended with code {worker.wait()}")
    return Taken(*json.loads(line))


def _serve(threads: int, module: str, arguments: Sequence[str]) -> None:
    torch.set_num_threads(threads)
    step = importlib.import_module(module).step_of(*arguments)
    step()
    print(json.dumps([0, 0]), flush=True)
    for _ in sys.stdin:
        started = time.perf_counter(), time.process_time()
        step()
        ended = time.perf_counter(), time.process_time()
        print(json.dumps([b - a for a, b in zip(started, ended, strict=True)]), flush=True)


if __name__ == "__main__":
    _serve(int(sys.argv[1]), sys.argv[2], sys.argv[3:])
