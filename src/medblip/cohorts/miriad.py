"""Read MIRIAD as exported from XNAT: image files whose names say group, sex, visit and run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from medblip.cohorts.coding import SessionValues
from medblip.cohorts.collecting import Collector, Image
from medblip.cohorts.copies import Copies, ImageFile
from medblip.cohorts.dataset import DataSet
from medblip.cohorts.download_files import DownloadFiles, list_archive, list_files
from medblip.cohorts.miriad_names import (
    NamedImage,
    ScanKey,
    is_image,
    label_of,
    named_image,
)
from medblip.cohorts.miriad_tables import ALIASES, MiriadTables, read_tables
from medblip.cohorts.vendor_tables import TABLE_SUFFIXES
from medblip.errors import InputError
from medblip.study.missing import MIRIAD

LABEL_DEFINED_BY = "cdr_global"
FIELD_STRENGTH = "1.5"  # one scanner, a GE Signa
_DAYS_A_YEAR = 365.25


@dataclass(frozen=True)
class MiriadOptions:
    """Settings of `read_miriad`.

    Attributes:
        groups: text of the group in file names and tables, and the label it stands for; MIRIAD
            has no MCI.
        aliases: names that a column may have in the exports. **Unverified**; used with a note.
    """

    groups: Mapping[str, str] = field(default_factory=lambda: {"AD": "AD", "HC": "NC"})
    aliases: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: dict(ALIASES))


def read_miriad(
    root: Path, *, encoding: str = "utf-8-sig", options: MiriadOptions | None = None
) -> DataSet:
    """Read MIRIAD; no image is opened.

    A visit is a session, and its back-to-back scans are runs of it, the first one primary. The
    label is the group of the file's name or of the table, never guessed from the subject's number;
    MMSE and CDR are those recorded at the visit. There are no dates: ``days_from_baseline`` comes
    from the ages, where these have at least two decimals.

    Args:
        root: folder with the images, loose or in archives, and the tables.
        encoding: of the tables.
        options: see `MiriadOptions`.

    Raises:
        InputError: no such folder, or the table of MR sessions is absent or unreadable.
    """
    options = options or MiriadOptions()
    collector = Collector(root, "MIRIAD", facts=[asdict(options)])
    files = list_files(root, collector.findings)
    paths = [root / path for path in files.loose if path.lower().endswith(TABLE_SUFFIXES)]
    tables = read_tables(paths, encoding, options.aliases, collector)
    reader = _Reader(collector, options, tables)
    reader.list_images(files)
    reader.add_sessions()
    reader.list_unscanned()
    reader.note_unverified()
    return collector.finish()


@dataclass
class _Reader:
    collector: Collector
    options: MiriadOptions
    tables: MiriadTables
    images: dict[ScanKey, NamedImage] = field(default_factory=dict)

    def list_images(self, files: DownloadFiles) -> None:
        copies = Copies(self.collector)
        for image in self._named(files.loose):
            self._take(image, copies)
        for archive in files.archives:
            try:
                images = self._named(list_archive(self.collector.root, archive))
            except InputError as error:
                self.collector.refuse([archive], error)
                continue
            if not copies.are_unpacked(archive, [image.key for image in images]):
                for image in images:
                    self._take(image, copies)

    def add_sessions(self) -> None:
        subjects: dict[str, dict[int, list[NamedImage]]] = {}
        for key, image in sorted(self.images.items()):
            subjects.setdefault(key.subject, {}).setdefault(key.visit, []).append(image)
        for subject, visits in subjects.items():
            try:
                group = self._group(subject, visits)
            except InputError as error:
                self.collector.refuse((i.path for v in visits.values() for i in v), error)
                continue
            sex = self._sex(subject, visits)
            rows = [
                self._row(subject, visit, images, group, sex) for visit, images in visits.items()
            ]
            _add_days(rows)
            for row, images in zip(rows, visits.values(), strict=True):
                self.collector.add(row, [Image(i.path, i.key.run) for i in images])

    def list_unscanned(self) -> None:
        fix = "download the scan, or leave it so"
        for key, row in self.tables.sessions.items():
            if key not in self.images:
                problem = f"{label_of(key)} has no scan"
                self.collector.note("row-without-scan", "warning", row.where, problem, fix)
        visits = {(key.subject, key.visit) for key in self.images}
        for (subject, visit), rows in self.tables.clinical.items():
            if (subject, visit) not in visits:
                problem = f"visit {visit} of miriad_{subject} has no scan"
                self.collector.note("row-without-scan", "warning", rows[0].where, problem, fix)

    def note_unverified(self) -> None:
        for name, columns in self.tables.columns.items():
            problem = f"its columns are known from other people's exports only; read: {columns}"
            self.collector.note("unverified-columns", "note", name, problem)

    def _named(self, paths: tuple[str, ...] | list[str]) -> list[NamedImage]:
        images = []
        for path in filter(is_image, paths):
            try:
                images.append(named_image(path))
            except InputError as error:
                self.collector.refuse([path], error)
        return images

    def _take(self, image: NamedImage, copies: Copies) -> None:
        if copies.is_first(image.key, ImageFile(image.path, image.path)):
            self.images[image.key] = image

    def _group(self, subject: str, visits: Mapping[int, list[NamedImage]]) -> tuple[str, str]:
        """The subject's group as written, and where; ('', '') if nothing says it.

        Raises:
            InputError: names and tables say different groups, or an unknown one.
        """
        said: dict[str, str] = {}
        for image in (image for images in visits.values() for image in images):
            row = self.tables.sessions.get(image.key)
            if image.group:
                said.setdefault(image.group, image.path)
            if row is not None and row["group"]:
                said.setdefault(row["group"], row.where)
        unknown = [group for group in said if group not in self.options.groups]
        if unknown:
            problem = f"the group is {unknown[0]!r}, expected {' or '.join(self.options.groups)}"
            where = said[unknown[0]]
            raise InputError(where, problem, "correct it", code="unknown-code")
        if len(said) > 1:
            problem = f"names and tables of miriad_{subject} say {' and '.join(sorted(said))}"
            fix = "find out which is right; a subject has one group"
            raise InputError(min(said.values()), problem, fix, code="group-conflict")
        return next(iter(said.items()), ("", ""))

    def _sex(self, subject: str, visits: Mapping[int, list[NamedImage]]) -> str:
        """M or F; empty, with a warning, where names and tables differ."""
        codes = {"m": "M", "male": "M", "f": "F", "female": "F"}
        images = [image for images in visits.values() for image in images]
        rows = [self.tables.sessions.get(image.key) for image in images]
        texts = [image.sex for image in images] + [row["sex"] for row in rows if row is not None]
        if subject in self.tables.subjects:
            texts.append(self.tables.subjects[subject]["sex"])
        said = {codes.get(text.lower(), text) for text in texts if text}
        if len(said) <= 1 and said <= {"M", "F"}:
            return next(iter(said), "")
        problem = f"names and tables of miriad_{subject} say {' and '.join(sorted(said))}"
        fix = "correct the table; the field is left empty"
        self.collector.note("sex-conflict", "warning", images[0].path, problem, fix)
        return ""

    def _row(
        self,
        subject: str,
        visit: int,
        images: list[NamedImage],
        group: tuple[str, str],
        sex: str,
    ) -> dict[str, str]:
        values = SessionValues(MIRIAD, self.collector.findings)
        self._take_age(values, images)
        for row in self.tables.clinical.get((subject, visit), ()):
            values.take("mmse", row.cell("mmse"))
            values.take("cdr_global", row.cell("cdr"))
        if subject in self.tables.subjects:
            person = self.tables.subjects[subject]
            values.take("education_years", person.cell("education"))
            values.take("ses", person.cell("ses"))
        written, _ = group
        return values.row(
            participant_id=f"MIRIAD-miriad_{subject}",
            session_id=f"miriad_{subject}_{visit:02d}",
            visit_code=f"{visit:02d}",
            sex=sex,
            diagnosis=self.options.groups.get(written, ""),
            diagnosis_source=f"Group={written}" if written else "",
            label_defined_by=LABEL_DEFINED_BY,
            field_strength_t=FIELD_STRENGTH,
        )

    def _take_age(self, values: SessionValues, images: list[NamedImage]) -> None:
        for image in images:
            row = self.tables.sessions.get(image.key)
            if row is not None:
                values.take("age", row.cell("age"))
                continue
            problem = f"no table has a row for {label_of(image.key)}, so its age is not known"
            self.collector.note("no-table-row", "warning", image.path, problem, "add the row")


def _add_days(rows: list[dict[str, str]]) -> None:
    """Days since the first visit from the ages; an age in whole years or tenths is too coarse."""
    ages = [(row, float(row["age"])) for row in rows if row["age"]]
    if not any(len(row["age"].partition(".")[2]) > 1 for row, _ in ages):
        return
    first = min(age for _, age in ages)
    for row, age in ages:
        row["days_from_baseline"] = str(round((age - first) * _DAYS_A_YEAR))
