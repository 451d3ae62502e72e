"""How the processes of a run meet, whoever started them: torchrun, accelerate or Slurm."""

from __future__ import annotations

import atexit
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist
from accelerate import PartialState
from torch.nn.parallel import DistributedDataParallel

from medblip.model.modeling_medblip import MedBlipForConditionalGeneration
from medblip.training.agreement import process_count, wait

# While one process writes a model or validates, the others wait for it.
PATIENCE = timedelta(hours=2)
TOWERS = ("vision_model.", "language_model.")


def join(device: torch.device) -> None:
    """Wait for the other processes of the run, if its launcher named any; once is enough.

    On CUDA each process then has its own device as the current one.
    """
    if process_count() > 1 and not dist.is_initialized():
        PartialState(cpu=device.type == "cpu", timeout=PATIENCE)
        atexit.register(dist.destroy_process_group)  # else some end in a crash, their work done


@contextmanager
def in_turn() -> Iterator[None]:
    """One process of each machine at a time: for what needs much of the machine's memory."""
    own, count = (
        int(os.environ.get("LOCAL_RANK", "0")),
        int(os.environ.get("LOCAL_WORLD_SIZE", "1")),
    )
    for turn in range(count):
        if turn == own:
            yield
        wait()


def keep_frozen_apart(model: MedBlipForConditionalGeneration) -> None:
    """Tell DDP to leave the frozen towers and all buffers alone.

    Every process has read them from the same verified files, and they never change: sending them
    round at the start (weights) and in every step (buffers) is of no use, and not possible where
    they are sharded.
    """
    frozen = [
        name
        for name, parameter in model.named_parameters()
        if name.startswith(TOWERS) and not parameter.requires_grad and "lora_" not in name
    ]
    buffers = [name for name, _ in model.named_buffers()]
    DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(model, [*frozen, *buffers])
