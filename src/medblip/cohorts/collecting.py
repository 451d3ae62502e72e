"""Gather one download's sessions, scans and findings, so that nothing is lost on the way."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from medblip.cohorts.bids_rows import add_days_from_baseline
from medblip.cohorts.dataset import DataSet, Scan
from medblip.errors import InputError
from medblip.findings import Finding, Level
from medblip.storage import sha256_of_file


class Image(NamedTuple):
    """One image of a session, before its rank is known; fields as in `Scan`."""

    path: str
    run: int = 1
    kind: str = "raw"
    format: str = "nifti"
    assume_orientation: str = ""
    files: str = ""


@dataclass
class Collector:
    """What a reader has found so far.

    Attributes:
        root, cohort: of the data set.
        findings, sessions, scans, refused: as in `DataSet`, places relative to the download.
        tables: SHA-256 by the name of the table.
        facts: everything else that shaped the rows, e.g. sidecars and options; JSON values.
    """

    root: Path
    cohort: str
    findings: list[Finding] = field(default_factory=list)
    sessions: list[dict[str, str]] = field(default_factory=list)
    scans: list[Scan] = field(default_factory=list)
    refused: list[Finding] = field(default_factory=list)
    tables: dict[str, str] = field(default_factory=dict)
    facts: list[Any] = field(default_factory=list)

    def note(self, code: str, level: Level, where: str, problem: str, fix: str = "") -> None:
        self.findings.append(Finding(code, level, where, problem, fix))

    def read_from(self, path: Path) -> None:
        """Remember that the rows came from this table."""
        self.tables[path.relative_to(self.root).as_posix()] = sha256_of_file(path)

    def refuse(self, paths: Iterable[str], error: InputError) -> None:
        """List scans that are not used, each with the reason."""
        for path in paths:
            itself = path == error.where or path.endswith(f"/{error.where}")
            problem = error.problem if itself else f"{error.where}: {error.problem}"
            fix = error.fix or "correct it or leave the scan out"
            self.refused.append(Finding(error.code, "error", path, problem, fix))

    def add(self, row: dict[str, str], images: Sequence[Image]) -> None:
        """Take a session with its images, the primary one first.

        An image whose path the study's tables could not hold as it is written is refused.
        """
        for image in images:
            if not _is_plain(image.path):
                problem = "the path has a colon, a backslash, or blanks that a table cannot keep"
                error = InputError(image.path, problem, "rename the file", code="unsafe-path")
                self.refuse([image.path], error)
        images = [image for image in images if _is_plain(image.path)]
        if not images:
            return
        row["cohort"] = self.cohort
        self.sessions.append(row)
        if not row["diagnosis"]:
            problem = "the session has no diagnosis: its scan is prepared but is never an example"
            self.note("no-diagnosis", "note", images[0].path, problem)
        for rank, image in enumerate(images):
            self.scans.append(
                Scan(
                    row["participant_id"],
                    row["session_id"],
                    image.path,
                    rank,
                    image.run,
                    image.kind,
                    image.format,
                    files=image.files,
                    assume_orientation=image.assume_orientation,
                )
            )

    def count_days(self) -> None:
        """Fill ``days_from_baseline`` of each subject's sessions by their dates."""
        people: dict[str, list[dict[str, str]]] = {}
        for row in self.sessions:
            people.setdefault(row["participant_id"], []).append(row)
        for rows in people.values():
            add_days_from_baseline(rows)

    def finish(self) -> DataSet:
        """The data set; a finding that was met twice is listed once."""
        records = [self.cohort, self.tables, self.facts, self.sessions]
        digest = hashlib.sha256(json.dumps(records, sort_keys=True).encode())
        return DataSet(
            root=self.root,
            cohort=self.cohort,
            sessions=self.sessions,
            scans=self.scans,
            refused=self._named(self.refused),
            findings=self._named(dict.fromkeys(self.findings)),
            tables=self.tables,
            records_sha256=digest.hexdigest(),
        )

    def _named(self, findings: Iterable[Finding]) -> list[Finding]:
        return [replace(f, where=f"{self.cohort}/{f.where}") for f in findings]


def _is_plain(path: str) -> bool:
    """Whether ``images.tsv`` gives a path back as it is, and takes it for a safe one."""
    return not re.search(r"[:\\]|\s{2}|[^\S ]|^\s|\s$", path)
