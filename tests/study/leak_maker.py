"""A study of invented people with cubes, before it is written: for planting leaks in."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from invented_heads import head
from study_maker import make_images, make_sessions, write_study

from medblip.findings import Finding
from medblip.study.study import Study
from medblip.study.thumbnails import Thumbnail, thumbnail

PEOPLE = 150


@dataclass
class Made:
    """Tables and cubes of a study before it is written; a leak changes them in place."""

    sessions: pd.DataFrame
    images: pd.DataFrame
    cubes: dict[str, np.ndarray] = field(default_factory=dict)

    def subject(self, study: Study, split: str, number: int = 0) -> str:
        return study.splits.subjects[split][number]  # type: ignore[index]

    def cube_of(self, subject: str) -> str:
        return str(self.images.loc[self.images["participant_id"] == subject, "cube"].iloc[0])


def make(seed: int = 1, people: int = PEOPLE) -> Made:
    """Two cohorts in which nothing but the scores has to do with the label."""
    rng = np.random.default_rng(seed)
    sessions = pd.concat(
        [make_sessions(people // 2, name, seed=seed + i) for i, name in enumerate(("SIM-A", "B"))],
        ignore_index=True,
    )
    days = pd.Timestamp("2006-01-01") + pd.to_timedelta(rng.integers(0, 4000, people), unit="D")
    sessions["scan_date"] = [str(day.date()) for day in days]
    sessions["field_strength_t"] = rng.choice(["1.5", "3"], people)
    images = make_images(sessions)
    images["voxel_mm"] = rng.choice(["1x1x1.2", "1x1x1", "0.9x0.9x1.5"], people)
    images["shape"] = rng.choice(["256x256x170", "192x192x160"], people)
    images["kind"] = rng.choice(["raw", "averaged"], people)
    cubes = {cube: head(number) for number, cube in enumerate(images["cube"])}
    return Made(sessions, images, cubes)


def load(folder: Path, made: Made) -> Study:
    return Study.load(write_study(folder, made.sessions, made.images, ["B"]))


def thumbnails(made: Made) -> dict[str, Thumbnail]:
    return {name: thumbnail(cube, 5.0) for name, cube in made.cubes.items()}


def worse_than_notes(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.code: finding for finding in findings if finding.level != "note"}
