"""Reading a simulated replica back: its truth, and the reader of each cohort."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

from medblip.cohorts.adni import read_adni
from medblip.cohorts.aibl import read_aibl
from medblip.cohorts.dataset import DataSet, Scan
from medblip.cohorts.miriad import read_miriad
from medblip.cohorts.nacc import read_nacc
from medblip.cohorts.oasis import read_oasis1, read_oasis2

Row = dict[str, str]

REPLICA, SCALE = 4000, 0.07  # matrices of about 18 voxels

READERS: dict[str, Callable[[Path], DataSet]] = {
    "ADNI": read_adni,
    "NACC": read_nacc,
    "OASIS1": read_oasis1,
    "OASIS2": read_oasis2,
    "AIBL": read_aibl,
    "MIRIAD": read_miriad,
}


def truth(out: Path, cohort: str, kind: str) -> list[Row]:
    """Rows of ``ground_truth/<COHORT>_<kind>.tsv``."""
    path = out / "ground_truth" / f"{cohort}_{kind}.tsv"
    with path.open(encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle, delimiter="\t"))


def key(row: Row) -> tuple[str, str]:
    return row["participant_id"], row["session_id"]


def place(scan: Scan) -> str:
    """As the truth calls a scan."""
    return f"{scan.path}/{scan.files}" if scan.files else scan.path


def files(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}
