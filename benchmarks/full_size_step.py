"""One training step of the paper's model at full size, on a CPU, against its plan.

Random weights at 224^3 voxels: EVA-CLIP ViT-g with its 39 layers and BioMedLM (2.6 B parameters)
with LoRA, frozen towers built and kept in bfloat16, bfloat16 autocast, all losses, AdamW. Checked:
the loss is finite, exactly the learned parameters get gradients, and the peak memory is the
planned one within 15% (`real_step.py` says how it is measured). The exit code is 1 where one of
these fails. It takes about 14 GiB and a few minutes.

    python benchmarks/full_size_step.py
    python benchmarks/full_size_step.py --recipe paper/flan-t5-lora --checkpointing
    python benchmarks/full_size_step.py --vision-layers 4 --language-layers 4    # to develop with

The last line of standard output is one JSON document.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path
from typing import Any

import torch

from medblip.recipe import Recipe, load_recipe
from medblip.storage import write_json
from medblip.training.run_folder import environment
from real_step import in_new_process, planned_peak, run_real

RESULTS = Path(__file__).parent / "results" / "full_size_step.json"
TOLERANCE = 0.15
# How each kind of tower names its depth.
DEPTHS = {
    "blip_2_vision_model": ["num_hidden_layers"],
    "gpt2": ["n_layer"],
    "biogpt": ["num_hidden_layers"],
    "t5": ["num_layers", "num_decoder_layers"],
}


def main() -> None:
    options = arguments()
    recipe = recipe_of(options)
    if options.real:
        print(json.dumps(measure(recipe, options)))
        return
    planned = planned_peak(recipe, options.batch, kind_of(options), "cpu")
    print(f"planned {planned.total / 2**30:.2f} GiB", flush=True)
    real = in_new_process(__file__, "--real", *sys.argv[1:])
    ratio = planned.total / real["peak_bytes"]
    document = {
        "benchmark": "full_size_step",
        "recipe": recipe.name,
        "vision": recipe.model.vision_architecture,
        "language": recipe.model.language_architecture,
        "batch": options.batch,
        "kind": kind_of(options),
        "ratio": ratio,
        "tolerance": TOLERANCE,
        "planned_bytes": planned.total,
        "planned": vars(planned),
        **real,
        **environment(torch.device("cpu"), "bfloat16"),
    }
    if options.write:
        write_json(RESULTS, document)
    print(json.dumps(document))
    right = real["loss_finite"] and real["gradients_as_learned"]
    sys.exit(not right or abs(ratio - 1) > TOLERANCE)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", default="paper/biomedlm-lora")
    parser.add_argument("--batch", type=int, default=2, help="contrastive losses need two")
    parser.add_argument("--checkpointing", action="store_true")
    parser.add_argument("--vision-layers", type=int)
    parser.add_argument("--language-layers", type=int)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--real", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def kind_of(options: argparse.Namespace) -> str:
    return "recomputing" if options.checkpointing else "training"


def recipe_of(options: argparse.Namespace) -> Recipe:
    """The recipe, in bfloat16 on any machine, with fewer layers where asked for."""
    recipe = load_recipe(options.recipe, ["precision=bfloat16"])
    changed = {
        f"{tower}_architecture": with_depth(getattr(recipe.model, f"{tower}_architecture"), depth)
        for tower, depth in (
            ("vision", options.vision_layers),
            ("language", options.language_layers),
        )
        if depth is not None
    }
    return recipe.model_copy(update={"model": recipe.model.model_copy(update=changed)})


def with_depth(architecture: dict[str, Any], depth: int) -> dict[str, Any]:
    return {**architecture, **dict.fromkeys(DEPTHS[architecture["model_type"]], depth)}


def measure(recipe: Recipe, options: argparse.Namespace) -> dict[str, Any]:
    step = run_real(recipe, options.batch, kind_of(options), "cpu")
    return {
        "peak_bytes": step.peak_bytes,
        "loss": step.value,
        "loss_finite": math.isfinite(step.value),
        "learned": len(step.learned),
        "gradients_as_learned": step.with_gradient == step.learned,
        "gradients_missing": sorted(step.learned - step.with_gradient),
        "gradients_of_frozen": sorted(step.with_gradient - step.learned),
        "build_seconds": round(step.build_seconds, 1),
        "step_seconds": round(step.step_seconds, 1),
    }


if __name__ == "__main__":
    main()
