"""Invented scans with their truth, in memory and as a simulated folder without images."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from medblip.study.splits import Splits
from medblip.vqa.ground_truth import Scan

LEVELS = {"CN": 0.0, "MCI": 1.5, "AD": 4.5}


def make_scans(subjects: int = 600, cohort: str = "SIM-A", seed: int = 0) -> list[Scan]:
    """One scan a subject; displacements follow diagnosis and age, the skull follows nothing."""
    rng = np.random.default_rng((seed, *cohort.encode()))
    scans = []
    for number in range(subjects):
        diagnosis = list(LEVELS)[number % 3]
        age = float(np.clip(rng.normal(73, 8), 55, 92))
        loss = LEVELS[diagnosis] + rng.normal(0, 0.8) + 0.13 * (age - 73)
        mean = {"ventricles": loss * 0.9, "medial_temporal": loss, "cortex": loss * 0.15}
        scans.append(
            Scan(
                f"{cohort}-X{number:04d}",
                "ses-01",
                round(age, 1),
                diagnosis,
                {region: round(mm, 3) for region, mm in mean.items()},
                skull=bool(rng.random() < 1 / 3),
            )
        )
    return scans


def split_scans(scans: Sequence[Scan]) -> Splits:
    """Three in six subjects train, one validates, two test; those of SIM-Z are never seen."""
    parts: dict[str, list[str]] = {"train": [], "validation": [], "test": [], "zero_shot": []}
    order = ("train", "train", "train", "validation", "test", "test")
    for number, scan in enumerate(scans):
        unseen = scan.participant_id.startswith("SIM-Z")
        # By threes, so that each part has every diagnosis.
        parts["zero_shot" if unseen else order[number // 3 % 6]].append(scan.participant_id)
    subjects = {name: tuple(listed) for name, listed in parts.items()}
    return Splits(0, (0.5, 0.2, 0.3), ("SIM-Z",), subjects)  # type: ignore[arg-type]


def write_simulated(folder: Path, scans: Sequence[Scan]) -> Path:
    """The tables and sidecars that ``medblip simulate`` writes, of one cohort."""
    cohort = scans[0].participant_id.rpartition("-")[0]
    rows = []
    for scan in scans:
        subject = f"sub-{scan.participant_id.rpartition('-')[2]}"
        anat = folder / cohort / subject / scan.session_id / "anat"
        anat.mkdir(parents=True)
        sidecar = {"SkullStripped": not scan.skull}
        (anat / f"{subject}_{scan.session_id}_T1w.json").write_text(json.dumps(sidecar))
        table = f"session_id\tage\n{scan.session_id}\t{scan.age}\n"
        (folder / cohort / subject / f"{subject}_sessions.tsv").write_text(table)
        means = {f"{region}_mean_mm": f"{mm:.3f}" for region, mm in scan.mean_mm.items()}
        rows.append(
            {
                "participant_id": subject,
                "session_id": scan.session_id,
                "diagnosis": scan.diagnosis,
                **means,
            }
        )
    truth = folder / "ground_truth" / f"{cohort}.tsv"
    truth.parent.mkdir(exist_ok=True)
    with truth.open("w", newline="") as handle:
        writer = csv.DictWriter(handle, list(rows[0]), delimiter="\t")
        writer.writeheader()
        writer.writerows(rows)
    return folder
