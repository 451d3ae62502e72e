"""kill -9 at random instants of a training, then resumed: are the weights the same, bit by bit?

A small training (two stages, LoRA, dropout, a moving average, patience, micro-batches, a checkpoint
every other step) runs once undisturbed. Then it is started again and again in fresh processes of
the command line and killed: every other time at an instant drawn evenly over the time that a
training takes from its first byte on, every other time some milliseconds after a save has begun.
``medblip train --resume`` goes on, is killed again at times, and ends. Compared are every learned
tensor, the step that was kept, and the rows of validation.

    python benchmarks/kill_resume.py --instants 20 --out benchmarks/results/kill_resume.json
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import torch

from medblip import __version__
from medblip.storage import write_json
from medblip.training.checkpoints import STAGING
from medblip.training.metrics_file import MetricsFile

sys.path[:0] = [str(Path(__file__).resolve().parent.parent / "tests" / n) for n in ("", "training")]

from tiny_run import TinyRun, kept_step, make_run, medblip  # noqa: E402

from tiny_world import learned_bytes  # noqa: E402

LIMIT_S = 600.0
AGAIN = 0.4  # chance that a resumed run is killed too
SAVING = (STAGING, ".model.new", ".model.old", ".final.new", ".final.old")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--instants", type=int, default=20, help="runs to kill at least once each")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    rng = random.Random(options.seed)  # noqa: S311
    with tempfile.TemporaryDirectory() as folder:
        document = measure(make_run(Path(folder)), options.instants, rng)
    document = {
        "benchmark": "kill_resume",
        **document,
        "seed": options.seed,
        "medblip": __version__,
        "torch": torch.__version__,
        "machine": f"{platform.machine()}, 1 thread",
    }
    if options.out:
        write_json(options.out, document)
    print(json.dumps(document, indent=2))
    sys.exit(0 if document["equal"] == document["runs"] else 1)


def measure(world: TinyRun, instants: int, rng: random.Random) -> dict[str, Any]:
    """Kill and resume ``instants`` runs and compare each with one that was left alone."""
    whole = world.root / "whole"
    started = finish(world, world.command(whole), whole)
    wanted, runs = outcome(whole), []
    for number in range(2 * instants):  # some may end before their instant
        out = world.root / f"killed-{number}"
        kills = [kill_once(world, world.command(out), out, started, rng, saving=number % 2 == 1)]
        if kills[0]["ended_before"]:
            continue
        while rng.random() < AGAIN and len(kills) < 4:
            resumed = medblip("train", "--resume", str(out))
            kills.append(kill_once(world, resumed, out, started, rng, saving=rng.random() < 0.5))
        if not (out / "run.json").exists():  # killed before it had claimed the folder
            finish(world, world.command(out), out)
        else:
            finish(world, medblip("train", "--resume", str(out)), out)
        runs.append({"kills": kills, "equal": outcome(out) == wanted})
        print(f"{len(runs)}/{instants}: {runs[-1]}", file=sys.stderr, flush=True)
        if len(runs) == instants:
            break
    kills = [kill for run in runs for kill in run["kills"] if not kill.pop("ended_before")]
    return {
        "runs": len(runs),
        "equal": sum(run["equal"] for run in runs),
        "kills": len(kills),
        "kills_inside_a_save": sum(bool(kill["saving"]) for kill in kills),
        "went_on_from": dict(Counter(kill["newest"] for kill in kills)),
        "seconds_undisturbed": round(started, 1),
        "each": runs,
    }


def kill_once(
    world: TinyRun, command: list[str], out: Path, seconds: float, rng: random.Random, saving: bool
) -> dict[str, Any]:
    """Start, wait for an instant, kill -9; says what lay in the folder then."""
    process = world.start(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    begun = time.monotonic()
    if saving:
        skipped = rng.randrange(5)
        wait_for_save(process, out, skipped)
        time.sleep(rng.uniform(0, 0.04))
    else:
        while not (out / "claim.json").exists() and process.poll() is None:
            time.sleep(0.001)
        process_wait(process, rng.uniform(0, seconds))
    process.kill()
    process.wait()
    return {
        "after_s": round(time.monotonic() - begun, 2),
        "ended_before": process.returncode == 0,
        "saving": sorted({p.name for name in SAVING for p in out.rglob(name)}),
        "newest": newest(out),
    }


def wait_for_save(process: subprocess.Popen[str], out: Path, skipped: int) -> None:
    """Until the save after so many others begins."""
    places = [out / stage / STAGING for stage in ("align", "tune")]
    places += [out / ".model.new", out / "align" / ".final.new"]
    seen, before = 0, True  # what an earlier kill left does not count
    while process.poll() is None:
        now = any(place.exists() for place in places)
        if now and not before:
            seen += 1
            if seen > skipped:
                return
        before = now
        time.sleep(0.0005)


def process_wait(process: subprocess.Popen[str], seconds: float) -> None:
    try:
        process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        return


def newest(out: Path) -> str:
    """The checkpoint that the run will go on from, as far as names tell."""
    for stage in ("tune", "align"):
        steps = [int(p.name.split("-")[1]) for p in (out / stage).glob("checkpoint-*")]
        if steps:
            return f"{stage}/{max(steps)}"
    return "nothing"


def finish(world: TinyRun, command: list[str], out: Path) -> float:
    """Run to the end; seconds from the claim of the folder on."""
    process = world.start(command)
    begun = time.monotonic()
    while not (out / "claim.json").exists() and process.poll() is None:
        begun = time.monotonic()
        time.sleep(0.001)
    _, errors = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 0, errors
    return time.monotonic() - begun


def outcome(out: Path) -> dict[str, Any]:
    """What must not depend on kills."""
    rows = MetricsFile(out / "metrics.jsonl").read()
    validated = [row for row in rows if "validation_log_loss" in row]
    return {"weights": learned_bytes(out), "kept": kept_step(out), "validated": validated}


if __name__ == "__main__":
    main()
