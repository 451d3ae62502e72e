"""Time and memory of `medblip prepare` and `medblip audit` over 30,000 scans, in the parent alone.

Writes an invented BIDS data set (three visits a subject, each scan a file of its own of 20^3
voxels), so that reading scans costs little and what remains is the parent's: tables, manifest,
splits, thumbnails, audit. Each step runs in a process of its own; its peak of memory is without
that of its worker processes, which hold one scan each whatever their number.

    first       from nothing: every scan is read
    again       the study folder deleted: every cube comes from the cache
    unchanged   nothing to do
    audit       the study looked at once more

Every step must stay below 1 GB; the exit code is 1 where one does not.

    OMP_NUM_THREADS=1 python benchmarks/prepare_scale.py --write

The last line of standard output is one JSON document.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medblip import __version__
from medblip.cohorts.auditing import audit_folder
from medblip.cohorts.prepare import prepare
from medblip.storage import write_json
from medblip.volumes.preprocessing import Preprocessing

RESULTS = Path(__file__).parent / "results" / "prepare_scale.json"
SCANS = 30_000
LIMIT_MB = 1000
VISITS = 3
EDGE = 20  # voxels of 10 mm
CUBE = 16
STEPS = ("first", "again", "unchanged", "audit")
HEADER = "session_id\tacq_time\tage\tdiagnosis\tmmse\tcdr_global\tlm_immediate\tlm_delayed"


def write_data(root: Path, scans: int) -> None:
    """A BIDS data set whose labels follow nothing but the record."""
    rng = np.random.default_rng(0)
    root.mkdir(parents=True)
    description = {"Name": "SIM-S", "BIDSVersion": "1.10.0", "DatasetType": "raw"}
    (root / "dataset_description.json").write_text(json.dumps(description))
    people = ["participant_id\tsex\teducation_years\tsite"]
    for number in range(-(-scans // VISITS)):
        label = f"sub-S{number:05d}"
        site = rng.integers(1, 60)
        people.append(f"{label}\t{'FM'[number % 2]}\t{rng.integers(8, 20)}\tS{site}")
        write_subject(root / label, min(VISITS, scans - VISITS * number), rng)
    (root / "participants.tsv").write_text("\n".join(people) + "\n")


def write_subject(folder: Path, visits: int, rng: np.random.Generator) -> None:
    kind, age = int(rng.integers(0, 3)), rng.normal(73, 7)
    radii = np.array([70.0, 85.0, 75.0]) + rng.uniform(-4, 4, 3)
    table = [HEADER]
    for visit in range(visits):
        session = f"ses-{visit + 1}"
        write_head(folder / session / "anat" / f"{folder.name}_{session}_T1w.nii", radii, rng)
        table.append(
            f"{session}\t{2005 + visit}-03-{rng.integers(1, 29):02d}\t{age + visit:.1f}\t"
            f"{('CN', 'MCI', 'AD')[kind]}\t{rng.integers(24, 31) - 3 * kind}\t"
            f"{('0', '0.5', '1')[kind]}\t{14 - 3 * kind}\t{rng.integers(8, 12) - 3 * kind}"
        )
    (folder / f"{folder.name}_sessions.tsv").write_text("\n".join(table) + "\n")


def write_head(path: Path, radii: NDArray[np.float64], rng: np.random.Generator) -> None:
    points = (np.moveaxis(np.indices((EDGE,) * 3), 0, -1) - (EDGE - 1) / 2) * 10.0
    inside = ((points / radii) ** 2).sum(axis=-1) < 1
    array = np.where(inside, rng.integers(60, 250, inside.shape), 0).astype(np.uint8)
    affine = np.diag([10.0, 10.0, 10.0, 1.0])
    affine[:3, 3] = -5 * (EDGE - 1)
    path.parent.mkdir(parents=True)
    path.write_bytes(nib.Nifti1Image(array, affine).to_bytes())


def do(step: str, folder: Path, workers: int) -> dict[str, float | str]:
    """One step in this process."""
    study, cache = folder / "study", folder / "cache"
    start = time.perf_counter()
    if step == "audit":
        audit_folder(study, workers=workers, progress=False)
    else:
        done = prepare(
            [folder / "SIM-S"],
            study,
            preprocessing=Preprocessing(size=CUBE),
            cache=cache,
            workers=workers,
            progress=False,
        )
        assert done.skipped == 0, done.findings[:3]
        assert done.reused == (step == "unchanged")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    scale = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB here
    seconds = time.perf_counter() - start
    return {"step": step, "seconds": round(seconds, 1), "peak_mb": round(peak * scale / 1e6)}


def run(step: str, folder: Path, workers: int) -> dict[str, float | str]:
    if step == "again":
        shutil.rmtree(folder / "study")
    command = [sys.executable, __file__, "--step", step, "--folder", str(folder)]
    command += ["--workers", str(workers)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    row: dict[str, float | str] = json.loads(done.stdout.splitlines()[-1])
    print(f"{step:10} {row['seconds']:7} s, the parent's peak {row['peak_mb']} MB", flush=True)
    return row


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--scans", type=int, default=SCANS)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="where to keep the data set between runs")
    parser.add_argument("--step", choices=STEPS, help="do one step in this process")
    parser.add_argument("--write", action="store_true", help="keep the numbers in results")
    arguments = parser.parse_args()
    if arguments.step:
        print(json.dumps(do(arguments.step, arguments.folder, arguments.workers)))
        return 0
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        if not (folder / "SIM-S").exists():
            write_data(folder / "SIM-S", arguments.scans)
        for name in ("study", "cache"):
            shutil.rmtree(folder / name, ignore_errors=True)
        rows = [run(step, folder, arguments.workers) for step in STEPS]
    document = {
        "benchmark": "prepare_scale",
        "scans": arguments.scans,
        "workers": arguments.workers,
        "limit_mb": LIMIT_MB,
        "steps": rows,
        "threads": os.environ.get("OMP_NUM_THREADS", "not set"),
        "medblip": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "pandas": pd.__version__,
    }
    if arguments.write:
        write_json(RESULTS, document)
    print(json.dumps(document))
    return 0 if all(float(row["peak_mb"]) < LIMIT_MB for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
