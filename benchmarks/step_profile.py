"""Where a training step's time goes, and how far it is from what the machine can multiply.

Processor time of one step of ours by part (forward and backward apart), the share of matrix
products and of attention kernels among all operations, the step's arithmetic as
`medblip.training.planning.flops` counts it, and the float32 rate at two products' shapes: through
MKL, torch's default, and through oneDNN. Processor time hardly changes with what else runs.

    python benchmarks/step_profile.py demo --way exact --write

The last line of standard output is one JSON document.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from medblip.model import MedBlipForConditionalGeneration
from medblip.model.cpu_linear import linear
from medblip.storage import write_json
from medblip.training.optimizer import new_optimizer
from medblip.training.planning.flops import counting_flops
from medblip.training.planning.steps import update
from medblip.training.run_folder import environment
from step_sizes import heads, our_texts, size_of, texts_of
from step_ways import OURS, our_image, our_model

RESULTS = Path(__file__).parent / "results"
THREADS = 2
PRODUCTS = ("aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm", "mkldnn::_linear_pointwise")
SHAPES = ((2752, 384, 1536), (688, 576, 1536), (2408, 704, 3072))  # rows, in, out


class Clock:
    """Processor seconds between marks, added up by name."""

    def __init__(self) -> None:
        self.last = time.process_time()
        self.spent: dict[str, float] = {}

    def mark(self, name: str) -> None:
        """What went by since the last mark was spent on ``name``."""
        now = time.process_time()
        self.spent[name] = self.spent.get(name, 0.0) + now - self.last
        self.last = now


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("size", choices=["demo", "half"])
    parser.add_argument("--way", default="exact", choices=list(OURS))
    parser.add_argument("--write", action="store_true", help="keep the numbers in results/")
    options = parser.parse_args()
    torch.set_num_threads(THREADS)
    size, way = size_of(options.size), OURS[options.way]
    model = our_model(size, way)
    inputs = {**our_image(model, heads(size), way), **our_texts(size, texts_of(size))}
    optimizer = new_optimizer(model, size.recipe.tune)
    parts = [by_part(model, optimizer, inputs) for _ in range(4)][-1]
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        step(model, optimizer, inputs)
    # oneDNN's product has no formula in torch's counter; under autocast it is not used.
    with counting_flops(model) as counted, torch.autocast("cpu", torch.bfloat16):
        step(model, optimizer, inputs)
    flops, seconds = counted(), sum(parts.values())
    limit = {name: rate(run) for name, run in RUNS.items()}
    document = {
        "benchmark": "step_profile",
        "size": options.size,
        "way": options.way,
        "processor_seconds": seconds,
        "share_by_part": {name: spent / seconds for name, spent in parts.items()},
        "share_of_operations": shares(profiled),
        "gflop": {name: count / 1e9 for name, count in flops.by_part.items()},
        # Of both threads together: a processor second is one thread's.
        "gflop_per_second": THREADS * flops.total / 1e9 / seconds,
        "product_gflop_per_second": limit,
        "share_of_limit": THREADS * flops.total / 1e9 / seconds / max(limit["onednn"]),
        "threads": THREADS,
        **environment(torch.device("cpu"), "float32"),
    }
    if options.write:
        name = options.way.replace(",", "").replace(" ", "_")
        write_json(RESULTS / f"step_profile_{options.size}_{name}.json", document)
    print(json.dumps(document))


def step(
    model: MedBlipForConditionalGeneration,
    optimizer: torch.optim.Optimizer,
    inputs: dict[str, Tensor],
    clock: Clock | None = None,
) -> None:
    mark = clock.mark if clock else lambda name: None
    loss = model(**inputs).loss
    mark("MedQFormer, texts, losses: forward")
    loss.backward()
    mark("MedQFormer, texts, patch embedding: backward")
    update(optimizer)
    mark("optimizer")


def by_part(
    model: MedBlipForConditionalGeneration,
    optimizer: torch.optim.Optimizer,
    inputs: dict[str, Tensor],
) -> dict[str, float]:
    clock = Clock()

    def before(name: str) -> Callable[..., None]:
        def hook(module: Any, args: Any, kwargs: dict[str, Any]) -> None:
            clock.mark("MedQFormer, texts, losses: forward")
            entered = kwargs.get("inputs_embeds", args[0] if args else None)
            if isinstance(entered, Tensor) and entered.requires_grad:
                entered.register_hook(lambda gradient: clock.mark(f"{name}: backward"))

        return hook

    def after(name: str) -> Callable[..., None]:
        def hook(module: Any, args: Any, output: Any) -> None:
            clock.mark(f"{name}: forward")
            left = getattr(output, "last_hidden_state", None)
            if left is not None and left.requires_grad:
                left.register_hook(
                    lambda gradient: clock.mark("MedQFormer, texts, patch embedding: backward")
                )

        return hook

    towers = {"vision tower": model.vision_model.encoder, "language model": model.language_model}
    hooks = []
    for name, tower in towers.items():
        hooks.append(tower.register_forward_pre_hook(before(name), with_kwargs=True))
        hooks.append(tower.register_forward_hook(after(name)))
    step(model, optimizer, inputs, clock)
    for hook in hooks:
        hook.remove()
    return clock.spent


def shares(profiled: profile) -> dict[str, float]:
    """Shares of all operations' own time."""
    own = {event.key: event.self_cpu_time_total for event in profiled.key_averages()}
    total = sum(own.values())
    attention = sum(t for name, t in own.items() if "scaled_dot_product" in name)
    return {
        "matrix products": sum(own.get(name, 0.0) for name in PRODUCTS) / total,
        "attention kernels": attention / total,
    }


RUNS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mkl": lambda x, w: F.linear(x, w),
    "onednn": lambda x, w: linear(x, w, None),
}


def rate(run: Callable[[Tensor, Tensor], Tensor], repeats: int = 20) -> list[float]:
    """GFLOP a second of both threads at each shape, best of some tries."""
    rates = []
    for rows, inner, outer in SHAPES:
        x, w = torch.randn(rows, inner), torch.randn(outer, inner)
        run(x, w)
        best = float("inf")
        for _ in range(repeats):
            started = time.process_time()
            run(x, w)
            best = min(best, time.process_time() - started)
        rates.append(THREADS * 2 * rows * inner * outer / best / 1e9)
    return rates


if __name__ == "__main__":
    main()
