"""Attention of rows packed one after another, each to itself alone.

Everything else in a vision block goes token by token, so rows of different lengths share one pass
``(1, tokens of all, width)`` without padding. :class:`PackedRows` stands where torch's attention
takes a mask; as torch's own ``CausalBias`` does, it then says itself how the attention is computed.
So the towers' code stays transformers' own, recomputed layers included.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class PackedRows:
    """The mask of rows of ``lengths`` tokens that were packed, in order."""

    lengths: tuple[int, ...]

    def contiguous(self) -> PackedRows:
        """Itself; transformers asks it of a mask."""
        return self

    @classmethod
    def __torch_function__(
        cls,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if func is not F.scaled_dot_product_attention:
            return NotImplemented
        options = dict(kwargs or {})
        rows = options.pop("attn_mask") if "attn_mask" in options else args[3]
        return attend_packed(*args[:3], **options, rows=rows)


def attend_packed(
    query: Tensor, key: Tensor, value: Tensor, *, rows: PackedRows, **options: Any
) -> Tensor:
    """Attention within each row.

    Args:
        query, key, value: ``(1, heads, tokens, width / heads)``, rows one after another.
        rows: whose lengths sum to ``tokens``.
        options: of ``scaled_dot_product_attention``: ``scale``, ``dropout_p``.

    Returns:
        ``(1, heads, tokens, width / heads)``.
    """
    attend = _attend_jagged if query.device.type == "cuda" else _attend_row_by_row
    return attend(query, key, value, rows, options)


def _attend_row_by_row(
    query: Tensor, key: Tensor, value: Tensor, rows: PackedRows, options: dict[str, Any]
) -> Tensor:
    """What a CPU does best: a row alone keeps both its cores busy."""
    parts = zip(*(x.split(rows.lengths, dim=2) for x in (query, key, value)), strict=True)
    attended = [F.scaled_dot_product_attention(q, k, v, **options) for q, k, v in parts]
    return torch.cat(attended, dim=2)


def _attend_jagged(
    query: Tensor, key: Tensor, value: Tensor, rows: PackedRows, options: dict[str, Any]
) -> Tensor:
    """All rows in one kernel, by torch's nested tensors."""
    ends = torch.tensor([0, *accumulate(rows.lengths)], device=query.device)
    shortest, longest = min(rows.lengths), max(rows.lengths)
    tokens = [x[0].transpose(0, 1).contiguous() for x in (query, key, value)]
    q, k, v = (
        torch.nested.nested_tensor_from_jagged(
            x, ends, min_seqlen=shortest, max_seqlen=longest
        ).transpose(1, 2)  # (rows, heads, jagged, width / heads)
        for x in tokens
    )
    attended = F.scaled_dot_product_attention(q, k, v, **options).transpose(1, 2).values()
    return attended.transpose(0, 1)[None]


__all__ = ["PackedRows", "attend_packed"]
