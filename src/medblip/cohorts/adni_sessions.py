"""ADNI's placed images as sessions with their rows, the visit that speaks for each, and scans."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from medblip.cohorts.adni_choice import image_kind, preference
from medblip.cohorts.adni_options import AdniOptions
from medblip.cohorts.adni_placing import Placing
from medblip.cohorts.adni_rows import SessionFacts, session_row
from medblip.cohorts.adni_tables import MERGE
from medblip.cohorts.adni_visits import Person, Visit
from medblip.cohorts.collecting import Collector, Image
from medblip.cohorts.loni_placing import (
    Placed,
    as_image,
    note_no_visit,
    note_other_days,
    note_unscanned,
    within_window,
)
from medblip.cohorts.visits import days_after, nearest_visit
from medblip.errors import InputError


@dataclass
class Sessions:
    """Rows with their images, made person by person.

    Attributes:
        collector: where rows, scans and findings go.
        options: settings.
    """

    collector: Collector
    options: AdniOptions

    def add_all(self, placing: Placing) -> None:
        """Add each person's sessions by day, then note the visits without an image."""
        people = sorted(placing.sessions, key=lambda rid: placing.people[rid].ptid)
        for rid in people:
            person, sessions = placing.people[rid], placing.sessions[rid]
            first_day = _first_day(person, sessions)
            made = [self._make(person, *session, first_day) for session in sessions.items()]
            found = [pair for pair in made if pair is not None]
            for row, images in sorted(found, key=lambda p: (p[0]["scan_date"], p[0]["session_id"])):
                self.collector.add(row, images)
        note_unscanned(self.collector, placing.people, placing.sessions)

    def _make(
        self, person: Person, session: str, images: list[Placed], first_day: date | None
    ) -> tuple[dict[str, str], list[Image]] | None:
        """Row and ranked images of one session; None where they had to be refused."""
        phase = next((row["ORIGPROT"] for row in person.rows(MERGE) if row["ORIGPROT"]), "")
        images.sort(key=lambda p: preference(p.image, p.tesla, phase, self.options))
        first = images[0]
        visit, days = self._clinical_visit(person, session, first)
        facts = SessionFacts(session, visit, first.day, days, first.tesla, first_day)
        try:
            row = session_row(person, facts, self.options, self.collector.findings)
        except InputError as error:
            self.collector.refuse((placed.image.where for placed in images), error)
            return None
        note_other_days(self.collector, images)
        return row, [as_image(placed.image, image_kind(placed.image)) for placed in images]

    def _clinical_visit(
        self, person: Person, session: str, first: Placed
    ) -> tuple[Visit | None, str]:
        """The visit that speaks for a session, and scan minus visit in days.

        The session's own visit if it was judged, else the nearest judged one; else the own one.
        """
        window = self.options.window_days
        own = within_window(self.collector, person.visits.get(session), first, window)
        if own is None or not own.is_judged:
            judged = [(day, visit) for day, visit in person.dated() if visit.is_judged]
            match = nearest_visit(first.day, judged, window=window) if first.day else None
            if match is not None:
                lacks = f"{session} has no diagnosis" if own else "the scan has no visit of its own"
                problem = f"{lacks}: {match.visit.code} speaks for it, {match.days:+d} days away"
                self.collector.note("neighbour-visit", "note", first.image.where, problem)
                return match.visit, str(match.days)
        if own is None:
            note_no_visit(self.collector, first, window)
            return None, ""
        return own, days_after(first.day, own.day)


def _first_day(person: Person, sessions: dict[str, list[Placed]]) -> date | None:
    scans = [placed.day for images in sessions.values() for placed in images if placed.day]
    return min([*scans, *(day for day, _ in person.dated())], default=None)
