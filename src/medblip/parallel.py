"""Many tasks over few processes: one thread each, in order, with a bar, and stoppable."""

from __future__ import annotations

import math
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.connection import wait
from typing import Any, Literal, TypeVar, cast, get_args

from tqdm import tqdm

from medblip.errors import PartlyDoneError, UsageError
from medblip.in_flight import in_order

Task = TypeVar("Task")
Result = TypeVar("Result")

Engine = Literal["processes", "ray"]

# Starting a process costs about as much as a few tasks.
_TASKS_PER_WORKER = 8
# Tasks given out before the first of them is done: what waits for a slow one stays in memory.
_AHEAD_PER_WORKER = 16
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
    engine: Engine = "processes",
) -> Iterator[Result]:
    """``function(shared, task)`` for each task, results in order.

    Args:
        function: at module level, so that a new process can import it.
        shared: sent once to each process, not once for each task.
        tasks: what to do.
        title, unit: what the bar says of the tasks.
        workers: processes; 0 or 1 works in this one, None chooses by cores and tasks.
        progress: whether to show a bar on the error stream.
        engine: ``processes`` of this machine, or ``ray`` (`medblip.parallel_ray`), where
            ``workers`` is how many tasks run at once and None takes all of the cluster.

    Raises:
        PartlyDoneError: a process was killed, as systems do when memory runs out.
        UsageError: there is no such engine, or it is not installed.
    """
    as_engine(engine)  # also when a library call names it
    count = min(_cores(), math.ceil(len(tasks) / _TASKS_PER_WORKER)) if workers is None else workers
    results: Iterator[Result] = (function(shared, task) for task in tasks)
    if engine == "ray":
        from medblip.parallel_ray import in_ray

        results = in_ray(function, shared, tasks, workers, title)
    elif count > 1:
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
            running: Iterator[Future[Result]] = (pool.submit(_call, task) for task in tasks)
            yield from in_order(running, workers * _AHEAD_PER_WORKER, Future.result)
        except BrokenProcessPool as error:
            raise PartlyDoneError(
                title,
                "a worker process ended abruptly, most often because memory ran out",
                "run the same command again with fewer workers; what is finished is kept",
                code="worker-died",
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)


def as_engine(name: str) -> Engine:
    """The engine of this name.

    Raises:
        UsageError: ``unknown-choice``, or ``missing-extra`` where it is not installed.
    """
    if name not in get_args(Engine):
        fix = f"expected one of {', '.join(get_args(Engine))}"
        raise UsageError("engine", f"{name!r} is not an engine", fix, code="unknown-choice")
    if name == "ray":
        from medblip.parallel_ray import require_ray

        require_ray()
    return cast(Engine, name)


def _start(function: Callable[[Any, Any], Any], shared: Any) -> None:
    global _shared
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    _shared = (function, shared)


def _end_with_the_parent() -> None:
    # A pool's processes hold both ends of its queue: they would wait for a killed parent for ever.
    if parent := multiprocessing.parent_process():
        wait([parent.sentinel])
        os._exit(1)


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
