"""What is known about each scan of a simulated folder: the tables that ``medblip simulate`` wrote.

Read from disk alone, so nothing here knows how scans are simulated.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from medblip.errors import InputError
from medblip.study.tables import read_table

TRUTH_FOLDER = "ground_truth"
REGIONS = ("ventricles", "medial_temporal", "cortex")
COLUMNS = ("participant_id", "session_id", "diagnosis", *(f"{r}_mean_mm" for r in REGIONS))


@dataclass(frozen=True, slots=True)
class Scan:
    """One simulated scan and the truth about it.

    Attributes:
        participant_id, session_id: as in a study's ``sessions.tsv``.
        age: years at the scan.
        diagnosis: CN, MCI or AD.
        mean_mm: by region, mean displacement of its tissue in mm against the template; positive
            is loss of tissue (for the ventricles, growth), negative the opposite.
        skull: whether skull and scalp are in the image.
    """

    participant_id: str
    session_id: str
    age: float
    diagnosis: str
    mean_mm: Mapping[str, float]
    skull: bool


def read_scans(simulated: Path) -> tuple[Scan, ...]:
    """All scans of a simulated folder, by subject and session.

    Args:
        simulated: the folder that holds ``ground_truth`` and a BIDS folder for each cohort.

    Raises:
        InputError: there is no such table, or tables and sidecars do not fit together.
    """
    tables = sorted((simulated / TRUTH_FOLDER).glob("*.tsv"))
    if not tables:
        problem = f"there is no table in {TRUTH_FOLDER}"
        fix = "give the folder that medblip simulate wrote"
        raise InputError(simulated.name, problem, fix, code="no-ground-truth")
    scans = [scan for table in tables for scan in _cohort(simulated, table)]
    return tuple(sorted(scans, key=lambda scan: (scan.participant_id, scan.session_id)))


def _cohort(simulated: Path, table: Path) -> Iterator[Scan]:
    truth = read_table(table, required=COLUMNS, key=("participant_id", "session_id"))
    ages_of = cache(lambda subject: _ages(simulated / table.stem, subject))
    for line, row in zip(truth.index, truth.to_dict("records"), strict=True):
        place = f"{table.name} line {line}"
        subject, session = row["participant_id"], row["session_id"]
        try:
            yield Scan(
                participant_id=f"{table.stem}-{subject.removeprefix('sub-')}",
                session_id=session,
                age=float(ages_of(subject)[session]),
                diagnosis=row["diagnosis"],
                mean_mm={region: float(row[f"{region}_mean_mm"]) for region in REGIONS},
                skull=_has_skull(simulated / table.stem, subject, session),
            )
        except (KeyError, ValueError, OSError) as error:
            problem = f"does not fit its data set: {type(error).__name__} {error}"
            fix = "simulate the folder again"
            raise InputError(place, problem, fix, code="bad-ground-truth") from error


def _ages(folder: Path, subject: str) -> dict[str, str]:
    table = read_table(folder / subject / f"{subject}_sessions.tsv", required=("session_id", "age"))
    return dict(zip(table["session_id"], table["age"], strict=True))


def _has_skull(folder: Path, subject: str, session: str) -> bool:
    anat = folder / subject / session / "anat"
    sidecar = json.loads((anat / f"{subject}_{session}_T1w.json").read_text(encoding="utf-8"))
    return sidecar["SkullStripped"] is False
