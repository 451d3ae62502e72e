"""Both contrastive texts in one pass of the text stream, against one pass each.

The record and the question with its answer go through the same weights. One pass packs the tokens
of both, so that nothing is padded to the longer text; only attention runs by kind of text. This
times forward and backward of the text stream both ways, at the demo's size and at the paper's, and
checks that the features are the same. (Padding all texts to the longest instead took 1.3 times as
long as two passes at the demo's size, 1.6 times at the paper's.)

    python benchmarks/text_pass.py
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable

import torch
import transformers
from torch import Tensor
from transformers import LlamaConfig

from medblip.model import MedBlipConfig, MedBlipForConditionalGeneration

LENGTHS = {"demo": (40, 22), "paper": (90, 22)}  # tokens of record; of question and answer
BATCHES = {"demo": 32, "paper": 7}
Text = tuple[Tensor, Tensor]


def tiny_towers(size: str) -> MedBlipForConditionalGeneration:
    """The text stream at the asked size; towers as small as they can be, since they do not run."""
    widths = {
        "demo": {"hidden_size": 384, "num_hidden_layers": 4, "num_attention_heads": 6},
        "paper": {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12},
    }[size]
    config = MedBlipConfig(
        vision_config={
            "model_type": "dinov2",
            "hidden_size": 32,
            "num_attention_heads": 2,
            "num_hidden_layers": 1,
            "image_size": 28,
        },
        text_config=LlamaConfig(
            vocab_size=1000,
            hidden_size=576,
            intermediate_size=32,
            num_hidden_layers=1,
            num_attention_heads=4,
        ),
        qformer_config={**widths, "intermediate_size": 4 * widths["hidden_size"]},
        volume_size=16,
        volume_patch_size=8,
    )
    return MedBlipForConditionalGeneration(config)


def apart(model: MedBlipForConditionalGeneration, texts: list[Text]) -> Tensor:
    return torch.cat([model.embed_text(ids, mask) for ids, mask in texts])


def together(model: MedBlipForConditionalGeneration, texts: list[Text]) -> Tensor:
    return torch.cat(model.embed_texts(texts))


def seconds(run: Callable[[], Tensor], model: torch.nn.Module) -> float:
    model.zero_grad()
    start = time.perf_counter()
    run().square().mean().backward()
    return time.perf_counter() - start


def measure(size: str, repeats: int) -> dict[str, object]:
    torch.manual_seed(0)
    model = tiny_towers(size).eval()  # without dropout, so that both ways agree
    texts = [
        (torch.randint(0, 1000, (BATCHES[size], n)), torch.ones(BATCHES[size], n).long())
        for n in LENGTHS[size]
    ]
    with torch.no_grad():
        difference = float((apart(model, texts) - together(model, texts)).abs().max())
    assert difference < 1e-4, difference
    ratios = []
    for turn in range(repeats + 1):
        ways = [together, apart] if turn % 2 else [apart, together]
        took = {way: seconds(lambda w=way: w(model, texts), model) for way in ways}
        if turn:  # the first warms up
            ratios.append(took[together] / took[apart])
    return {
        "size": size,
        "together_over_apart": [min(ratios), statistics.median(ratios), max(ratios)],
        "largest_difference": difference,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--repeats", type=int, default=20)
    repeats = parser.parse_args().repeats
    print(
        f"torch {torch.__version__}, transformers {transformers.__version__}, "
        f"{torch.get_num_threads()} threads, CPU float32"
    )
    rows = [measure(size, repeats) for size in LENGTHS]
    for row in rows:
        low, middle, high = row["together_over_apart"]  # type: ignore[misc]
        print(
            f"{row['size']:6} one pass takes {middle:.2f} ({low:.2f} to {high:.2f}) of two, "
            f"largest difference {row['largest_difference']:.1e}"
        )
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
