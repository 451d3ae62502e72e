"""Which arithmetic a device is given: bfloat16 where it is native, else float32.

What is learned, its gradients and the optimizer's moments are float32 always; autocast keeps norms,
softmax and losses in float32 too. float16 is refused: activations of EVA-CLIP ViT-g and of T5's
feed-forward networks pass its largest number, 65,504, and come back as infinities.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal, cast, get_args

import torch

from medblip.errors import UsageError
from medblip.recipe import FLOAT16, FLOAT16_OVERFLOWS

Precision = Literal["float32", "tf32", "bfloat16"]
Part = Literal["vision", "language", "learned"]

_AMPERE = (8, 0)  # the first CUDA capability with TF32


def pick_device() -> torch.device:
    """CUDA, else Apple's MPS, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def native_bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 is computed by the hardware; emulated it is slower than float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        supported = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
        return bool(supported and supported())
    return False


def native_tf32(device: torch.device) -> bool:
    """Whether the device multiplies float32 matrices in TF32: ten bits of mantissa, not 23."""
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= _AMPERE


def resolve_precision(asked: str, device: torch.device) -> Precision:
    """``auto`` becomes what suits the device, ``tf32`` float32 where there is none.

    Raises:
        UsageError: ``float16`` (code ``float16-overflows``), or no precision at all.
    """
    if asked == "auto":
        return "bfloat16" if native_bfloat16(device) else "float32"
    if asked in FLOAT16:
        raise UsageError(f"precision={asked}", FLOAT16_OVERFLOWS, code="float16-overflows")
    if asked not in get_args(Precision):
        raise UsageError(
            f"precision={asked}",
            f"expected auto or one of {', '.join(get_args(Precision))}",
            "correct the recipe",
            code="bad-precision",
        )
    if asked == "tf32" and not native_tf32(device):
        return "float32"
    return cast(Precision, asked)


def tower_precision(
    precision: Precision, base_dtype: Literal["float32", "bfloat16"]
) -> dict[Part, Precision]:
    """The arithmetic of each part's matrix products.

    Args:
        precision: of the run, resolved.
        base_dtype: that the frozen towers are kept in; they compute in it at least.
    """
    tower = "bfloat16" if base_dtype == "bfloat16" else precision
    return {"vision": tower, "language": tower, "learned": precision}


def set_matrix_precision(precision: Precision) -> None:
    """Let CUDA multiply float32 matrices as the run's precision says, in this process.

    In a bfloat16 run TF32 serves what autocast leaves in float32; a float32 run gets all its bits,
    convolutions included, which torch otherwise computes in TF32.
    """
    wanted = "ieee" if precision == "float32" else "tf32"
    torch.backends.cuda.matmul.fp32_precision = wanted
    torch.backends.cudnn.conv.fp32_precision = wanted  # type: ignore[attr-defined]


def autocast(device: torch.device, precision: str) -> AbstractContextManager[Any]:
    """Autocast for ``bfloat16``, nothing else."""
    if precision == "bfloat16":
        return torch.autocast(device.type, torch.bfloat16)
    return nullcontext()
