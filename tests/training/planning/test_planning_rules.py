"""What is said of devices that are not here: CUDA's autocast, dropout and attention."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from medblip.training.planning.cpu_scratch import scratch_bytes
from medblip.training.planning.cuda_rules import FLOAT32, CudaRules

# Functions of Python that are operations under another name.
OPERATIONS = {"cross_entropy": "log_softmax.int", "normalize": "norm.ScalarOpt_dim"}


@pytest.mark.parametrize("name", sorted(FLOAT32))
def test_cuda_alone_has_an_autocast_rule_for_it(name: str) -> None:
    operation = f"aten::{OPERATIONS.get(name, name)}"
    if not torch._C._dispatch_has_kernel(operation):
        overloads = torch._C._jit_get_schemas_for_operator(operation)
        operation = f"{operation}.{overloads[0].overload_name}"
    has = torch._C._dispatch_has_kernel_for_dispatch_key
    assert has(operation, "AutocastCUDA")
    assert not has(operation, "AutocastCPU")


FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "layer_norm": lambda x: F.layer_norm(x, x.shape[-1:]),
    "softmax": lambda x: F.softmax(x, -1),
    "pow": lambda x: torch.pow(x, 3.0),
    "power operator": lambda x: x**3,
    "method": lambda x: x.rsqrt(),
    "normalize": lambda x: F.normalize(x, dim=-1),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_what_cuda_computes_in_float32_is_so_under_the_rules(name: str) -> None:
    x = torch.rand(4, 8).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        assert FUNCTIONS[name](x).dtype == torch.bfloat16
        with CudaRules():
            assert FUNCTIONS[name](x).dtype == torch.float32
            assert F.linear(x, x).dtype == torch.bfloat16
    with CudaRules():
        assert FUNCTIONS[name](x).dtype == torch.bfloat16


def test_dropout_keeps_a_mask_of_bytes() -> None:
    x = torch.ones(1000, requires_grad=True)
    kept: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tensor)
        return tensor

    with CudaRules(), torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        dropped = F.dropout(x, 0.25)
        assert F.dropout(x, 0.25, training=False) is x
    assert [t.dtype for t in kept] == [torch.bool]
    assert dropped.detach().unique().tolist() == pytest.approx([0.0, 1 / 0.75])


def test_attention_never_holds_its_matrix_even_with_dropout() -> None:
    q = torch.randn(1, 2, 64, 8, requires_grad=True)
    sizes: list[int] = []

    def keep(tensor: Tensor) -> Tensor:
        sizes.append(tensor.numel())
        return tensor

    with CudaRules(), torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        F.scaled_dot_product_attention(q, q, q, dropout_p=0.1)
    assert max(sizes) == q.numel() < 2 * 64 * 64


def test_the_cpu_writes_an_expanded_matrix_out() -> None:
    bmm = torch.ops.aten.bmm.default
    states = torch.zeros(4, 3, 8, dtype=torch.bfloat16)
    table = torch.zeros(8, 100, dtype=torch.bfloat16)
    assert scratch_bytes(bmm, (states, table.expand(4, 8, 100))) == 4 * 8 * 100 * 2
    assert scratch_bytes(bmm, (states, table.repeat(4, 1, 1))) == 0
    assert scratch_bytes(bmm, (states.float(), table.float().expand(4, 8, 100))) == 0
    assert scratch_bytes(torch.ops.aten.mm.default, (table, table)) == 0
