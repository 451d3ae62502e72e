"""Memory that ran out: how that looks, and what to change."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch

from medblip.errors import MedBlipError
from medblip.recipe import StageSection

# What torch says on a CPU and on Apple's MPS, where it is a plain RuntimeError.
_PHRASES = ("not enough memory", "can't allocate memory", "cannot allocate memory", "out of memory")
LENGTHS = {
    "input_ids": "text of {1} tokens",
    "record_ids": "records of {1} tokens",
    "image_tokens": "images of {1} tokens",
    "pixel_values": "volumes of {2} x {3} x {4} voxels",
}


class OutOfMemoryError(MedBlipError):
    """A step takes more memory than there is (exit code 1)."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory ran out, of any device."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(phrase in text for phrase in _PHRASES)


@contextmanager
def loading(where: str) -> Iterator[None]:
    """Say in one line that a model does not fit.

    Raises:
        OutOfMemoryError: it does not.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise OutOfMemoryError(
            where,
            "out of memory while the model was loaded",
            "set model.base_dtype=bfloat16 or choose smaller towers; `medblip plan` says what fits",
            code="out-of-memory",
        ) from error


def memory_advice(
    stage: str, section: StageSection, shapes: Mapping[str, tuple[int, ...]]
) -> tuple[str, str]:
    """What was tried, and what to change, as a message's problem and fix.

    Args:
        shapes: of the last batch's tensors, by the model's names for them.
    """
    samples = section.micro_batch_size or section.batch_size
    told = [text.format(*shapes[name]) for name, text in LENGTHS.items() if name in shapes]
    lengths = f" ({', '.join(told)})" if told else ""
    problem = f"out of memory with {samples} of {section.batch_size} samples at a time{lengths}"
    smaller = f"{stage}.micro_batch_size={samples // 2}, or " if samples > 1 else ""
    fix = (
        f"set {smaller}model.gradient_checkpointing=true; `medblip plan` says what fits. "
        "This run goes on with the change and --accept-changes recipe"
    )
    return problem, fix


def shapes_of(batch: Mapping[str, object]) -> dict[str, tuple[int, ...]]:
    """Shapes of a batch's tensors, by name."""
    return {k: tuple(v.shape) for k, v in batch.items() if isinstance(v, torch.Tensor)}
