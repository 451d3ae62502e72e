"""Read AIBL's imaging subset as LONI delivers it: its tables and the image tree."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field
from datetime import date
from pathlib import Path

from medblip.cohorts.aibl_options import AiblOptions
from medblip.cohorts.aibl_rows import SessionFacts, session_row
from medblip.cohorts.aibl_tables import Person, read_people
from medblip.cohorts.collecting import Collector
from medblip.cohorts.dataset import DataSet
from medblip.cohorts.loni_images import list_download, note_unread_tables
from medblip.cohorts.loni_names import LoniImage
from medblip.cohorts.loni_placing import (
    Placed,
    as_image,
    is_t1,
    note_no_visit,
    note_other_days,
    note_unscanned,
    within_window,
)
from medblip.cohorts.loni_series import is_repeat
from medblip.cohorts.loni_tables import rid_number
from medblip.cohorts.visits import nearest_visit
from medblip.errors import InputError

_SUBJECT = re.compile(r"[0-9]{1,4}")
_SAGITTAL = re.compile(r"SAG_?ISO", re.IGNORECASE)  # not ADNI's protocol, not in the tables


def read_aibl(
    root: Path, *, encoding: str = "utf-8-sig", options: AiblOptions | None = None
) -> DataSet:
    """Read an AIBL download; no image is opened.

    A session is a visit. A scan belongs to the visit under which a table of scans lists its day,
    else, flagged, to the nearest one. Its label is ``DXCURREN`` of that visit and of no other;
    dementia that is not Alzheimer's is not told apart.

    Args:
        root: folder with the tables (``aibl_pdxconv_*.csv`` at least) and the image tree, anywhere
            below it.
        encoding: of the tables.
        options: settings, among them what no source confirms.

    Raises:
        InputError: there is no such folder, no table of diagnoses, or a table is broken.
    """
    settings = options or AiblOptions()
    collector = Collector(root, "AIBL", facts=[asdict(settings)])
    download = list_download(collector)
    people = read_people(collector, download.tables, encoding)
    reader = _Reader(collector, people, settings)
    for image in download.images:
        reader.place(image)
    reader.add_sessions()
    note_unread_tables(collector, download.tables)
    return collector.finish()


@dataclass
class _Reader:
    collector: Collector
    people: dict[int, Person]
    options: AiblOptions
    sessions: dict[int, dict[str, list[Placed]]] = field(default_factory=dict)

    def place(self, image: LoniImage) -> None:
        """Find person and session of one image, or note or refuse it."""
        if image.subject in self.options.junk_folders:
            problem = f"the folder {image.subject} is no subject's; not read"
            self.collector.note("junk-folder", "note", image.where, problem)
            return
        try:
            if not is_t1(self.collector, image, self.options.t1_series):
                return
            person = self._person_of(image)
            session, placed = self._session_of(image, person)
        except InputError as error:
            self.collector.refuse([image.where], error)
            return
        self.sessions.setdefault(person.rid, {}).setdefault(session, []).append(placed)

    def add_sessions(self) -> None:
        """Add each person's sessions by day, then note the visits without an image."""
        for rid, sessions in sorted(self.sessions.items()):
            person = self.people[rid]
            scans = [placed.day for images in sessions.values() for placed in images if placed.day]
            first_day = min([*scans, *(day for day, _ in person.dated())])
            for images in sessions.values():
                images.sort(key=_preference)
            for session, images in sorted(sessions.items(), key=lambda pair: str(pair[1][0].day)):
                self._add(person, session, images, first_day)
        note_unscanned(self.collector, self.people, self.sessions)

    def _person_of(self, image: LoniImage) -> Person:
        rid = rid_number(image.subject) if _SUBJECT.fullmatch(image.subject) else None
        if rid is None:
            problem = f"the subject's folder is {image.subject!r}, expected one to four digits"
            fix = "keep the folders as they were downloaded"
            raise InputError(image.where, problem, fix, code="bad-id")
        if rid not in self.people:
            problem = f"no table has a row for RID {rid}"
            raise InputError(image.where, problem, "update the tables", code="scan-without-row")
        return self.people[rid]

    def _session_of(self, image: LoniImage, person: Person) -> tuple[str, Placed]:
        """The visit whose scans the tables list on that day, else the nearest, else the day."""
        if image.day is None:
            problem = "its folders do not say when it was made"
            fix = "keep the folders as they were downloaded"
            raise InputError(image.where, problem, fix, code="no-scan-date")
        for visit in person.visits.values():
            strengths = {tesla for day, tesla in visit.scans if day == image.day}
            if strengths:
                tesla = strengths.pop() if len(strengths) == 1 else ""
                return visit.code, Placed(image, image.day, tesla)
        match = nearest_visit(image.day, person.dated(), window=self.options.window_days)
        if match is None:
            return image.day.isoformat(), Placed(image, image.day, "")
        nearest = f"{match.visit.code} is the nearest visit, {match.days:+d} days away"
        problem = f"no table lists a scan of that day; {nearest}"
        self.collector.note("visit-by-date", "note", image.where, problem)
        return match.visit.code, Placed(image, image.day, "")

    def _add(self, person: Person, session: str, images: list[Placed], first_day: date) -> None:
        first, window = images[0], self.options.window_days
        named = person.visits.get(session)
        if named is None:
            note_no_visit(self.collector, first, window)
        visit = within_window(self.collector, named, first, window)
        facts = SessionFacts(session, visit, first.day, first.tesla, first_day)
        try:
            row = session_row(person, facts, self.options, self.collector.findings)
        except InputError as error:
            self.collector.refuse((placed.image.where for placed in images), error)
            return
        if row["age"]:
            problem = "ages are the year of the scan minus that of birth, so right within a year"
            self.collector.note("age-by-year", "note", "aibl_ptdemog_*.csv", problem)
        note_other_days(self.collector, images)
        self.collector.add(row, [as_image(placed.image) for placed in images])


def _preference(placed: Placed) -> tuple[object, ...]:
    """Sorts the primary image of a session first: ADNI's protocol, no repeat, the earliest."""
    image = placed.image
    other_protocol = bool(_SAGITTAL.search(image.series))
    # Of one image in two formats the slices go first: they hold its orientation as scanned.
    last = (int(image.image_id), image.format != "dicom")
    return other_protocol, is_repeat(image.series), image.day, *last
