"""What every cohort reader returns: sessions with scans, and why each other scan is left out."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from medblip.findings import Finding


@dataclass(frozen=True)
class Scan:
    """One image file that a session's row stands for; not opened yet.

    Attributes:
        participant_id, session_id: its session.
        path: relative to the data set's root, with ``/``; a file, or a folder of DICOM slices. A
            component may be a zip or tar archive: ``scans.zip/folder/scan.nii``.
        rank: position in the order of preference within the session; 0 is the best.
        run: number of the run.
        kind, format: as in ``images.tsv``.
        files: glob of a DICOM series' own files where ``path`` is a folder, e.g. ``*_I12345.dcm``;
            empty takes all of the folder.
        assume_orientation: direction in which each voxel axis grows, e.g. ``ASL``, for a file that
            holds no orientation; empty where it must have its own, and ``ASL!`` where that is
            known to be wrong.
    """

    participant_id: str
    session_id: str
    path: str
    rank: int
    run: int = 1
    kind: str = "raw"
    format: str = "nifti"
    files: str = ""
    assume_orientation: str = ""


@dataclass(frozen=True)
class DataSet:
    """One data set as a reader found it.

    Attributes:
        root: its folder; nothing outside it is ever opened.
        cohort: its name, the first part of each ``participant_id``.
        sessions: rows of ``sessions.tsv``, canonical text, all columns.
        scans: images to read, each of a session above.
        refused: one error finding for each scan found that is not among ``scans``.
        findings: everything else that was noticed.
        tables: SHA-256 of the top-level tables by file name.
        records_sha256: one hash over all tables and sidecars.
    """

    root: Path
    cohort: str
    sessions: list[dict[str, str]]
    scans: list[Scan]
    refused: list[Finding]
    findings: list[Finding]
    tables: dict[str, str] = field(default_factory=dict)
    records_sha256: str = ""

    @property
    def scans_found(self) -> int:
        return len(self.scans) + len(self.refused)
