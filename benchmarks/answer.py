"""Seconds for the answer about one scan: the reference's way against ours.

Three candidate answers are scored. The reference runs everything for each of them, the vision tower
included; ours runs the prompt once and all candidates on its cache: with the vision tower, all
tokens or without the background's, or with image tokens from the cache. Sizes, scans and texts are
those of `train_step.py`; float32, two threads; each way in a process of its own, in turn. ``MKL``
leaves float32 products to torch's default library, which the reference uses.

    python benchmarks/answer.py demo --repeats 9
    python benchmarks/answer.py half --repeats 5 --write

The last line of standard output is one JSON document.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from medblip.model.likelihood import score_answers
from medblip.storage import write_json
from medblip.training.run_folder import environment
from reference_model import ReferenceModel, reference_inputs
from step_sizes import Size, heads, our_prompts, padded, size_of, texts_of
from step_ways import Way, our_image, our_model
from turns import ratios, spreads, take_turns

RESULTS = Path(__file__).parent / "results"
THREADS = 2
OURS = {
    "all tokens": Way(),
    "all tokens, MKL": Way(onednn=False),
    "skipping": Way("packed"),
    "cached tokens": Way("packed", cached=True),
}
WAYS = ["reference", *OURS]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("size", choices=["demo", "half"])
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--ways", nargs="+", default=WAYS, choices=WAYS)
    parser.add_argument("--write", action="store_true", help="keep the numbers in results/")
    options = parser.parse_args()
    torch.set_num_threads(THREADS)
    ways = {way: ["answer", options.size, way] for way in options.ways}
    taken = take_turns(ways, options.repeats, THREADS)
    rows = {way: {"seconds": spreads(taken[way])} for way in options.ways}
    for way in options.ways:
        if "reference" in taken and way != "reference":
            rows[way]["faster than reference"] = ratios(taken["reference"], taken[way])
    document = {
        "benchmark": "answer",
        "size": options.size,
        "candidates": 3,
        "ways": rows,
        "repeats": options.repeats,
        "threads": THREADS,
        **environment(torch.device("cpu"), "float32"),
    }
    if options.write:
        write_json(RESULTS / f"answer_{options.size}.json", document)
    print(json.dumps(document))


def step_of(name: str, way: str) -> Callable[[], object]:
    """One scan's answer by a way, for `turns.py`."""
    size = size_of(name)
    size = replace(size, records=size.records[-1:])
    return reference_answer(size) if way == "reference" else our_answer(size, OURS[way])


def candidates_of(name_size: Size) -> list[list[int]]:
    """The three answers of the size's texts."""
    three = replace(name_size, records=name_size.records * 3)
    return texts_of(three).answers


def reference_answer(size: Size) -> Callable[[], object]:
    model = ReferenceModel(size.recipe).eval()
    pixels, prompt = heads(size), reference_inputs(texts_of(size))["prompt"]
    candidates = candidates_of(size)
    return lambda: model.score(pixels, prompt, candidates)


def our_answer(size: Size, way: Way) -> Callable[[], object]:
    model = our_model(size, way).eval()
    image = our_image(model, heads(size), way)
    ids, mask = padded(our_prompts(size, texts_of(size)))
    candidates = candidates_of(size)
    return lambda: score_answers(model, candidates, ids, mask, **image)


if __name__ == "__main__":
    main()
