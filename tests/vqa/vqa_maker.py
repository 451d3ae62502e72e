"""Invented scans with their truth: in memory, as ground-truth tables, and as a study of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from medblip.study.info import Source
from medblip.study.schema import SESSION_COLUMNS
from medblip.study.splits import Splits
from medblip.study.study import STUDY_FILE, Study
from medblip.study.tables import write_table
from medblip.vqa.ground_truth import Scan, Sides
from study.study_maker import make_images, write_study

LEVELS = {"CN": 0.0, "MCI": 1.5, "AD": 4.5}
LABEL = {"CN": "NC", "MCI": "MCI", "AD": "AD"}


def make_scans(
    subjects: int = 600, cohort: str = "SIM-A", seed: int = 0, *, sided: bool = False
) -> list[Scan]:
    """One scan a subject; displacements follow diagnosis and age, the skull follows nothing.

    Args:
        sided: whether people differ in where they lose tissue, by region and by side.
    """
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
    return [own_loss(scan, seed) for scan in scans] if sided else scans


def own_loss(scan: Scan, seed: int = 0) -> Scan:
    """The scan of somebody who loses more in some regions, and more on one side."""
    rng = np.random.default_rng((seed, *scan.participant_id.encode(), 1))
    sides = {}
    for region, mm in scan.mean_mm.items():
        unit = 0.15 if region == "cortex" else 1.0
        middle, half = mm + unit * rng.normal(0, 0.7), unit * rng.normal(0, 0.6)
        sides[region] = Sides(round(middle + half, 3), round(middle - half, 3))
    return replace(
        scan, mean_mm={r: round(sum(s) / 2, 3) for r, s in sides.items()}, sides_mm=sides
    )


def mirrored(scan: Scan) -> Scan:
    """Left for right."""
    return replace(scan, sides_mm={r: Sides(s.right, s.left) for r, s in scan.sides_mm.items()})


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


def write_demo(folder: Path, scans: Sequence[Scan]) -> Path:
    """The truth of one cohort as ``medblip simulate`` writes it: ``ground_truth/<cohort>.tsv``."""
    cohort = cohort_of(scans)
    rows = [
        {
            "participant_id": f"sub-{scan.participant_id.removeprefix(f'{cohort}-')}",
            "session_id": scan.session_id,
            "diagnosis": scan.diagnosis,
            **_means(scan),
        }
        for scan in scans
    ]
    write_table(folder / "ground_truth" / f"{cohort}.tsv", pd.DataFrame(rows))
    return folder


def write_replica(folder: Path, scans: Sequence[Scan]) -> Path:
    """As ``medblip simulate --replica`` writes it, beside its other tables."""
    cohort = cohort_of(scans)
    rows = [
        {
            "participant_id": scan.participant_id,
            "session_id": scan.session_id,
            "status": scan.diagnosis,
            **_means(scan),
            **{
                f"{region}_{side}_mean_mm": f"{mm:.3f}"
                for region, sides in scan.sides_mm.items()
                for side, mm in sides._asdict().items()
            },
        }
        for scan in scans
    ]
    write_table(folder / "ground_truth" / f"{cohort}_states.tsv", pd.DataFrame(rows))
    for kind in ("sessions", "scans", "traps"):
        other = pd.DataFrame([{"path": "somewhere", "verdict": "used"}])
        write_table(folder / "ground_truth" / f"{cohort}_{kind}.tsv", other)
    return folder


def study_of(folder: Path, scans: Sequence[Scan], simulated: Path | None = None) -> Study:
    """A study of these scans, prepared from the folder ``simulated``, or from nowhere."""
    cohort = cohort_of(scans)
    columns = [column.name for column in SESSION_COLUMNS]
    sessions = pd.DataFrame(
        [
            dict.fromkeys(columns, "")
            | {
                "cohort": cohort,
                "participant_id": scan.participant_id,
                "session_id": scan.session_id,
                "age": f"{scan.age:g}",
                "diagnosis": LABEL[scan.diagnosis],
                "label_defined_by": "cdr_global",
            }
            for scan in scans
        ],
        dtype=str,
    )
    images = make_images(sessions)
    kinds = {True: "raw", False: "skull-stripped", None: "registered"}
    images["kind"] = [kinds[scan.skull] for scan in scans]
    study = Study.load(write_study(folder, sessions, images))
    path = str((simulated or folder) / cohort)
    source = Source(cohort=cohort, path=path, tables={}, records_sha256="", scans=len(scans))
    info = study.info.model_copy(update={"sources": (source,), "simulated": True})
    info.write(folder / STUDY_FILE)
    return replace(study, info=info)


def cohort_of(scans: Sequence[Scan]) -> str:
    return scans[0].participant_id.rpartition("-")[0]


def _means(scan: Scan) -> Mapping[str, str]:
    return {f"{region}_mean_mm": f"{mm:.3f}" for region, mm in scan.mean_mm.items()}
