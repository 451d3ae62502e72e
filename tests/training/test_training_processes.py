"""One process, two, accumulation and sharded towers: the same training, to rounding.

The trainings are those of ``benchmarks/scale_run.py``, which measures the same over more steps.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "scale_run.py"
STEPS, HALF = 6, 3
LOSS = 2e-6  # relative: sums are in another order
# Absolute, where one update moves a weight by up to 5e-4. AdamW divides a gradient by its own size:
# of one that is next to nothing (keys' biases) it magnifies the rounding.
WEIGHTS = 5e-6

ALONE = [
    {"name": "one"},
    {"name": "accumulated", "micro": 2},
    {"name": "half", "until": HALF, "micro": 4},
    {"name": "volumes", "volumes": True},
    {"name": "records", "records": 0.9, "batch": 4},
]
TOGETHER = [
    {"name": "two, from one", "resume": "half"},
    {"name": "two, half", "until": HALF},
    {"name": "two, accumulated", "micro": 2},
    {"name": "sharded, half", "until": HALF, "shard": True, "micro": 2},
    {"name": "sharded, volumes", "volumes": True, "shard": True, "micro": 2},
    {"name": "two, records", "records": 0.9, "batch": 4, "micro": 1},
]
AFTERWARDS = [
    {"name": "one, from two", "resume": "two, half"},
    {"name": "one, from sharded", "resume": "sharded, half"},
]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the results of all jobs."""
    folder = tmp_path_factory.mktemp("scale")
    script = load(SCRIPT)
    train_here(script, folder, ALONE)
    launch(folder, TOGETHER)
    train_here(script, folder, AFTERWARDS)
    return folder


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def train_here(script: ModuleType, folder: Path, jobs: list[dict[str, Any]]) -> None:
    for job in jobs:
        script.run(folder, script.Job(steps=STEPS, **job))


def launch(folder: Path, jobs: list[dict[str, Any]]) -> None:
    file = folder / "jobs.json"
    file.write_text(json.dumps([{"steps": STEPS, **job} for job in jobs]))
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [sys.executable, *command, str(SCRIPT), str(folder), str(file)],
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr[-4000:]


def rows(folder: Path, name: str) -> dict[int, dict[str, float]]:
    found = json.loads((folder / f"{name}.json").read_text())
    return {row["step"]: row for row in found["rows"]}


@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("accumulated", "one"),
        ("two, accumulated", "one"),
        ("two, from one", "one"),
        ("one, from two", "one"),
        ("one, from sharded", "one"),
        ("sharded, volumes", "volumes"),
        ("two, records", "records"),
    ],
)
def test_losses_and_weights_are_those_of_one_process(
    trained: Path, name: str, reference: str
) -> None:
    expected, found = rows(trained, reference), rows(trained, name)
    assert max(found) == STEPS
    for step, row in found.items():
        parts = row.keys() & {"itc_record", "itc_answer", "language"}
        assert parts == expected[step].keys() & {"itc_record", "itc_answer", "language"}
        for part in ("loss", *parts):
            assert row[part] == pytest.approx(expected[step][part], rel=LOSS), (step, part)
    weights = load_file(trained / f"{reference}.safetensors")
    for key, tensor in load_file(trained / f"{name}.safetensors").items():
        difference = float((tensor - weights[key]).abs().max())
        assert difference < WEIGHTS, (key, difference)


def test_a_step_without_any_pair_measures_no_contrast(trained: Path) -> None:
    found = rows(trained, "records").values()
    assert any("itc_record" not in row for row in found)
    assert all("language" in row for row in found)


def test_checkpoints_hold_the_same_files_on_any_number_of_processes(trained: Path) -> None:
    listed = []
    for name in ("half", "two, half", "sharded, half"):
        checkpoint = trained / name / f"checkpoint-{HALF}"
        files = (p for p in checkpoint.rglob("*") if p.is_file())
        listed.append({p.relative_to(checkpoint).as_posix() for p in files})
        state = torch.load(checkpoint / "optimizer.pt", weights_only=True)["state"]
        assert all(type(t) is torch.Tensor for s in state.values() for t in s.values())
    assert listed[0] == listed[1] == listed[2]
