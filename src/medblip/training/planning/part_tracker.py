"""Which part of a model an operation belongs to, in the forward and in the backward pass.

torch's own module tracker does not see tensors that are passed by name, as transformers passes
embeddings, and then counts one module's backward pass under another.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.autograd.graph import Node
from torch.utils._pytree import tree_leaves

WHOLE = "Global"  # the name under which FlopCounterMode keeps its total


class PartTracker:
    """Stands in for the module tracker of ``torch.utils.flop_counter.FlopCounterMode``.

    Args:
        parts: all modules of each part, by the name their operations are counted under. Where one
            calls another the inner one's part counts.

    Attributes:
        parents: names that the operation running now counts under.
    """

    def __init__(self, parts: Mapping[str, Iterable[nn.Module]]) -> None:
        self.parts = parts
        self._running: list[str] = []  # of the modules being called, innermost last
        self._backward: str | None = None
        self._claimed: dict[Node, str] = {}
        self._hooks = ExitStack()

    @property
    def parents(self) -> set[str]:
        part = self._running[-1] if self._running else self._backward
        return {WHOLE, part} if part else {WHOLE}

    def __enter__(self) -> None:
        for name, modules in self.parts.items():
            for module in modules:
                for hook in (
                    module.register_forward_pre_hook(partial(self._enter, name)),
                    module.register_forward_hook(partial(self._leave, name)),
                ):
                    self._hooks.callback(hook.remove)

    def __exit__(self, *_: object) -> None:
        self._hooks.close()
        self._claimed.clear()

    def _enter(self, part: str, module: nn.Module, args: Any) -> None:
        self._running.append(part)

    def _leave(self, part: str, module: nn.Module, args: Any, output: Any) -> None:
        self._running.pop()
        for node in self._new_nodes(output):
            self._claimed[node] = part
            self._hooks.callback(node.register_prehook(partial(self._differentiate, part)).remove)

    def _new_nodes(self, output: Any) -> Iterator[Node]:
        """The nodes behind a module's output that no module before it has made."""
        leaves = [leaf for leaf in tree_leaves(output) if isinstance(leaf, Tensor)]
        ahead = [leaf.grad_fn for leaf in leaves]
        while ahead:
            node = ahead.pop()
            if node is not None and node not in self._claimed:
                yield node
                ahead.extend(following for following, _ in node.next_functions)

    def _differentiate(self, part: str, gradients: Any) -> None:
        self._backward = part
        self._running.clear()  # recomputing stops inside a module, which then is never left


__all__ = ["WHOLE", "PartTracker"]
