"""How a CUDA device runs a step, acted out on fake tensors of the CPU.

A plan must not depend on the machine it is made on, and torch without CUDA cannot differentiate
through fake CUDA tensors. So operations run as on the CPU, but where CUDA keeps other tensors
alive this mode puts CUDA's form in their place: what its autocast computes in float32, dropout
with a mask of bytes, and attention that never holds its matrix even with dropout.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map_only

# Of torch's list "CUDA Ops that can autocast to float32" what transformers are made of; CPU
# autocast leaves these in bfloat16.
FLOAT32 = frozenset(
    {
        "cosine_similarity",
        "cross_entropy",
        "exp",
        "group_norm",
        "layer_norm",
        "log",
        "log_softmax",
        "norm",
        "normalize",
        "pow",
        "reciprocal",
        "rsqrt",
        "softmax",
        "softplus",
    }
)


class CudaRules(TorchFunctionMode):
    """Functions of torch as CUDA would run them, inside CPU autocast or without any."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is F.dropout:
            return _fused_dropout(*args, **kwargs)
        if func is F.scaled_dot_product_attention:
            return _fused_attention(*args, **kwargs)
        if _name(func) in FLOAT32 and torch.is_autocast_enabled("cpu"):
            args, kwargs = tree_map_only(Tensor, _to_float32, (args, kwargs))
        return func(*args, **kwargs)


def _name(func: Any) -> str:
    return str(getattr(func, "__name__", "")).removeprefix("__").removesuffix("__")


def _to_float32(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.dtype in (torch.bfloat16, torch.float16) else tensor


def _fused_dropout(
    input: Tensor,  # noqa: A002 - the name callers may use
    p: float = 0.5,
    training: bool = True,
    inplace: bool = False,
) -> Tensor:
    if not training or p == 0:
        return input
    dropped: Tensor = torch.native_dropout(input, p, True)[0]
    return dropped


def _fused_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    **options: Any,
) -> Tensor:
    """Without dropout, which CUDA's kernels draw inside and the CPU's fused one cannot."""
    return F.scaled_dot_product_attention(
        query, key, value, attn_mask, is_causal=is_causal, **options
    )


__all__ = ["FLOAT32", "CudaRules"]
