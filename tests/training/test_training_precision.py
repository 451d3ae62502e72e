"""Precision: what a device gets, what is refused, and which arithmetic each part has."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from medblip.errors import UsageError
from medblip.training import precision as module
from medblip.training.precision import (
    resolve_precision,
    set_matrix_precision,
    tower_precision,
)

CPU = torch.device("cpu")
CUDA = torch.device("cuda")


@pytest.fixture
def _backends() -> Iterator[None]:
    matmul, conv = torch.backends.cuda.matmul, torch.backends.cudnn.conv
    before = matmul.fp32_precision, conv.fp32_precision
    yield
    matmul.fp32_precision, conv.fp32_precision = before


@pytest.mark.parametrize("asked", ["float16", "fp16", "half"])
def test_float16_is_refused_with_the_reason_and_the_way_out(asked: str) -> None:
    with pytest.raises(UsageError, match=r"65,504.*ViT-g and T5.*use bfloat16") as caught:
        resolve_precision(asked, CPU)
    assert caught.value.code == "float16-overflows"


def test_float16_does_overflow_where_bfloat16_does_not() -> None:
    activation = torch.tensor(300.0)
    assert torch.isinf(activation.half() * activation.half())
    assert torch.isfinite(activation.bfloat16() * activation.bfloat16())


def test_a_misspelled_precision_is_not_taken_for_float32() -> None:
    with pytest.raises(UsageError, match=r"precision=bfloat: expected auto or one of"):
        resolve_precision("bfloat", CPU)


@pytest.mark.parametrize("native", [True, False])
def test_auto_is_bfloat16_where_the_device_has_it(
    native: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "native_bfloat16", lambda device: native)
    assert resolve_precision("auto", CPU) == ("bfloat16" if native else "float32")
    assert resolve_precision("bfloat16", CPU) == "bfloat16"


@pytest.mark.parametrize(
    ("device", "capability", "expected"),
    [(CPU, None, "float32"), (CUDA, (7, 5), "float32"), (CUDA, (8, 0), "tf32")],
)
def test_tf32_is_float32_where_the_device_has_none(
    device: torch.device,
    capability: tuple[int, int] | None,
    expected: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert resolve_precision("tf32", device) == expected


def test_towers_kept_in_bfloat16_compute_in_it() -> None:
    assert tower_precision("float32", "bfloat16") == {
        "vision": "bfloat16",
        "language": "bfloat16",
        "learned": "float32",
    }
    assert set(tower_precision("tf32", "float32").values()) == {"tf32"}


@pytest.mark.usefixtures("_backends")
def test_a_float32_run_gets_all_its_bits_on_cuda() -> None:
    for precision, expected in (("bfloat16", "tf32"), ("float32", "ieee"), ("tf32", "tf32")):
        set_matrix_precision(precision)  # type: ignore[arg-type]
        assert torch.backends.cuda.matmul.fp32_precision == expected
        assert torch.backends.cudnn.conv.fp32_precision == expected
