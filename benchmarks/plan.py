"""Whether `medblip plan` tells the truth: planned against real peak memory at three small sizes.

Each size trains one step as it is, one with recomputed activations, and answers: the real model
with random weights, its frozen towers in bfloat16, in a new process each time (`real_step.py` says
how its memory is measured). The ratio planned over real must be within 15% of one; the exit code
is 1 where it is not. The sizes stress different parts: a wide vision tower before a small language
model, a small one before a large one, and an encoder-decoder.

    python benchmarks/plan.py                      # this machine's processor
    python benchmarks/plan.py --device cuda        # against CUDA's allocator, without its context
    python benchmarks/plan.py --write              # keep the numbers in benchmarks/results

The last line of standard output is one JSON document.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import torch

from medblip.recipe import Recipe
from medblip.storage import write_json
from medblip.training.run_folder import environment
from real_step import KINDS, in_new_process, planned_peak, run_real

RESULTS = Path(__file__).parent / "results" / "plan.json"
TOLERANCE = 0.15

WIDE_VISION = {
    "model_type": "blip_2_vision_model",
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 16,
    "num_attention_heads": 16,
}
SMALL_VISION = {
    "model_type": "dinov2",
    "hidden_size": 384,
    "num_hidden_layers": 6,
    "num_attention_heads": 6,
}
SMALL_LANGUAGE = {
    "model_type": "gpt2",
    "n_embd": 512,
    "n_layer": 4,
    "n_head": 8,
    "vocab_size": 8000,
}
LARGE_LANGUAGE = {
    "model_type": "gpt2",
    "n_embd": 1280,
    "n_layer": 24,
    "n_head": 20,
    "vocab_size": 28896,
}
ENCODER_DECODER = {
    "model_type": "t5",
    "d_model": 1024,
    "d_kv": 64,
    "d_ff": 2816,
    "num_layers": 12,
    "num_decoder_layers": 12,
    "num_heads": 16,
    "feed_forward_proj": "gated-gelu",
    "vocab_size": 32128,
    "decoder_start_token_id": 0,
}
SIZES = {
    "wide vision": (WIDE_VISION, SMALL_LANGUAGE),
    "large language": (SMALL_VISION, LARGE_LANGUAGE),
    "encoder-decoder": (SMALL_VISION, ENCODER_DECODER),
}
BATCH = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--real", nargs=2, help=argparse.SUPPRESS)  # one step, in a new process
    options = parser.parse_args()
    if options.real:
        size, kind = options.real
        measured = run_real(recipe_of(size), BATCH, kind, options.device)
        print(json.dumps({"peak_bytes": measured.peak_bytes, "value": measured.value}))
        return
    rows = []
    for size in SIZES:
        for kind in KINDS:
            rows.append(compare(size, kind, options.device))
            print("{size:16} {kind:12} planned / real {ratio:.3f}".format(**rows[-1]), flush=True)
    document = {
        "benchmark": "plan",
        "ratio": {"min": min(r["ratio"] for r in rows), "max": max(r["ratio"] for r in rows)},
        "tolerance": TOLERANCE,
        "rows": rows,
        **environment(torch.device(options.device), "bfloat16"),
    }
    if options.write:
        write_json(RESULTS, document)
    print(json.dumps(document))
    sys.exit(any(abs(row["ratio"] - 1) > TOLERANCE for row in rows))


def recipe_of(size: str) -> Recipe:
    vision, language = SIZES[size]
    stage = {"batch_size": BATCH, "token_dropout": 0, "token_noise": 0}
    model = {
        "vision_architecture": vision,
        "language_architecture": language,
        "base_dtype": "bfloat16",
        "train_patch_embedding": True,
        "skip_background": False,
        "qformer": {
            "hidden_size": 512,
            "num_hidden_layers": 6,
            "num_attention_heads": 8,
            "intermediate_size": 2048,
        },
    }
    stages = {"align": {**stage, "steps": 0}, "tune": {**stage, "steps": 1}}
    return Recipe.model_validate({"name": size, "precision": "bfloat16", "model": model, **stages})


def compare(size: str, kind: str, device: str) -> dict[str, Any]:
    planned = planned_peak(recipe_of(size), BATCH, kind, device)
    real = in_new_process(__file__, "--device", device, "--real", size, kind)
    return {
        "size": size,
        "kind": kind,
        "batch": BATCH,
        "ratio": planned.total / real["peak_bytes"],
        "planned_bytes": planned.total,
        "real_bytes": real["peak_bytes"],
        "planned": vars(planned),
        "value": real["value"],
    }


if __name__ == "__main__":
    main()
