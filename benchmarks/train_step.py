"""Seconds and peak memory of a training step: the reference's computation against ours.

Same sizes, weight shapes, scans and texts, float32, two threads; `reference_model.py` says what the
reference computes, `step_sizes.py` what both run on. No LoRA on either side, which the reference
has not. Each way has a process of its own; they take a step each in turn, so that whatever else
the machine does meets all of them, and ratios are of the same turn. Ours:

- exact: all tokens, the patch embedding learned; float32 products through oneDNN. ``exact, MKL`` is
  the same through torch's default library, which the reference uses; ``exact, lean`` computes three
  quarters of the language model's layers again in backward, to need less memory;
- skipping: background tokens left out, rows padded to the longest or packed one after another;
- token cache: the patch embedding frozen, image tokens from the cache; ``aligning`` is the stage
  that has the contrastive losses alone.

Peak memory is the process's ``VmHWM`` over all steps less what it held before the model was built
(`real_step.py` says how that becomes the tensors' memory), in runs of its own.

    python benchmarks/train_step.py demo --repeats 5
    python benchmarks/train_step.py half --repeats 3 --write

The last line of standard output is one JSON document.
"""

from __future__ import annotations

import argparse
import gc
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from medblip.storage import write_json
from medblip.training.run_folder import environment
from real_step import in_new_process, reset_peak, status_bytes
from step_sizes import heads, size_of
from step_ways import OURS, REFERENCES, build
from turns import Taken, ratios, spreads, take_turns

RESULTS = Path(__file__).parent / "results"
THREADS = 2
WAYS = [*REFERENCES, *OURS]
TARGETS = {
    "exact, lean": 1.5,
    "skipping, padded": 2.2,
    "skipping, packed": 2.2,
    "token cache": 5.0,
    "token cache, aligning": 5.0,
}
MEMORY_TARGET = 0.6
MEMORY_STEPS = 2  # the second has the optimizer's state


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("size", choices=["demo", "half"])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--ways", nargs="+", default=WAYS, choices=WAYS)
    parser.add_argument("--write", action="store_true", help="keep the numbers in results/")
    parser.add_argument("--name", help="of the results; where memory allows only some ways at once")
    parser.add_argument("--memory", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(THREADS)
    if options.memory:
        print(json.dumps(memory_of_one(options)))
        return
    document = compare(options)
    if options.write:
        write_json(RESULTS / f"train_step_{options.name or options.size}.json", document)
    print(json.dumps(document))


def memory_of_one(options: argparse.Namespace) -> dict[str, Any]:
    """In a process of its own: the peak of two steps, and the first one's loss."""
    size = size_of(options.size)
    heads(size)  # draws on libraries that the model does not need
    gc.collect()
    before = status_bytes("VmRSS")
    _, step = build(options.memory, size)
    gc.collect()
    reset_peak("cpu")
    losses = [step() for _ in range(MEMORY_STEPS)]
    return {"peak_bytes": status_bytes("VmHWM") - before, "loss": losses[0]}


def step_of(name: str, way: str) -> Callable[[], float]:
    """The step of a way, for `turns.py`."""
    _, step = build(way, size_of(name))
    return step


def compare(options: argparse.Namespace) -> dict[str, Any]:
    ways = {way: ["train_step", options.size, way] for way in options.ways}
    taken = take_turns(ways, options.repeats, THREADS)
    memory = {way: in_new_process(__file__, options.size, "--memory", way) for way in options.ways}
    return {
        "benchmark": "train_step",
        "size": options.size,
        "batch": size_of(options.size).batch,
        "background_share": background_share(options.size),
        "ways": {way: _row(way, taken, memory) for way in options.ways},
        "targets": {"faster": TARGETS, "memory": MEMORY_TARGET},
        "repeats": options.repeats,
        "threads": THREADS,
        **environment(torch.device("cpu"), "float32"),
    }


def _row(
    way: str, taken: dict[str, list[Taken]], memory: dict[str, dict[str, Any]]
) -> dict[str, Any]:
    peak, loss = memory[way]["peak_bytes"], memory[way]["loss"]
    row = {"seconds": spreads(taken[way]), "peak_bytes": peak, "first_loss": loss}
    for reference in REFERENCES:
        if reference in taken and way not in REFERENCES:
            row[f"faster than {reference}"] = ratios(taken[reference], taken[way])
            row[f"memory of {reference}"] = peak / memory[reference]["peak_bytes"]
    return row


def background_share(name: str) -> float:
    """Share of patches that are background throughout."""
    size = size_of(name)
    patch = size.recipe.model.volume_patch_size
    largest = torch.nn.functional.max_pool3d(heads(size), patch)
    return float((largest == 0).float().mean())


if __name__ == "__main__":
    main()
