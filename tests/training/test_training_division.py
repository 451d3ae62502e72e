"""How a step's samples are divided, and what is said where they cannot be."""

from __future__ import annotations

import pytest
from accelerate.data_loader import BatchSamplerShard
from torch.utils.data import BatchSampler, SequentialSampler

from medblip.errors import UsageError
from medblip.recipe import StageSection
from medblip.training.division import Division, divide


def stage(batch: int, micro: int | None = None) -> StageSection:
    return StageSection(steps=6, batch_size=batch, micro_batch_size=micro)


@pytest.mark.parametrize(
    ("batch", "micro", "processes", "expected"),
    [
        (8, None, 1, Division(1, 8, 1)),
        (8, 2, 1, Division(1, 2, 4)),
        (8, None, 4, Division(4, 2, 1)),
        (8, 2, 2, Division(2, 2, 2)),
        (8, 64, 2, Division(2, 4, 1)),  # a share is never more than there is
    ],
)
def test_processes_micro_batches_and_accumulation_multiply_to_the_batch(
    batch: int, micro: int | None, processes: int, expected: Division
) -> None:
    found = divide(stage(batch, micro), processes)
    assert found == expected
    assert found.processes * found.micro_batch * found.accumulation == batch


@pytest.mark.parametrize(
    ("batch", "micro", "processes", "works"),
    [
        (7, None, 2, "set batch_size to 6 or 8, or start 1 or 7 processes"),
        (4, None, 8, "set batch_size to 8, or start 1, 2 or 4 processes"),
        (24, 5, 2, "set micro_batch_size to 1, 2, 3, 4, 6 or 12"),
    ],
)
def test_an_uneven_division_is_refused_with_the_numbers_that_work(
    batch: int, micro: int | None, processes: int, works: str
) -> None:
    with pytest.raises(UsageError, match=works) as error:
        divide(stage(batch, micro), processes)
    assert error.value.code == "batch-not-divisible"


@pytest.mark.parametrize(("processes", "micro"), [(1, 2), (2, None), (2, 2), (4, 1)])
def test_a_step_covers_the_same_samples_however_it_is_divided(
    processes: int, micro: int | None
) -> None:
    section = stage(8, micro)
    division = divide(section, processes)
    rows = SequentialSampler(range(section.steps * section.batch_size))
    dealt = [
        list(BatchSamplerShard(BatchSampler(rows, division.micro_batch, False), processes, rank))
        for rank in range(processes)
    ]
    for step in range(section.steps):
        taken = slice(step * division.accumulation, (step + 1) * division.accumulation)
        seen = sorted(row for batches in dealt for batch in batches[taken] for row in batch)
        assert seen == list(range(step * 8, (step + 1) * 8))
