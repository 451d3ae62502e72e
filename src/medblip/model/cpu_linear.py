"""Float32 matrix products of a CPU through oneDNN where the default library leaves AVX-512 unused.

torch sends float32 ``linear`` to MKL, which on processors of another maker takes its AVX2 kernels
even where there is AVX-512: half the machine's rate. oneDNN, which torch carries too, asks the
processor itself. The arithmetic is float32 either way; sums run in another order, so results agree
to rounding, not to the bit. ``benchmarks/train_step.py`` measures both.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D


@cache
def mkl_leaves_avx512() -> bool:
    """Whether this is a CPU with AVX-512 that MKL does not use, and oneDNN is there."""
    cpuinfo = Path("/proc/cpuinfo")
    return (
        torch.backends.mkldnn.is_available()
        and torch.backends.cpu.get_cpu_capability() == "AVX512"
        and cpuinfo.exists()
        and "GenuineIntel" not in cpuinfo.read_text(encoding="ascii", errors="ignore")
    )


class OneDnnLinear(nn.Linear):
    """``nn.Linear`` whose float32 products on a CPU are oneDNN's."""

    def forward(self, x: Tensor) -> Tensor:
        if _applies(x, self.weight):
            return linear(x, self.weight, self.bias)
        return F.linear(x, self.weight, self.bias)


class OneDnnConv1D(Conv1D):
    """GPT-2's linear map, whose weight is ``(in, out)``, the same way."""

    def forward(self, x: Tensor) -> Tensor:
        if _applies(x, self.weight):
            return linear(x, self.weight.t(), self.bias)
        mapped: Tensor = super().forward(x)
        return mapped


_REPLACED: dict[type[nn.Module], type[nn.Module]] = {nn.Linear: OneDnnLinear, Conv1D: OneDnnConv1D}


def use_onednn(model: nn.Module, *, wanted: bool | None = None) -> int:
    """Let the model's linear maps compute through oneDNN; parameters and their names stay.

    Adapters come first: PEFT wraps a map by its class. Maps in half precision, under autocast or
    on another device run as ever.

    Args:
        wanted: None asks :func:`mkl_leaves_avx512`.

    Returns:
        How many maps were changed.
    """
    if not (mkl_leaves_avx512() if wanted is None else wanted):
        return 0
    found = [module for module in model.modules() if type(module) in _REPLACED]
    for module in found:
        module.__class__ = _REPLACED[type(module)]
    return len(found)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """``x (..., in)``, ``weight (out, in)`` -> ``(..., out)`` in float32 on a CPU, by oneDNN."""
    mapped: Tensor = _Linear.apply(x, weight, bias)
    return mapped


class _Linear(torch.autograd.Function):
    """oneDNN's product with a gradient; keeps the input only where the weight learns."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        learns = ctx.needs_input_grad[1]
        ctx.save_for_backward(x if learns else None, weight)
        return _product(x.flatten(0, -2), weight, bias).view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        rows = gradients[0].flatten(0, -2)
        of_x = of_weight = of_bias = None
        if ctx.needs_input_grad[0]:
            of_x = _product(rows, weight.t()).view(*gradients[0].shape[:-1], -1)
        if ctx.needs_input_grad[1]:
            of_weight = _product(rows.t(), x.flatten(0, -2).t())
        if ctx.needs_input_grad[2]:
            of_bias = rows.sum(0)
        return of_x, of_weight, of_bias


def _product(rows: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``rows (n, in)`` times ``weight (out, in)`` transposed."""
    product: Tensor = torch.ops.mkldnn._linear_pointwise(rows, weight, bias, "none", [], "")
    return product


def _applies(x: Tensor, weight: Tensor) -> bool:
    return (
        x.dtype == weight.dtype == torch.float32
        and x.device.type == weight.device.type == "cpu"
        and x.ndim > 1
        and x.numel() > 0
        and not torch.is_autocast_enabled("cpu")
    )


__all__ = ["linear", "mkl_leaves_avx512", "use_onednn"]
