"""The same training in one process, in two, accumulated, sharded: how equal, and how fast.

Fifty steps of a tiny model in float32 (`scale_run.py`) with the same global batch, samples without
image among them. From the training in one process and one piece: the largest difference of any
step's loss, relative, and of any learned weight, absolute. Then trainings that change hands
half-way through a checkpoint. For comparison (``apart``), accumulation that averages each piece's
own losses.

Time: a wider model, one thread a process, in turn with the same in one process; ratios are of the
same turn. Two processes on the two cores of one machine share its memory bandwidth.

    python benchmarks/scale.py --write

The last line of standard output is one JSON document.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from medblip.storage import write_json
from medblip.training.run_folder import environment

HERE = Path(__file__).parent
RESULTS = HERE / "results"
STEPS, HALF = 50, 25
LAUNCHER = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
PARTS = ("itc_record", "itc_answer", "language")

ALONE: list[dict[str, Any]] = [
    {"name": "1 process"},
    {"name": "1 process, 2 micro-batches", "micro": 4},
    {"name": "1 process, 8 micro-batches", "micro": 1},
    {"name": "half, 1 process", "until": HALF},
    {"name": "1 process, volumes", "volumes": True},
    {"name": "apart: 1 process, 2 micro-batches", "micro": 4, "apart": True},
    {"name": "apart: 1 process, 8 micro-batches", "micro": 1, "apart": True},
]
TOGETHER: list[dict[str, Any]] = [
    {"name": "2 processes"},
    {"name": "2 processes, 2 micro-batches each", "micro": 2},
    {"name": "2 processes, sharded towers", "shard": True},
    {"name": "2 processes, sharded towers, 4 micro-batches each", "shard": True, "micro": 1},
    {"name": "1 process, then 2", "resume": "half, 1 process"},
    {"name": "half, 2 processes", "until": HALF},
    {"name": "half, sharded", "until": HALF, "shard": True},
    {"name": "2 processes, sharded towers, volumes", "volumes": True, "shard": True},
]
AFTERWARDS: list[dict[str, Any]] = [
    {"name": "2 processes, then 1", "resume": "half, 2 processes"},
    {"name": "sharded, then 1 process", "resume": "half, sharded"},
]
WIDE: dict[str, Any] = {"steps": 12, "batch": 32, "width": 256, "layers": 6}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--write", action="store_true", help="keep the numbers in results/")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run(folder, ALONE, [])
        run(folder, TOGETHER, LAUNCHER)
        run(folder, AFTERWARDS, [])
        found = {
            "environment": environment(torch.device("cpu"), "float32"),
            "steps": STEPS,
            "compared_with_one_process": compare_all(folder),
            "seconds": timed(folder, options.repeats),
        }
    if options.write:
        write_json(RESULTS / "scale.json", found)
    print(json.dumps(found))


def run(folder: Path, jobs: list[dict[str, Any]], launcher: list[str]) -> None:
    file = folder / "jobs.json"
    file.write_text(json.dumps([{"steps": STEPS, **job} for job in jobs]))
    command = [sys.executable, *launcher, str(HERE / "scale_run.py"), str(folder), str(file)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run(command, check=True, env=environment, stderr=subprocess.DEVNULL)


def compare_all(folder: Path) -> dict[str, dict[str, float]]:
    compared = {}
    for job in (*ALONE, *TOGETHER, *AFTERWARDS):
        reference = "1 process, volumes" if job.get("volumes") else "1 process"
        if job["name"] != reference and "until" not in job:
            compared[job["name"]] = compare(folder, job["name"], reference)
    return compared


def compare(folder: Path, name: str, reference: str) -> dict[str, float]:
    """Largest differences over all steps that both have, and over all weights."""
    expected, found = (_rows(folder, n) for n in (reference, name))
    assert max(found) == STEPS
    compared = {"steps": len(found)}
    parts = () if name.startswith("apart") else PARTS  # pieces' own losses are not those of a batch
    for part in ("loss", *parts):
        both = [
            (found[s][part], expected[s][part])
            for s in found
            if part in found[s] and part in expected[s]
        ]
        compared[part] = max(abs(a - b) / max(abs(b), 1e-6) for a, b in both)
    weights = load_file(folder / f"{reference}.safetensors")
    learned = load_file(folder / f"{name}.safetensors")
    compared["weights_absolute"] = max(
        float((learned[k] - weights[k]).abs().max()) for k in weights
    )
    return compared


def _rows(folder: Path, name: str) -> dict[int, dict[str, float]]:
    found = json.loads((folder / f"{name}.json").read_text())
    return {row["step"]: row for row in found["rows"]}


def timed(folder: Path, repeats: int) -> dict[str, Any]:
    """One process against two, one thread each, and against two that shard the towers."""
    ways = {
        "1 process": ({"name": "t1"}, []),
        "2 processes": ({"name": "t2"}, LAUNCHER),
        "2 processes, sharded towers": ({"name": "ts", "shard": True}, LAUNCHER),
        "1 process, 4 micro-batches": ({"name": "t4", "micro": 8}, []),
    }
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(repeats):
        for way, (job, launcher) in ways.items():
            run(folder, [{**WIDE, **job}], launcher)
            found = json.loads((folder / f"{job['name']}.json").read_text())
            seconds[way].append(found["seconds"])
    one = seconds["1 process"]
    return {
        "model": WIDE,
        **{
            way: {
                "seconds": [round(value, 3) for value in taken],
                "of_one_process": _spread([t / o for t, o in zip(taken, one, strict=True)]),
            }
            for way, taken in seconds.items()
        },
    }


def _spread(values: list[float]) -> dict[str, float]:
    middle = statistics.median(values)
    return {"min": min(values), "median": middle, "max": max(values)}


if __name__ == "__main__":
    main()
