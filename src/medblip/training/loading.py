"""How a stage's loader runs beside the steps."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import torch

MOST_WORKERS = 4
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - asked for its size alone
LEAST_SHARED_BYTES = 1 << 30


def loader_arguments(device: torch.device, workers: int | None = None) -> dict[str, Any]:
    """Arguments of ``TrainingArguments`` on loading; none of them changes a result.

    Args:
        workers: processes that prepare batches; None chooses. On a CPU there are none: a step takes
            a hundred times as long as preparing its batch (benchmarks/loader.py), and workers would
            take cores from it. A GPU computes while they prepare what comes next, and takes it from
            pinned memory without waiting.
    """
    cuda = device.type == "cuda"
    if workers is None:
        workers = min(MOST_WORKERS, os.cpu_count() or 1) if cuda and _can_hand_over() else 0
    return {
        "dataloader_num_workers": workers,
        "dataloader_persistent_workers": workers > 0,
        "dataloader_prefetch_factor": 2 if workers else None,
        "dataloader_pin_memory": cuda,
        "accelerator_config": {"non_blocking": cuda},
    }


def _can_hand_over() -> bool:
    """Whether there is shared memory for batches; a container may have 64 MB, and then crashes."""
    if not SHARED_MEMORY.exists():
        return True  # another system, with other means
    return shutil.disk_usage(SHARED_MEMORY).total >= LEAST_SHARED_BYTES
