"""Tasks over a Ray cluster: the same results in the same order as over processes.

Ray tasks, not a Ray data set: the results keep their order, and no value is turned into an Arrow
column and back. Every machine needs this package and the same paths: the data and the cache lie on
a file system that all of them see.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from medblip.errors import PartlyDoneError, UsageError
from medblip.in_flight import in_order

Task = TypeVar("Task")
Result = TypeVar("Result")

RETRIES = 2  # of a task whose process or machine died; an exception of its own is not retried
_AHEAD_PER_CORE = 4  # tasks given out for each that can run


def require_ray() -> None:
    """Raise UsageError unless Ray is installed."""
    if importlib.util.find_spec("ray") is None:
        fix = "pip install 'medblip[ray]', or leave the engine out"
        raise UsageError("engine", "ray is not installed", fix, code="missing-extra")


def in_ray(
    function: Callable[[Any, Task], Result],
    shared: Any,
    tasks: Sequence[Task],
    workers: int | None,
    title: str,
) -> Iterator[Result]:
    """``function(shared, task)`` for each task on a cluster, one core each.

    The cluster is the one this process is connected to, else that of the variable ``RAY_ADDRESS``
    (``auto``: the one that runs on this machine), else a new one here that ends with the last task.

    Args:
        function, shared, tasks, title: as for `medblip.parallel.run_all`.
        workers: how many run at once; None takes every core of the cluster.

    Raises:
        UsageError: Ray is not installed.
        PartlyDoneError: a task's process died again and again, or the cluster is gone.
    """
    require_ray()
    import ray

    ours = not ray.is_initialized()
    if ours:
        _connect(workers)
    try:
        count = workers or max(1, int(ray.cluster_resources().get("CPU", 1)))
        remote = ray.remote(_call).options(num_cpus=1, max_retries=RETRIES)
        common = ray.put((function, shared))  # sent to each machine once
        started = (remote.remote(common, task) for task in tasks)
        yield from in_order(started, count * _AHEAD_PER_CORE, _result_of(title))
    finally:
        if ours:
            ray.shutdown()


def _connect(workers: int | None) -> None:
    # Read when Ray starts: nothing is reported to its makers, and a task that runs out of memory
    # is not tried for ever.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_task_oom_retries", str(RETRIES))
    import ray

    if address := os.environ.get("RAY_ADDRESS"):
        ray.init(address=address, log_to_driver=False)
    else:
        ray.init(address="local", num_cpus=workers, include_dashboard=False, log_to_driver=False)


def _call(common: tuple[Callable[[Any, Any], Any], Any], task: Any) -> Any:
    function, shared = common
    return function(shared, task)


def _result_of(title: str) -> Callable[[Any], Any]:
    """What waits for one task; its own exception is raised as it was."""
    import ray
    from ray.exceptions import RayError, RayTaskError

    def result(handle: Any) -> Any:
        try:
            return ray.get(handle)
        except RayTaskError as error:
            if isinstance(error.cause, Exception) and not isinstance(error.cause, RayError):
                raise error.cause from None
            problem = f"a machine of the cluster cannot take the task: {error.cause}"
            fix = "install the same medblip on each of them"
            raise UsageError("Ray", problem, fix, code="cluster") from error
        except RayError as error:
            raise PartlyDoneError(
                title,
                f"Ray lost a task {1 + RETRIES} times: {type(error).__name__}",
                "run the same command again with fewer workers; what is finished is kept",
                code="worker-died",
            ) from error

    return result
