"""Read a BIDS data set: its T1-weighted scans and what its tables say of each session."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from medblip.cohorts.bids_files import ImageFile, SubjectFiles, sidecar, subjects
from medblip.cohorts.bids_rows import Row, Visit, add_days_from_baseline, session_row
from medblip.cohorts.bids_tables import (
    DESCRIPTION,
    PARTICIPANTS,
    PARTICIPANTS_JSON,
    Participants,
    Visits,
    cohort_name,
    read_participants,
    read_visits,
    scan_dates,
)
from medblip.cohorts.dataset import DataSet, Scan
from medblip.cohorts.foreign import BIDS, foreign_tables
from medblip.cohorts.vendor_tables import list_tables
from medblip.errors import InputError
from medblip.findings import Finding, Level
from medblip.storage import sha256_of_file
from medblip.study.schema import SESSION_FIELDS

_NO_VISITS = Visits({}, Path(), frozenset())


def read_bids(root: Path, *, encoding: str = "utf-8-sig") -> DataSet:
    """Read the tables of a BIDS data set and list its T1-weighted scans; no image is opened.

    Every scan found is either in ``scans`` or has one error finding in ``refused``.

    Args:
        root: folder with ``participants.tsv`` and ``sub-*`` folders, with or without sessions.
        encoding: of the tables.

    Raises:
        InputError: not a BIDS folder, or ``participants.tsv`` cannot be read as a table.
    """
    if not root.is_dir():
        raise InputError(str(root), "there is no such folder", code="no-data-set")
    if not (root / PARTICIPANTS).exists():
        _refuse_download(root, encoding)
    try:
        cohort, findings = cohort_name(root)
        participants = read_participants(root, encoding)
    except InputError as error:
        where = f"{root.name}/{error.where}"
        raise InputError(where, error.problem, error.fix, code=error.code) from error
    reader = _Reader(root, cohort, participants, encoding, [*findings, *participants.findings])
    for files in subjects(root):
        reader.add_subject(files)
    return reader.finish()


def _refuse_download(root: Path, encoding: str) -> None:
    """Raise InputError if the folder is a cohort as it is downloaded, which has its own reader."""
    for finding in foreign_tables(root, list_tables(root), [BIDS], encoding):
        where = f"{root.name}/{finding.where}"
        raise InputError(where, finding.problem, finding.fix, code=finding.code)


@dataclass
class _Reader:
    """Collects one data set, subject by subject; a subject's faults never stop the others."""

    root: Path
    cohort: str
    participants: Participants
    encoding: str
    findings: list[Finding]
    sessions: list[dict[str, str]] = field(default_factory=list)
    scans: list[Scan] = field(default_factory=list)
    refused: list[Finding] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)
    extra_columns: set[str] = field(default_factory=set)
    digest: Any = field(default_factory=hashlib.sha256)

    def add_subject(self, files: SubjectFiles) -> None:
        self.seen.add(files.label)
        self.refused.extend(files.refused)
        self.findings.extend(files.findings)
        if files.outside:
            return
        try:
            visits = read_visits(self.root, files.label, self.encoding)
        except InputError as error:
            for images in files.sessions.values():
                self._refuse(images, error)
            if not files.sessions:
                self._note(error.code, "warning", error.where, error.problem, error.fix)
            return
        if visits is not None:
            self.extra_columns |= visits.extra_columns
            self.digest.update(sha256_of_file(visits.path).encode())
        person = self.participants.rows.get(files.label)
        if person is None and files.sessions:
            problem = f"the subject has scans but no row in {PARTICIPANTS}"
            self._note("no-participant-row", "warning", files.label, problem, "add the row")
        rows = [
            row
            for session, images in files.sessions.items()
            if (row := self._add_session(files, session, images, person, visits)) is not None
        ]
        add_days_from_baseline(rows)
        self.sessions.extend(rows)
        self._list_unscanned(files, visits or _NO_VISITS, person)

    def finish(self) -> DataSet:
        for subject, row in self.participants.rows.items():
            if subject not in self.seen:
                problem = "the row has no scan: the subject has no folder"
                self._note("row-without-scan", "warning", row.where, problem)
        if self.extra_columns:
            names = ", ".join(sorted(self.extra_columns))
            problem = f"{len(self.extra_columns)} column(s) are not read: {names}"
            self._note("extra-column", "note", "sub-*_sessions.tsv", problem)
        tables = (self.root / name for name in (DESCRIPTION, PARTICIPANTS, PARTICIPANTS_JSON))
        return DataSet(
            root=self.root,
            cohort=self.cohort,
            sessions=self.sessions,
            scans=self.scans,
            refused=self._named(self.refused),
            findings=self._named(self.findings),
            tables={path.name: sha256_of_file(path) for path in tables if path.is_file()},
            records_sha256=self.digest.hexdigest(),
        )

    def _add_session(
        self,
        files: SubjectFiles,
        session: str,
        images: list[ImageFile],
        person: Row | None,
        visits: Visits | None,
    ) -> dict[str, str] | None:
        """Take one session with its images, or refuse the images and return None."""
        alone = len({*files.sessions, *(visits or _NO_VISITS).rows}) == 1
        units = self.participants.education_units
        scan_date = self._scan_date(files.label, session, images[0])
        visit = Visit(self.cohort, files.label, session, alone, units, scan_date)
        try:
            row = session_row(visit, person, _row_of(session, person, visits))
        except InputError as error:
            self._refuse(images, error)
            return None
        if not row["diagnosis"]:
            problem = "the session has no diagnosis: its scan is prepared but is never an example"
            self._note("no-diagnosis", "note", images[0].relative, problem)
        self._add_images(images, visit, row)
        return row

    def _add_images(self, images: list[ImageFile], visit: Visit, row: dict[str, str]) -> None:
        for rank, image in enumerate(images):
            facts = self._sidecar(image)
            if rank == 0:
                _add_facts(row, facts)
            kind = "skull-stripped" if facts.get("SkullStripped") is True else "raw"
            key = (visit.participant_id, visit.session)
            self.scans.append(Scan(*key, image.relative, rank, image.run, kind))

    def _sidecar(self, image: ImageFile) -> dict[str, Any]:
        facts: dict[str, Any] = {}
        try:
            facts = sidecar(image, self.root)
        except InputError as error:
            problem = f"{error.where}: {error.problem}; the image is used without it"
            self._note(error.code, "warning", image.relative, problem, error.fix)
        self.digest.update(json.dumps([image.relative, facts], sort_keys=True).encode())
        return facts

    def _scan_date(self, subject: str, session: str, image: ImageFile) -> str:
        try:
            dates = scan_dates(self.root, subject, session, self.encoding)
            text = dates.get(image.path.name, "")
            date = "" if text == "n/a" else text
            return SESSION_FIELDS["scan_date"].parse(date, f"{image.relative}, field acq_time")
        except InputError as error:
            problem = f"{error.where}: {error.problem}; the image is used without its date"
            self._note(error.code, "warning", image.relative, problem, error.fix)
            return ""

    def _list_unscanned(self, files: SubjectFiles, visits: Visits, person: Row | None) -> None:
        """Rows without a scan; a scan that was found and refused is reported on its own."""
        refused = " ".join(finding.where for finding in files.refused)
        for session, row in visits.rows.items():
            if session not in files.sessions and f"/{session}/" not in refused:
                self._note("row-without-scan", "warning", row.where, "the row has no scan")
        if person is not None and not (files.sessions or visits.rows or refused):
            self._note("row-without-scan", "warning", person.where, "the row has no scan")

    def _refuse(self, images: Iterable[ImageFile], error: InputError) -> None:
        problem = f"{error.where}: {error.problem}"
        for image in images:
            self.refused.append(Finding(error.code, "error", image.relative, problem, error.fix))

    def _note(self, code: str, level: Level, where: str, problem: str, fix: str = "") -> None:
        self.findings.append(Finding(code, level, where, problem, fix))

    def _named(self, findings: list[Finding]) -> list[Finding]:
        return [replace(f, where=f"{self.cohort}/{f.where}") for f in findings]


def _row_of(session: str, person: Row | None, visits: Visits | None) -> Row | None:
    """The session's row; None where participants.tsv alone speaks of the subject."""
    if visits is not None and session in visits.rows:
        return visits.rows[session]
    if visits is None and person is not None:
        return None
    problem = "no table has a row for this scan"
    raise InputError(session, problem, "add a row for this session", code="scan-without-row")


def _add_facts(row: dict[str, str], facts: dict[str, Any]) -> None:
    """Site and field strength of a session from its primary image's sidecar, if believable."""
    site = facts.get("InstitutionName")
    if not row["site"] and isinstance(site, str):
        row["site"] = re.sub(r"\s+", " ", site).strip()[:100]
    strength = facts.get("MagneticFieldStrength")
    if isinstance(strength, int | float) and not isinstance(strength, bool):
        try:
            column = SESSION_FIELDS["field_strength_t"]
            row["field_strength_t"] = column.parse(f"{strength:g}", "sidecar")
        except InputError:  # e.g. 15000, met in real sidecars; nothing depends on it
            row["field_strength_t"] = ""
