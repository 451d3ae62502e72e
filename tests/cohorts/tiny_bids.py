"""Write small BIDS data sets: ellipsoid heads of 24^3 voxels of 8 mm, invented people."""

from __future__ import annotations

import gzip
import json
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import nibabel as nib
import numpy as np

from medblip.cohorts.dataset import DataSet
from medblip.findings import Finding

SESSION_HEADER = (
    "session_id",
    "acq_time",
    "age",
    "diagnosis",
    "mmse",
    "cdr_global",
    "lm_immediate",
    "lm_delayed",
)
DIAGNOSES = ("CN", "MCI", "AD")


def write_tsv(path: Path, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = ["\t".join(cells) for cells in (header, *rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_head(path: Path, seed: int, *, shape: tuple[int, int, int] = (24, 24, 24)) -> None:
    """A bright ellipsoid with two dark holes and texture; every seed is another person."""
    rng = np.random.default_rng(seed)
    centre = (np.array(shape) - 1) / 2
    points = (np.moveaxis(np.indices(shape), 0, -1) - centre) * 8.0
    radii = np.array([66.0, 82.0, 62.0]) + rng.uniform(-4, 4, 3)
    array = np.where(((points / radii) ** 2).sum(axis=-1) < 1, 100.0, 0.0)
    for side in (-1, 1):
        hole = (points - [side * 16, 0, 4]) / np.array([10, 24, 14])
        array[(hole**2).sum(axis=-1) < 1] = 40
    array *= np.where(array > 0, rng.uniform(0.8, 1.2, shape), 0)
    affine = np.diag([8.0, 8.0, 8.0, 1.0])
    affine[:3, 3] = -8 * centre
    image = nib.Nifti1Image(array.astype(np.float32), affine)
    image.set_sform(affine, code=1)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(image.to_bytes(), 1, mtime=0))


def session_cells(number: int, session: str = "ses-01", **changes: str) -> list[str]:
    """One invented row of a sessions table, whose diagnosis goes by ``number``."""
    kind = number % 3
    cells = {
        "session_id": session,
        "acq_time": f"2015-03-{1 + number % 28:02d}",
        "age": f"{65 + number % 20}.5",
        "diagnosis": DIAGNOSES[kind],
        "mmse": str(29 - 3 * kind),
        "cdr_global": ("0", "0.5", "1")[kind],
        "lm_immediate": str(14 - 4 * kind),
        "lm_delayed": "n/a" if number % 7 == 6 else str(12 - 4 * kind),
    }
    return list({**cells, **changes}.values())


def write_bids(
    root: Path,
    name: str,
    subjects: int = 6,
    *,
    images: bool = True,
    sessions: Mapping[int, Sequence[str]] | None = None,
) -> Path:
    """A whole data set ``sub-<letters>0001`` ..., one session each unless ``sessions`` says.

    Args:
        root: folder to fill.
        name: ``Name`` in the description, e.g. ``SIM-A``.
        subjects: how many.
        images: whether to write scans too.
        sessions: session ids of single subjects by their number.
    """
    root.mkdir(parents=True, exist_ok=True)
    description = {"Name": name, "BIDSVersion": "1.10.0", "DatasetType": "raw"}
    (root / "dataset_description.json").write_text(json.dumps(description), encoding="utf-8")
    rows = []
    for number in range(subjects):
        label = subject_label(name, number)
        rows.append([label, "FM"[number % 2], str(10 + number % 8), f"{name[-1]}{number % 2}"])
        visits = (sessions or {}).get(number, ["ses-01"])
        table = [session_cells(number, visit) for visit in visits]
        write_tsv(root / label / f"{label}_sessions.tsv", SESSION_HEADER, table)
        for index, visit in enumerate(visits):
            stem = root / label / visit / "anat" / f"{label}_{visit}_T1w"
            if images:
                seed = zlib.crc32(f"{name} {number} {index}".encode())
                write_head(stem.with_name(f"{stem.name}.nii.gz"), seed)
                sidecar = {"MagneticFieldStrength": 3, "SkullStripped": True}
                stem.with_name(f"{stem.name}.json").write_text(json.dumps(sidecar))
    header = ("participant_id", "sex", "education_years", "site")
    write_tsv(root / "participants.tsv", header, rows)
    return root


def subject_label(name: str, number: int) -> str:
    return f"sub-{name.replace('-', '')}{number + 1:04d}"


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")
    return path


def scan(root: Path, label: str, session: str = "ses-01", extra: str = "") -> Path:
    """An empty file where a scan would lie; reading the tables opens none."""
    return touch(root / label / session / "anat" / f"{label}_{session}_{extra}T1w.nii.gz")


def data_set(root: Path, subjects: int = 3, name: str = "SIM-A", **options: object) -> Path:
    """A whole data set whose scans are empty files."""
    write_bids(root, name, subjects, images=False, **options)  # type: ignore[arg-type]
    for number in range(subjects):
        scan(root, subject_label(name, number))
    return root


def clinica(root: Path, label: str, person: dict[str, str], visits: list[dict[str, str]]) -> Path:
    """A data set of one subject with any columns, without scans."""
    (root / label).mkdir(parents=True)
    (root / "dataset_description.json").write_text('{"Name": "My clinic, 2020"}')
    write_tsv(root / "participants.tsv", ["participant_id", *person], [[label, *person.values()]])
    if visits:
        table = [list(visit.values()) for visit in visits]
        write_tsv(root / label / f"{label}_sessions.tsv", list(visits[0]), table)
    return root


def codes(findings: list[Finding]) -> Counter[str]:
    """How often each code was found."""
    return Counter(finding.code for finding in findings)


def only(findings: list[Finding]) -> Finding:
    (finding,) = findings
    return finding


def row(found: DataSet, participant_id: str, session: str | None = None) -> dict[str, str]:
    (match,) = (
        row
        for row in found.sessions
        if row["participant_id"] == participant_id and session in (None, row["session_id"])
    )
    return {name: value for name, value in match.items() if value}
