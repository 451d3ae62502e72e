"""What several processes of one run must decide alike; alone, a process decides for itself."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

import torch
import torch.distributed as dist

from medblip.errors import MedBlipError


def is_first_process() -> bool:
    """Whether this is the process that writes what is written once; also before they have met."""
    if _several():
        return dist.get_rank() == 0
    return int(os.environ.get("RANK", "0")) == 0


def process_count() -> int:
    """Processes of this run, as their launcher says."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def place() -> tuple[int, int]:
    """This process's number, and how many work together."""
    return (dist.get_rank(), dist.get_world_size()) if _several() else (0, 1)


def wait() -> None:
    """All processes wait here for each other."""
    largest(0)


def largest(value: int) -> int:
    """The largest value of any process; all of them wait here for each other."""
    if not _several():
        return value
    shared = torch.tensor(value, device=_device())
    dist.all_reduce(shared, dist.ReduceOp.MAX)
    return int(shared.item())


def total(values: Sequence[float]) -> list[float]:
    """Each value summed over the processes; all of them wait here for each other."""
    if not _several():
        return list(values)
    shared = torch.tensor(values, dtype=torch.float64, device=_device())
    dist.all_reduce(shared)
    summed: list[float] = shared.tolist()
    return summed


def by_first_process(action: Callable[[], object]) -> None:
    """Do what is done once for all; the others wait for it, and fail if it fails.

    Raises:
        MedBlipError: the action did.
        SystemExit: in the other processes, with the same exit code; the first one says why.
    """
    failure: MedBlipError | None = None
    if is_first_process():
        try:
            action()
        except MedBlipError as error:
            failure = error
    if code := largest(0 if failure is None else failure.exit_code):
        raise failure or SystemExit(code)


def any_process(happened: bool) -> bool:
    """Whether it happened in any process; all of them wait here for each other."""
    return largest(int(happened)) > 0


def _several() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def _device() -> torch.device:
    on_cuda = "nccl" in str(dist.get_backend())
    return torch.device("cuda", torch.cuda.current_device()) if on_cuda else torch.device("cpu")
