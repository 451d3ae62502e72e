"""How the samples of an optimizer step are divided among processes and micro-batches."""

from __future__ import annotations

from dataclasses import dataclass

from medblip.errors import UsageError
from medblip.recipe import StageSection


@dataclass(frozen=True)
class Division:
    """``processes * accumulation * micro_batch`` samples make one optimizer step.

    Process ``r`` of ``W`` reads batches ``r, W + r, 2W + r ...`` of the schedule, so that a step
    covers the same samples whatever their division.

    Attributes:
        micro_batch: samples that one process takes at a time.
        accumulation: micro-batches of a step in each process.
    """

    processes: int
    micro_batch: int
    accumulation: int

    @property
    def parts(self) -> int:
        """How many pieces a step comes in."""
        return self.processes * self.accumulation


def divide(stage: StageSection, processes: int) -> Division:
    """A stage's batch, divided.

    Raises:
        UsageError: ``batch-not-divisible`` its samples cannot be shared evenly.
    """
    share, left = divmod(stage.batch_size, processes)
    micro = min(stage.micro_batch_size or share, share)
    if left or not micro or share % micro:
        raise UsageError(
            "batch_size",
            f"{stage.batch_size} samples a step cannot be divided evenly among {processes} "
            f"processes{_in_micro_batches(stage)}",
            _what_works(stage.batch_size, processes),
            code="batch-not-divisible",
        )
    return Division(processes, micro, share // micro)


def _in_micro_batches(stage: StageSection) -> str:
    return f" in micro-batches of {stage.micro_batch_size}" if stage.micro_batch_size else ""


def _what_works(batch: int, processes: int) -> str:
    if batch % processes:
        nearest = sorted(
            {max(1, batch // processes) * processes, -(-batch // processes) * processes}
        )
        sizes, counts = _listed(nearest), _listed(_divisors(batch))
        return f"set batch_size to {sizes}, or start {counts} processes"
    return f"set micro_batch_size to {_listed(_divisors(batch // processes))}"


def _divisors(number: int) -> list[int]:
    return [n for n in range(1, number + 1) if number % n == 0]


def _listed(numbers: list[int]) -> str:
    return " or ".join([", ".join(map(str, numbers[:-1])), str(numbers[-1])]).removeprefix(" or ")
