"""Which arithmetic a device is given: bfloat16 where it is native, else float32."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import torch

Precision = Literal["float32", "bfloat16"]


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


def resolve_precision(asked: str, device: torch.device) -> Precision:
    """``auto`` becomes what suits the device; anything else is taken as asked.

    float16 is no choice: EVA-CLIP ViT-g and T5 overflow in it.
    """
    if asked == "auto":
        return "bfloat16" if native_bfloat16(device) else "float32"
    return "bfloat16" if asked == "bfloat16" else "float32"


def autocast(device: torch.device, precision: str) -> AbstractContextManager[Any]:
    """Autocast for ``bfloat16``, nothing for ``float32``."""
    if precision == "bfloat16":
        return torch.autocast(device.type, torch.bfloat16)
    return nullcontext()
