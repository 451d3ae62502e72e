"""Many tasks over few processes: one thread each, in order, with a bar, and stoppable."""

from __future__ import annotations

import math
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any, TypeVar

from tqdm import tqdm

from medblip.errors import PartlyDoneError

Task = TypeVar("Task")
Result = TypeVar("Result")

# Starting a process costs about as much as a few tasks.
_TASKS_PER_WORKER = 8
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")

_shared: Any = None


def run_all(
    function: Callable[[Any, Task], Result],
    shared: Any,
    tasks: Sequence[Task],
    *,
    title: str,
    unit: str,
    workers: int | None = None,
    progress: bool = True,
) -> Iterator[Result]:
    """``function(shared, task)`` for each task, results in order.

    Args:
        function: at module level, so that a new process can import it.
        shared: sent once to each process, not once for each task.
        tasks: what to do.
        title, unit: what the bar says of the tasks.
        workers: processes; 0 or 1 works in this one, None chooses by cores and tasks.
        progress: whether to show a bar on the error stream.

    Raises:
        PartlyDoneError: a process was killed, as systems do when memory runs out.
    """
    count = min(_cores(), math.ceil(len(tasks) / _TASKS_PER_WORKER)) if workers is None else workers
    results: Iterator[Result] = (function(shared, task) for task in tasks)
    if count > 1:
        results = _in_processes(function, shared, tasks, count, title)
    yield from tqdm(results, total=len(tasks), desc=title, unit=unit, disable=not progress)


def _in_processes(
    function: Callable[[Any, Task], Result],
    shared: Any,
    tasks: Sequence[Task],
    workers: int,
    title: str,
) -> Iterator[Result]:
    context = multiprocessing.get_context("spawn")
    with (
        _single_threads(),
        ProcessPoolExecutor(workers, context, _start, (function, shared)) as pool,
    ):
        try:
            yield from pool.map(_call, tasks)
        except BrokenProcessPool as error:
            raise PartlyDoneError(
                title,
                "a worker process ended abruptly, most often because memory ran out",
                "run the same command again with fewer workers; what is finished is kept",
                code="worker-died",
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)


def _start(function: Callable[[Any, Any], Any], shared: Any) -> None:
    global _shared
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    _shared = (function, shared)


def _call(task: Any) -> Any:
    function, shared = _shared
    return function(shared, task)


@contextmanager
def _single_threads() -> Iterator[None]:
    """Processes started within inherit one thread each; numerical libraries read it at import."""
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
