"""Bytes of the tensors that are alive, by kind, and what the largest moment was made of."""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LiveBytes(TorchDispatchMode):
    """Counts the storages that operations make while this mode is on, fake ones included.

    Each storage counts once, however many views it has, from the operation that makes it until
    the last tensor over it is gone.

    Args:
        granularity: bytes that allocations are rounded up to; 512 in CUDA's caching allocator.
        scratch: what an operation with these arguments allocates inside, which is otherwise not
            seen.

    Attributes:
        now: live bytes by kind.
        peak: the same at the moment of the largest total.
    """

    MADE = "activations"  # the kind of everything an operation makes

    def __init__(
        self,
        granularity: int = 1,
        scratch: Callable[[Any, Sequence[Any]], int] = lambda func, args: 0,
    ) -> None:
        super().__init__()
        self.granularity = granularity
        self.scratch = scratch
        self.now: Counter[str] = Counter()
        self.peak: Counter[str] = Counter()
        self._held: dict[int, tuple[weakref.ref[Any], str, int]] = {}

    def hold(self, kind: str, tensors: Iterable[Tensor]) -> None:
        """Count ``tensors`` as ``kind`` from now on, whatever they were counted as before."""
        for tensor in tensors:
            self._count(tensor, kind, again=True)
        self._mark()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if torch.is_inference_mode_enabled() and func is not torch.ops.prim.device.default:
            with self:  # composite operations come here whole: look inside
                out = func.decompose(*args, **kwargs)
            if out is not NotImplemented:
                return out
        inside = self.scratch(func, args)
        out = func(*args, **kwargs)
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor):
                self._count(leaf, self.MADE)
        self._mark(inside)
        return out

    def _count(self, tensor: Tensor, kind: str, again: bool = False) -> None:
        storage = tensor.untyped_storage()
        key = id(storage)
        if key in self._held:
            if again:
                ref, old, size = self._held[key]
                self.now[old] -= size
                self.now[kind] += size
                self._held[key] = (ref, kind, size)
            return
        size = -(-storage.nbytes() // self.granularity) * self.granularity
        self._held[key] = (weakref.ref(storage, self._forgetting(key)), kind, size)
        self.now[kind] += size

    def _forgetting(self, key: int) -> Callable[[Any], None]:
        def forget(_: Any) -> None:
            _, kind, size = self._held.pop(key)
            self.now[kind] -= size

        return forget

    def _mark(self, inside: int = 0) -> None:
        if self.now.total() + inside > self.peak.total():
            self.peak = self.now + Counter({self.MADE: inside})


__all__ = ["LiveBytes"]
