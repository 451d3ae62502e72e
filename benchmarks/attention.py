"""Why the embedded recipe says ``attention: eager``: one training pass of the language model.

Times forward and backward of the embedded language model with LoRA on prompts of the demo's
length, with torch's fused attention (sdpa) and with transformers' plain one (eager), in turn. The
last line of standard output is one JSON document; ``ratio`` is sdpa time over eager time.

    python benchmarks/attention.py --repeats 5
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time

import torch

from medblip import __version__
from medblip.model.bases import load_language, resolve_base
from medblip.model.lora import add_lora
from medblip.training.precision import autocast, pick_device, resolve_precision

KINDS = ("sdpa", "eager")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--length", type=int, default=57)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    device = pick_device()
    precision = resolve_precision("auto", device)
    folder = resolve_base("embedded:language")
    models = {}
    for kind in KINDS:
        models[kind] = load_language(folder, attn_implementation=kind).to(device)
        models[kind].requires_grad_(False)
        add_lora(models[kind], {"r": 8, "lora_alpha": 16})
    seconds: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for repeat in range(options.repeats + 1):
        for kind in KINDS:
            spent = one_pass(models[kind], options.batch, options.length, device, precision)
            if repeat:  # the first is a warm-up
                seconds[kind].append(spent)
    ratios = [a / b for a, b in zip(seconds["sdpa"], seconds["eager"], strict=True)]
    document = {
        "benchmark": "attention",
        "ratio": {"min": min(ratios), "median": statistics.median(ratios), "max": max(ratios)},
        "median_seconds": {kind: statistics.median(s) for kind, s in seconds.items()},
        "batch": options.batch,
        "length": options.length,
        "precision": precision,
        "device": device.type,
        "threads": torch.get_num_threads(),
        "machine": platform.machine(),
        "torch": torch.__version__,
        "medblip": __version__,
    }
    print(json.dumps(document))


def one_pass(
    model: torch.nn.Module, batch: int, length: int, device: torch.device, precision: str
) -> float:
    ids = torch.randint(0, 40_000, (batch, length), device=device)
    start = time.perf_counter()
    with autocast(device, precision):
        embeddings = model.get_input_embeddings()(ids).detach().requires_grad_()
        mask = torch.ones_like(ids)
        out = model(inputs_embeds=embeddings, attention_mask=mask, logits_to_keep=5)
        out.logits.float().log_softmax(-1).mean().backward()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
