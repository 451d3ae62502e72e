"""Read NACC as downloaded: the UDS and MRI tables, and zips or trees of NIfTI or DICOM series."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath

from medblip.cohorts.collecting import Collector, Image
from medblip.cohorts.copies import Copies, ImageFile
from medblip.cohorts.dataset import DataSet
from medblip.cohorts.download_files import list_files
from medblip.cohorts.nacc_deliveries import (
    Delivery,
    Series,
    deliveries,
    note_others,
    series_of,
    without_copies,
)
from medblip.cohorts.nacc_dicom import CONVERT, dicom_series
from medblip.cohorts.nacc_options import NaccOptions
from medblip.cohorts.nacc_rows import MriSession, session_row
from medblip.cohorts.nacc_tables import Visit, check_id, day_of, read_tables, visits_by_person
from medblip.cohorts.vendor_tables import TABLE_SUFFIXES, VendorRow, VendorTable
from medblip.cohorts.visits import Match
from medblip.errors import InputError
from medblip.study.missing import NACC, is_missing
from medblip.study.schema import SESSION_FIELDS

__all__ = ["NaccOptions", "read_nacc"]

_FIX_NIFTI = "give it a sidecar that says what it is, or leave it out"
_KNOWN_FIELDS = ("1", "2")  # 1.5 T and 3 T in MRIFIELD


def read_nacc(
    root: Path, *, encoding: str = "utf-8-sig", options: NaccOptions | None = None
) -> DataSet:
    """Read NACC; sidecars are opened, and of DICOM a few headers, images are not.

    A row of the MRI table is a session. Its files are found by the names in ``NACCMRFI``, as zips
    or as folders, and their 3D T1-weighted series by the sidecars or DICOM headers; the rule of
    the primary one is `medblip.cohorts.nacc_series.preference`. The nearest UDS visit within
    ``options.window_days`` gives label and scores.

    Args:
        root: folder with both tables and the images, each anywhere below it.
        encoding: of the tables.
        options: see `NaccOptions`.

    Raises:
        InputError: no such folder, or one of the tables is absent or cannot be read.
    """
    options = options or NaccOptions()
    collector = Collector(root, "NACC", facts=[asdict(options)])
    files = list_files(root, collector.findings)
    paths = [root / path for path in files.loose if path.lower().endswith(TABLE_SUFFIXES)]
    uds, mri = read_tables(paths, encoding, collector)
    reader = _Reader(collector, options, visits_by_person(uds, collector.findings))
    reader.list_rows(mri)
    reader.found = deliveries(files, reader.names(), collector)
    for row in reader.rows.values():
        reader.add_row(row)
    reader.refuse_unknown()
    reader.note_counts()
    collector.count_days()
    return collector.finish()


@dataclass
class _Reader:
    collector: Collector
    options: NaccOptions
    visits: dict[str, list[Visit]]
    rows: dict[str, VendorRow] = field(default_factory=dict)
    found: dict[str, list[Delivery]] = field(default_factory=dict)
    sessions: set[str] = field(default_factory=set)
    counts: Counter[str] = field(default_factory=Counter)

    def list_rows(self, table: VendorTable) -> None:
        """Rows of the MRI table by the files they name; a row without any is listed."""
        blank = [row for row in table.rows() if not _names(row)]
        for row in blank:
            self._note_unscanned(row)
        for row in table.keyed(["NACCMRFI"], self.collector.findings).values():
            if _names(row):
                self.rows[row["NACCMRFI"]] = row

    def names(self) -> set[str]:
        """How deliveries of known rows may be called."""
        named = [name for row in self.rows.values() for name in _names(row)]
        return {*named, *(name + self.options.nifti_mark for name in named)}

    def add_row(self, row: VendorRow) -> None:
        delivered = {name: self._take(name) for name in _names(row)}
        parts = [part for same in delivered.values() for part in same]
        if not parts:
            self._note_unscanned(row)
            return
        absent = [name for name, same in delivered.items() if not same]
        if absent:
            problem = f"of its files {', '.join(absent)} are not in the download"
            self.collector.note("partly-delivered", "note", row.where, problem)
        scans = self._scans(parts)
        if not scans:
            self._note_without_t1(row, parts)
            return
        try:
            mri = self._session(row)
            match = mri.match(self.options.window_days)
            tesla = _tesla(row, scans[0], self.collector)
            values = session_row(mri, match, self.options, self.collector.findings, tesla)
        except InputError as error:
            self.collector.refuse((series.path for series in scans), error)
            return
        self._check_match(mri, match)
        images = [Image(s.path, number, format=s.format) for number, s in enumerate(scans, start=1)]
        self.collector.add(values, images)
        self.counts["dicom-read"] += images[0].format == "dicom"

    def refuse_unknown(self) -> None:
        """Scans of deliveries that no row of the MRI table names."""
        for part in (part for parts in self.found.values() for part in parts):
            series = series_of(part, self.collector)
            note_others(part, series, self.collector)
            self._refuse_bad(series)
            problem = "no row of the MRI table names this delivery in NACCMRFI"
            fix = "add its row, or leave the scan out"
            error = InputError(part.place or ".", problem, fix, code="scan-without-row")
            paths = [s.path for s in series if s.judgement.verdict == "t1"]
            if part.is_dicom and part.is_named:
                paths = [part.place]
            self.collector.refuse(paths, error)

    def note_counts(self) -> None:
        said = {
            "telephone-visit": "are matched to a telephone visit (PACKET T or IT)",
            "craft-not-logical-memory": (
                "have Craft story scores, which run to 44 and are not put into Logical Memory"
            ),
            "dicom-not-read": "were also delivered as DICOM, of which nothing is read",
            "dicom-read": (
                "were delivered as DICOM alone; their series are told by the headers, by the rule "
                "for sidecars"
            ),
            "unverified-zip-name": (
                f"were found by a name that ends in {self.options.nifti_mark!r}, which is inferred"
            ),
        }
        for code, what in said.items():
            if self.counts[code]:
                problem = f"{self.counts[code]} session(s) {what}"
                self.collector.note(code, "note", "MRI sessions", problem)

    def _take(self, name: str) -> list[Delivery]:
        """Deliveries of a name, which no other row can have then."""
        marked = self.found.pop(name + self.options.nifti_mark, [])
        self.counts["unverified-zip-name"] += bool(marked)
        return marked + self.found.pop(name, [])

    def _session(self, row: VendorRow) -> MriSession:
        person = check_id(row)
        names = _names(row)
        for name in names:
            if name.startswith("nacc") and not name.startswith(person.lower()):
                problem = f"NACCMRFI names {name!r}, which is of another subject than {person}"
                where = row.cell("NACCMRFI").where
                raise InputError(where, problem, "correct the row", code="id-mismatch")
        session = PurePosixPath(row["NACCMRFI"].split(",")[0].strip()).stem
        where = row.cell("NACCMRFI").where
        SESSION_FIELDS["session_id"].parse(session, where)
        if session.lower() in self.sessions:
            problem = f"{session} is also the first file of an earlier row"
            raise InputError(where, problem, "keep the right row", code="same-session")
        self.sessions.add(session.lower())
        try:
            day = day_of(row, "MRIYR", "MRIMO", "MRIDY")
        except InputError as error:
            problem = f"{error.problem}; the scan is matched to no visit"
            self.collector.note(error.code, "warning", error.where, problem, error.fix)
            day = None
        return MriSession(person, session, row, day, self.visits.get(person, []))

    def _scans(self, parts: Sequence[Delivery]) -> list[Series]:
        """The T1-weighted series of a session, best first; what is none of them is listed.

        DICOM is read only where there is no NIfTI file.
        """
        copies = Copies(self.collector)
        scans: list[Series] = []
        only_dicom = not any(part.images for part in parts)
        for part in without_copies(parts, self.collector):
            series = series_of(part, self.collector)
            if only_dicom and not part.damaged:
                series = dicom_series(part, self.collector)
            note_others(part, series, self.collector)
            self._refuse_bad(series)
            scans += [
                s
                for s in series
                if s.judgement.verdict == "t1"
                and copies.is_first(part.inside(s.stem), ImageFile(s.path, s.first_file or s.path))
            ]
        beside = bool(scans) and not only_dicom and any(part.is_dicom for part in parts)
        self.counts["dicom-not-read"] += beside
        return sorted(scans, key=lambda s: s.preference)

    def _refuse_bad(self, series: Sequence[Series]) -> None:
        for found in series:
            judged = found.judgement
            if judged.verdict == "refused":
                fix = CONVERT if found.format == "dicom" else _FIX_NIFTI
                error = InputError(found.path, judged.reason, fix, code=judged.code)
                self.collector.refuse([found.path], error)

    def _note_without_t1(self, row: VendorRow, parts: Sequence[Delivery]) -> None:
        if any(part.damaged for part in parts):
            return  # it is listed, and may hold the T1
        problem = f"none of the series of {row['NACCMRFI']} is a 3D T1-weighted scan of a head"
        fix = "see the notes on its series"
        self.collector.note("no-t1", "warning", parts[0].place, problem, fix)

    def _check_match(self, mri: MriSession, match: Match[Visit] | None) -> None:
        """What the MRI table itself says of the nearest visit should agree with what we found."""
        row, note = mri.row, self.collector.note
        if not mri.visits:
            problem = f"the UDS table has no row of {mri.person}: no label, sex or score is known"
            note("no-participant-row", "warning", row.where, problem, "add the person's rows")
            return
        if match is None:
            problem = f"no UDS visit within {self.options.window_days} days of {mri.day}"
            fix = "the scan has no label; widen the window if you accept an older diagnosis"
            note("no-visit-in-window", "warning", row.where, problem, fix)
            return
        self._count(match.visit.row)
        said = {"NACCVNUM": match.visit.row["NACCVNUM"], "NACCMRDY": str(match.days)}
        codes = {"NACCVNUM": "visit-number-differs", "NACCMRDY": "visit-days-differ"}
        for column, ours in said.items():
            theirs = row[column].removesuffix(".0")
            if theirs not in ("", "88", "888", "8888", "-4", ours):
                problem = f"{column} is {theirs}, but the nearest visit by date gives {ours}"
                fix = "the nearest visit by date is used; look at both dates"
                note(codes[column], "warning", row.cell(column).where, problem, fix)

    def _count(self, visit: VendorRow) -> None:
        self.counts["telephone-visit"] += visit["PACKET"].upper() in ("T", "IT")
        craft = [visit[name] for name in ("CRAFTVRS", "CRAFTURS", "CRAFTDVR", "CRAFTDRE")]
        has_craft = any(not is_missing("lm_immediate", text, NACC) for text in craft)
        without_lm = is_missing("lm_immediate", visit["LOGIMEM"], NACC)
        self.counts["craft-not-logical-memory"] += has_craft and without_lm

    def _note_unscanned(self, row: VendorRow) -> None:
        named = row["NACCMRFI"] or "no file"
        problem = f"the row's images ({named}) are not in the download"
        fix = "download them, or leave it so"
        self.collector.note("row-without-scan", "warning", row.where, problem, fix)


def _names(row: VendorRow) -> list[str]:
    """Names of a row's zips without suffix, in lower case; newer rows list several."""
    names = [PurePosixPath(name.strip()).name for name in row["NACCMRFI"].split(",")]
    return [name.lower().removesuffix(".zip") for name in names if name and name != "-4"]


def _tesla(row: VendorRow, primary: Series, collector: Collector) -> str:
    """Field strength by the primary image's sidecar; empty where it has none."""
    strength = primary.facts.get("MagneticFieldStrength")
    if isinstance(strength, bool) or not isinstance(strength, int | float):
        return ""
    try:
        return SESSION_FIELDS["field_strength_t"].parse(f"{strength:g}", primary.path)
    except InputError:
        if row["MRIFIELD"] not in _KNOWN_FIELDS:
            problem = f"MagneticFieldStrength is {strength:g}, which is no field strength in tesla"
            collector.note("bad-field-strength", "note", primary.path, f"{problem}; left empty")
        return ""
