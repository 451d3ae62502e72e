"""Which person and session an ADNI image belongs to, by its folders and the lists of images."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date

from medblip.cohorts.adni_codes import SCREENING
from medblip.cohorts.adni_image_tables import ImageFacts
from medblip.cohorts.adni_options import AdniOptions
from medblip.cohorts.adni_visits import Person, rid_of_ptid
from medblip.cohorts.collecting import Collector
from medblip.cohorts.loni_names import LoniImage
from medblip.cohorts.loni_placing import Placed, is_t1
from medblip.cohorts.loni_tables import BASELINE
from medblip.cohorts.visits import nearest_visit
from medblip.errors import InputError

_FIVE_DIGITS = 10_000  # RIDs from here on are ADNI4's


@dataclass
class Placing:
    """Places images one by one; one that has no place is refused and never stops the others.

    Attributes:
        collector: where findings go.
        people: by RID.
        facts: of the lists, by image number.
        options: settings.
        sessions: images by RID and session id, in the order they came.
    """

    collector: Collector
    people: dict[int, Person]
    facts: dict[str, ImageFacts]
    options: AdniOptions
    sessions: dict[int, dict[str, list[Placed]]] = field(default_factory=dict)
    _by_day: dict[str, list[LoniImage]] = field(default_factory=dict)

    def add(self, image: LoniImage) -> None:
        """Find person and session of one image, or note or refuse it."""
        try:
            if not is_t1(self.collector, image, self.options.t1_series):
                return
            person = self._person_of(image)
            facts = self._facts_of(image)
            day = image.day or (facts.day if facts else None)
            session = self._session_of(image, day, facts, person)
        except InputError as error:
            self.collector.refuse([image.where], error)
            return
        self.sessions.setdefault(person.rid, {}).setdefault(session, []).append(
            Placed(image, day, facts.tesla if facts else "")
        )

    def finish(self) -> None:
        """Note once what holds for many images."""
        for name, images in sorted(self._by_day.items()):
            said = f"call their visit {name!r}" if name else "do not name their visit"
            problem = f"the lists of images {said}: {len(images)} image(s) placed by their days"
            self.collector.note("visit-by-date", "note", images[0].where, problem)
        new = [rid for rid in self.sessions if rid >= _FIVE_DIGITS]
        if new:
            first = next(iter(self.sessions[new[0]].values()))[0].image
            problem = f"{len(new)} subject(s) have a PTID of five digits, a form no source confirms"
            self.collector.note("unverified-id", "note", first.where, problem)

    def _person_of(self, image: LoniImage) -> Person:
        rid = rid_of_ptid(image.subject, self.options)
        if rid is None:
            problem = f"the subject's folder is {image.subject!r}, expected e.g. 123_S_4567"
            fix = "keep the folders as they were downloaded"
            raise InputError(image.where, problem, fix, code="bad-id")
        person = self.people.get(rid)
        if person is None:
            problem = f"no table has a row for {image.subject}"
            raise InputError(image.where, problem, "update the tables", code="scan-without-row")
        if person.ptid and person.ptid != image.subject:
            problem = f"the folder is {image.subject}, but the tables call RID {rid} {person.ptid}"
            raise InputError(image.where, problem, "correct one of them", code="id-mismatch")
        person.ptid = image.subject
        return person

    def _facts_of(self, image: LoniImage) -> ImageFacts | None:
        facts = self.facts.get(image.image_id)
        if facts is not None and facts.subject and facts.subject != image.subject:
            problem = f"{facts.where} says the image is of another subject"
            fix = "download the image again"
            raise InputError(image.where, problem, fix, code="id-mismatch")
        if facts is not None and facts.day and image.day and facts.day != image.day:
            problem = f"{facts.where} says {facts.day}, the folder {image.day}, which is used"
            fix = "correct the list, or download the image again"
            self.collector.note("scan-date-differs", "warning", image.where, problem, fix)
        return facts

    def _session_of(
        self, image: LoniImage, day: date | None, facts: ImageFacts | None, person: Person
    ) -> str:
        """The visit's code, or the day of a scan without a visit within the window."""
        if facts is not None and facts.visit:
            return BASELINE if facts.visit in SCREENING else facts.visit
        if day is None:
            problem = "neither its folders nor a list of images say when it was made"
            fix = "keep the folders as they were downloaded, or add MPRAGEMETA"
            raise InputError(image.where, problem, fix, code="no-scan-date")
        self._by_day.setdefault(facts.visit_name if facts else "", []).append(image)
        match = nearest_visit(day, person.dated(), window=self.options.window_days)
        return match.visit.code if match else day.isoformat()
