"""Invented sessions and images in memory, and whole study folders of them without scans."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from medblip.study.info import PreprocessingInfo, StudyInfo, count, is_simulated
from medblip.study.schema import IMAGE_COLUMNS, SESSION_COLUMNS
from medblip.study.splits import make_splits
from medblip.study.study import IMAGES_FILE, SESSIONS_FILE, SPLITS_FILE, STUDY_FILE
from medblip.study.tables import write_table

LABELS = ("NC", "MCI", "AD")


def make_sessions(
    subjects: int = 60, cohort: str = "SIM-A", visits: int = 1, seed: int = 0
) -> pd.DataFrame:
    """Rows of ``sessions.tsv``; scores follow the diagnosis loosely, the rest does not."""
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(subjects):
        kind = number % 3
        for visit in range(visits):
            row = dict.fromkeys((column.name for column in SESSION_COLUMNS), "")
            row.update(
                cohort=cohort,
                participant_id=f"{cohort}-{number:04d}",
                session_id=f"ses-{visit + 1}",
                days_from_baseline=str(365 * visit),
                age=f"{rng.normal(74, 6):.1f}",
                sex=str(rng.choice(["F", "M"])),
                education_years=str(rng.integers(8, 20)),
                mmse=str(int(np.clip(rng.normal(28 - 3 * kind, 2), 0, 30))),
                cdr_global=("0", "0.5", "1")[kind],
                lm_delayed=str(int(np.clip(rng.normal(12 - 3 * kind, 3), 0, 25))),
                diagnosis=LABELS[kind],
                label_defined_by="cdr_global",
                site=f"{cohort}{rng.integers(1, 4)}",
            )
            rows.append(row)
    return pd.DataFrame(rows, dtype=str)


def make_images(sessions: pd.DataFrame) -> pd.DataFrame:
    """One primary image for each session."""
    rows = []
    for subject, session in zip(sessions["participant_id"], sessions["session_id"], strict=True):
        digest = hashlib.sha256(f"{subject} {session}".encode()).hexdigest()
        row = dict.fromkeys((column.name for column in IMAGE_COLUMNS), "")
        row.update(
            participant_id=subject,
            session_id=session,
            run="1",
            kind="raw",
            format="nifti",
            path=f"{subject}/{session}/anat/T1w.nii.gz",
            shape="24x24x24",
            voxel_mm="1x1x1.2",
            axcodes="RAS",
            sha256=digest,
            primary="true",
            cube=f"{digest[:32]}.safetensors",
        )
        rows.append(row)
    return pd.DataFrame(rows, dtype=str)


def write_study(
    folder: Path,
    sessions: pd.DataFrame,
    images: pd.DataFrame | None = None,
    zero_shot: Sequence[str] = (),
) -> Path:
    """A complete study folder of these rows."""
    images = make_images(sessions) if images is None else images
    write_table(folder / SESSIONS_FILE, sessions)
    write_table(folder / IMAGES_FILE, images)
    make_splits(sessions, zero_shot=zero_shot).write(folder / SPLITS_FILE)
    StudyInfo(
        schema_version=1,
        created_by="test",
        simulated=is_simulated(set(sessions["cohort"])),
        fingerprint="0",
        sources=(),
        preprocessing=PreprocessingInfo(fingerprint="0", parameters={}),
        cache="cache",
        scans_found=len(images),
        scans_used=len(images),
        scans_skipped=0,
        counts=count(sessions, images),
    ).write(folder / STUDY_FILE)
    return folder
