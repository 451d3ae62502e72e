"""Time and memory of an audit of 1,000 to 30,000 sessions: it must not be a reason to skip it.

Writes an invented study (three visits a subject, one image a visit) and invented thumbnails, then
loads the tables, audits them, and writes the page and the JSON, each size in a process of its own,
so that the peak of memory is that size's. Reading the cubes is not in it (about 5 ms each and core
at 112 voxels); two copies of a scan are planted across the split and must be found.

    OMP_NUM_THREADS=1 python benchmarks/audit_scale.py
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import scipy
import sklearn

from medblip.study.audit import audit, write_audit_json
from medblip.study.audit_page import write_audit
from medblip.study.info import PreprocessingInfo, StudyInfo, count
from medblip.study.schema import IMAGE_COLUMNS, SESSION_COLUMNS
from medblip.study.splits import make_splits
from medblip.study.study import Study
from medblip.study.tables import write_table
from medblip.study.thumbnails import Thumbnail

SIZES = (1_000, 10_000, 30_000)
VISITS = 3
COHORTS = ("SIM-A", "SIM-B", "SIM-C", "SIM-Z")
MODES = 40  # in how many ways invented heads differ


def session_rows(sessions: int, rng: np.random.Generator) -> pd.DataFrame:
    people = -(-sessions // VISITS)
    who = np.repeat(np.arange(people), VISITS)[:sessions]
    visit = np.tile(np.arange(VISITS), people)[:sessions]
    kind = rng.integers(0, 3, people)[who]
    cohort = np.array(COHORTS)[who % len(COHORTS)]
    day = pd.Timestamp("2004-01-01") + pd.to_timedelta(
        rng.integers(0, 5000, people)[who] + 365 * visit, unit="D"
    )
    age = rng.normal(73, 7, people).clip(40, 100)[who] + visit
    columns = {
        "cohort": cohort,
        "participant_id": [f"{c}-{w:05d}" for c, w in zip(cohort, who, strict=True)],
        "session_id": [f"ses-{v + 1}" for v in visit],
        "scan_date": day.strftime("%Y-%m-%d"),
        "days_from_baseline": (365 * visit).astype(str),
        "age": age.round(1).astype(str),
        "sex": rng.choice(["F", "M"], people)[who],
        "education_years": rng.integers(8, 20, people)[who].astype(str),
        "mmse": np.clip(rng.normal(28 - 3 * kind, 2), 0, 30).astype(int).astype(str),
        "lm_delayed": np.clip(rng.normal(12 - 3 * kind, 3), 0, 25).astype(int).astype(str),
        "cdr_global": np.array(["0", "0.5", "1"])[kind],
        "diagnosis": np.array(["NC", "MCI", "AD"])[kind],
        "label_defined_by": np.full(sessions, "cdr_global"),
        "site": [f"{c}{s}" for c, s in zip(cohort, rng.integers(1, 60, people)[who], strict=True)],
        "field_strength_t": rng.choice(["1.5", "3"], people)[who],
    }
    frame = pd.DataFrame("", index=range(sessions), columns=[c.name for c in SESSION_COLUMNS])
    return frame.assign(**columns)


def image_rows(sessions: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    path = sessions["participant_id"] + "/" + sessions["session_id"] + "/anat/T1w.nii.gz"
    digest = [hashlib.sha256(text.encode()).hexdigest() for text in path]
    frame = pd.DataFrame("", index=sessions.index, columns=[c.name for c in IMAGE_COLUMNS])
    return frame.assign(
        participant_id=sessions["participant_id"],
        session_id=sessions["session_id"],
        run="1",
        kind="raw",
        format="nifti",
        path=path,
        shape=rng.choice(["256x256x170", "192x192x160"], len(sessions)),
        voxel_mm=rng.choice(["1x1x1.2", "1x1x1"], len(sessions)),
        axcodes="RAS",
        sha256=digest,
        primary="true",
        cube=[f"{text[:32]}.safetensors" for text in digest],
    )


def invented_thumbnails(images: pd.DataFrame, rng: np.random.Generator) -> dict[str, Thumbnail]:
    """One head with a few ways to differ, and a little noise."""
    head = rng.uniform(50, 150, 12**3)
    modes = 6 * rng.standard_normal((MODES, 12**3))
    return {
        cube: Thumbnail(
            blocks=(head + rng.standard_normal(MODES) @ modes).astype(np.float16),
            histogram=rng.dirichlet(np.full(32, 50)).astype(np.float32),
            planes=rng.integers(0, 255, (3, 32, 32), dtype=np.uint8),
            head_mm=rng.normal((150, 190, 170), 8).astype(np.float32),
        )
        for cube in images["cube"]
    }


def write_study(folder: Path, sessions: pd.DataFrame, images: pd.DataFrame) -> StudyInfo:
    write_table(folder / "sessions.tsv", sessions)
    write_table(folder / "images.tsv", images)
    make_splits(sessions, zero_shot=["SIM-Z"]).write(folder / "splits.json")
    info = StudyInfo(
        schema_version=1,
        created_by="benchmark",
        simulated=True,
        fingerprint="0",
        sources=(),
        preprocessing=PreprocessingInfo(fingerprint="0", parameters={}),
        cache="",
        scans_found=len(images),
        scans_used=len(images),
        scans_skipped=0,
        counts=count(sessions, images),
    )
    info.write(folder / "study.json")
    return info


def measure(size: int) -> dict[str, float]:
    """One size, in this process."""
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sessions = session_rows(size, rng)
        images = image_rows(sessions, rng)
        write_study(folder, sessions, images)
        del sessions
        thumbnails = invented_thumbnails(images, rng)
        del images
        start = time.perf_counter()
        study = Study.load(folder)
        loaded = time.perf_counter()
        plant_copy(study, thumbnails)
        result = audit(study, thumbnails)
        audited = time.perf_counter()
        write_audit(study, result, folder / "audit.html", thumbnails)
        write_audit_json(study, result, folder / "audit.json")
        written = time.perf_counter()
    above_notes = sorted(f.code for f in result.findings if f.level != "note")
    assert above_notes == ["near-duplicate-both-sides"], above_notes
    return {
        "sessions": size,
        "load_s": round(loaded - start, 2),
        "audit_s": round(audited - loaded, 2),
        "write_s": round(written - audited, 2),
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }


def plant_copy(study: Study, thumbnails: dict[str, Thumbnail]) -> None:
    cube_of = dict(zip(study.images["participant_id"], study.images["cube"], strict=True))
    one, two = (cube_of[study.splits.subjects[split][0]] for split in ("train", "test"))
    thumbnails[two] = thumbnails[one]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sizes", type=int, nargs="*", default=SIZES)
    parser.add_argument("--only", type=int, help="measure one size in this process")
    arguments = parser.parse_args()
    if arguments.only:
        print(json.dumps(measure(arguments.only)))
        return
    print(
        f"numpy {np.__version__}, pandas {pd.__version__}, scipy {scipy.__version__}, "
        f"scikit-learn {sklearn.__version__}, Python {platform.python_version()}, "
        f"OMP_NUM_THREADS={os.environ.get('OMP_NUM_THREADS', 'not set')}"
    )
    rows = []
    for size in arguments.sizes:
        command = [sys.executable, __file__, "--only", str(size)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        rows.append(json.loads(done.stdout.splitlines()[-1]))
        row = rows[-1]
        total = row["load_s"] + row["audit_s"] + row["write_s"]
        print(
            f"{size:6} sessions: {total:5.1f} s (tables {row['load_s']}, audit {row['audit_s']}, "
            f"page and JSON {row['write_s']}), peak {row['peak_mb']} MB"
        )
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
