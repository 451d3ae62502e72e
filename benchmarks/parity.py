"""Does the model compute what transformers' own BLIP-2 and DINOv2 compute, at the real widths?

Compares, forward and backward, with the same random weights and inputs on both sides:

- ``qformer``: the query stream of MedQFormer with ``Blip2QFormerModel`` (12 layers, 768 wide, image
  tokens of 1408); gradients of every weight and of the image tokens.
- ``eva``: the vision path with ``Blip2VisionModel`` (1408 wide, 2 of its 39 layers);
- ``dinov2``: the vision path with ``Dinov2Model`` (DINOv2-small, whole); gradients of the tokens,
  which is all that passes through a frozen tower.

Theirs runs through its own forward pass with its plain attention (eager), entered by an embedding
layer that hands it our tokens; ours with torch's fused attention (sdpa). Absolute differences are
the largest over all values, relative ones in units of the largest expected value (of the gradients:
of all of them together). The last line of standard output is one JSON document.

    python benchmarks/parity.py --batch 2
"""

from __future__ import annotations

import argparse
import copy
import json
import platform
import time
from collections.abc import Callable

import torch
import transformers
from torch import Tensor, nn
from transformers import (
    Blip2QFormerConfig,
    Blip2QFormerModel,
    Blip2VisionConfig,
    Blip2VisionModel,
    Dinov2Config,
    Dinov2Model,
    PreTrainedModel,
)

from medblip import __version__
from medblip.model import MedQFormerConfig
from medblip.model.medqformer import MedQFormer
from medblip.model.vision import encode_tokens

QUERIES, TOKENS, IMAGE_WIDTH = 32, 344, 1408
# What rounding of 12 layers leaves; more is a difference of the models.
LIMITS = {torch.float32: 5e-5, torch.float64: 1e-12}

Differences = dict[str, dict[str, float]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=2)
    options = parser.parse_args()
    versions = {
        "medblip": __version__,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "threads": torch.get_num_threads(),
        "machine": platform.machine(),
    }
    print(", ".join(f"{name} {value}" for name, value in versions.items()))
    start = time.perf_counter()
    results, within = {}, True
    for name, compare in COMPARISONS.items():
        for dtype, limit in LIMITS.items():
            torch.manual_seed(0)
            found = compare(options.batch, dtype)
            precision = str(dtype).removeprefix("torch.")
            results[f"{name}/{precision}"] = found
            for what, difference in found.items():
                fits = difference["relative"] <= limit
                within &= fits
                print(
                    f"{name:8} {precision} {what:8} absolute {difference['absolute']:.2e} "
                    f"relative {difference['relative']:.2e} {'' if fits else '> limit'}"
                )
    document = {
        "benchmark": "parity",
        "results": results,
        "limits": {str(dtype).removeprefix("torch."): limit for dtype, limit in LIMITS.items()},
        "within_limits": within,
        "batch": options.batch,
        "seconds": round(time.perf_counter() - start, 1),
        **versions,
    }
    print(json.dumps(document))


def compare_qformer(batch: int, dtype: torch.dtype) -> Differences:
    config = Blip2QFormerConfig(encoder_hidden_size=IMAGE_WIDTH, attn_implementation="eager")
    theirs = Blip2QFormerModel(config).eval().to(dtype)
    stir(theirs)
    ours = MedQFormer(MedQFormerConfig(encoder_hidden_size=IMAGE_WIDTH)).eval().to(dtype)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    queries = torch.randn(batch, QUERIES, config.hidden_size, dtype=dtype)

    def run_theirs(image: Tensor) -> Tensor:
        output = theirs(query_embeds=queries, encoder_hidden_states=image)
        hidden: Tensor = output.last_hidden_state
        return hidden

    def run_ours(image: Tensor) -> Tensor:
        hidden: Tensor = ours(queries, None, image)
        return hidden

    image = torch.randn(batch, TOKENS, IMAGE_WIDTH, dtype=dtype)
    expected = forward_and_back(run_theirs, image, theirs)
    return differences(forward_and_back(run_ours, image, ours), expected)


def compare_tower(theirs: PreTrainedModel, batch: int, dtype: torch.dtype) -> Differences:
    theirs = theirs.eval().to(dtype).requires_grad_(False)
    stir(theirs)
    ours = copy.deepcopy(theirs)
    ours.set_attn_implementation("sdpa")
    theirs.embeddings = HandedOver()

    def run_theirs(tokens: Tensor) -> Tensor:
        theirs.embeddings.tokens = tokens
        hidden: Tensor = theirs(pixel_values=torch.zeros(batch, 3, 14, 14)).last_hidden_state
        return hidden

    def run_ours(tokens: Tensor) -> Tensor:
        return encode_tokens(ours, tokens, None)[0]

    tokens = torch.randn(batch, TOKENS, theirs.config.hidden_size, dtype=dtype)
    expected = forward_and_back(run_theirs, tokens, theirs)
    return differences(forward_and_back(run_ours, tokens, ours), expected)


class HandedOver(nn.Module):
    """An embedding layer that gives the tokens it was handed, whatever the pixels."""

    tokens: Tensor

    def forward(self, *pixels: object, **options: object) -> Tensor:
        return self.tokens


def compare_eva(batch: int, dtype: torch.dtype) -> Differences:
    config = Blip2VisionConfig(num_hidden_layers=2, attn_implementation="eager")
    return compare_tower(Blip2VisionModel(config), batch, dtype)


def compare_dinov2(batch: int, dtype: torch.dtype) -> Differences:
    config = Dinov2Config(
        hidden_size=384, num_attention_heads=6, image_size=518, attn_implementation="eager"
    )
    return compare_tower(Dinov2Model(config), batch, dtype)


@torch.no_grad()
def stir(model: nn.Module) -> None:
    """Biases start at 0 and ViT-g's weights at 1e-10; everything is to be seen in the output."""
    for name, parameter in model.named_parameters():
        parameter.normal_(std=0.02)
        scale = name.endswith("lambda1") or ("norm" in name.lower() and name.endswith("weight"))
        if scale:
            parameter.add_(1.0)


def forward_and_back(
    run: Callable[[Tensor], Tensor], inputs: Tensor, model: nn.Module
) -> dict[str, Tensor]:
    """The output, and the gradients of the inputs and of every weight that has one."""
    inputs = inputs.clone().requires_grad_()
    output = run(inputs)
    # Some direction: a plain sum after a layer norm has no gradient.
    direction = torch.linspace(-1, 1, output.numel(), dtype=output.dtype).view_as(output)
    (output * direction).sum().backward()
    found = {"forward": output.detach(), "gradient inputs": inputs.grad}
    found |= {f"gradient {n}": p.grad for n, p in model.named_parameters() if p.grad is not None}
    return {name: tensor for name, tensor in found.items() if tensor is not None}


def differences(found: dict[str, Tensor], expected: dict[str, Tensor]) -> Differences:
    """Largest differences of the output and of all gradients together."""
    if found.keys() != expected.keys():
        raise SystemExit(f"gradients of other weights: {sorted(found.keys() ^ expected.keys())}")
    groups = {
        "forward": ["forward"],
        "gradient": [name for name in expected if name != "forward"],
    }
    return {group: largest(names, found, expected) for group, names in groups.items()}


def largest(
    names: list[str], found: dict[str, Tensor], expected: dict[str, Tensor]
) -> dict[str, float]:
    absolute = max(float((found[name] - expected[name]).abs().max()) for name in names)
    scale = max(float(expected[name].abs().max()) for name in names)
    return {"absolute": absolute, "relative": absolute / scale, "tensors": len(names)}


COMPARISONS = {"qformer": compare_qformer, "eva": compare_eva, "dinov2": compare_dinov2}

if __name__ == "__main__":
    main()
