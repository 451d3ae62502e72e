"""Does image + record beat either alone, and do wrong images lose the gain, over several seeds?

Trains the demo's recipe once per seed on the demo's study (``medblip demo`` or ``medblip simulate``
and ``medblip prepare`` first) and evaluates each run with its controls. Prints the mean accuracy
over seeds of every condition with a 95% interval bootstrapped over test subjects, and the paired
differences to image + record. The last line of standard output is one JSON document.

    python benchmarks/demo_seeds.py --demo demo --seeds 0 1 2
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from medblip import __version__
from medblip.evaluation.evaluate import Evaluation, evaluate
from medblip.evaluation.intervals import bootstrap_over_subjects
from medblip.recipe import load_recipe
from medblip.study.study import Study
from medblip.training.run import train


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--demo", type=Path, default=Path("demo"))
    parser.add_argument("--out", type=Path, default=Path("runs/seeds"))
    parser.add_argument("--recipe", default="embedded")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("overrides", nargs="*", help="recipe values, e.g. tune.steps=100")
    options = parser.parse_args()
    study = Study.load(options.demo / "study")
    places = {
        "cubes": options.demo / "cache" / "cubes",
        "tokens": options.demo / "cache" / "tokens",
    }
    evaluations, seconds = [], []
    for seed in options.seeds:
        recipe = load_recipe(options.recipe, [*options.overrides, f"seed={seed}"])
        start = time.monotonic()
        run = train(recipe, study, options.out / str(seed), **places)
        seconds.append(round(time.monotonic() - start, 1))
        evaluations.append(evaluate(run.folder, study, **places))
    summary = summarise(evaluations)
    for name, row in summary["conditions"].items():
        print(f"{row['title']:45} {row['accuracy']}  minus full: {row['minus_full']}  ({name})")
    document = {
        "benchmark": "demo_seeds",
        "seeds": options.seeds,
        "test_subjects": len(evaluations[0].subjects),
        "training_seconds": seconds,
        **summary,
        "medblip": __version__,
        "torch": torch.__version__,
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads",
        "commit": commit(),
    }
    print(json.dumps(document))


def summarise(evaluations: list[Evaluation]) -> dict[str, Any]:
    """Mean over seeds by condition and simple model, with intervals over subjects."""
    first = evaluations[0]
    full = mean_correct(evaluations, "full")
    conditions = {}
    for name in (*first.conditions, *first.simple):
        correct = mean_correct(evaluations, name)
        title = (first.conditions | first.simple)[name].title  # type: ignore[operator]
        conditions[name] = {
            "title": title,
            "accuracy": interval(correct, first.subjects),
            "minus_full": interval(correct - full, first.subjects),
            "each_seed": [round(float(c.mean()), 4) for c in each_correct(evaluations, name)],
        }
    return {"conditions": conditions}


def each_correct(evaluations: list[Evaluation], name: str) -> list[NDArray[np.float64]]:
    scored = [{**e.conditions, **e.simple}[name] for e in evaluations]  # type: ignore[index]
    return [
        s.correct(e.labels).astype(np.float64) for s, e in zip(scored, evaluations, strict=True)
    ]


def mean_correct(evaluations: list[Evaluation], name: str) -> NDArray[np.float64]:
    """Share of seeds that answered each test subject rightly, ``(subjects,)``."""
    mean: NDArray[np.float64] = np.mean(each_correct(evaluations, name), axis=0)
    return mean


def interval(values: NDArray[np.float64], subjects: list[str]) -> list[float]:
    """``[mean, low, high]`` of the 95% interval, in percent."""
    found = bootstrap_over_subjects(lambda v: float(np.mean(v)), subjects, values)
    return [round(100 * x, 1) for x in (found.value, found.low, found.high)]


def commit() -> str:
    command = ["git", "rev-parse", "--short", "HEAD"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    return found.stdout.strip() or "unknown"


if __name__ == "__main__":
    main()
