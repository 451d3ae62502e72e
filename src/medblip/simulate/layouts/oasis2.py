"""OASIS-2 as it is downloaded: raw runs of people scanned every year or two."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from medblip.simulate.image_files import AnalyzePair
from medblip.simulate.layouts.delivery import Delivery, Order
from medblip.simulate.layouts.oasis import FEMALE, STATUS_CDR, fields, pair, raw_run, volumes
from medblip.simulate.people import Person, Population, Visit, draw_people, draw_some
from medblip.simulate.table_files import TableFile
from medblip.simulate.truth import Truth

COLUMNS = (
    *("Subject ID", "MRI ID", "Group", "Visit", "MR Delay", "M/F", "Hand", "Age", "EDUC", "SES"),
    *("MMSE", "CDR", "eTIV", "nWBV", "ASF"),
)
TABLE = "oasis_longitudinal_demographics-8d83e569fa2e2d30.xlsx"
IMAGES = 3020 - 4 * 414
_FIRST = 9001  # real identifiers end below 0200


def deliver_oasis2(order: Order) -> Delivery:
    """The table and images, with their traps."""
    maker = _Maker(Delivery(order, Truth("OASIS2", "cdr_global")))
    people = draw_people(_population(order), order.seed)
    for person in people:
        maker.person(person, f"OAS2_RAW_PART{1 + (2 * person.number > len(people) + 1)}")
    maker.plant(draw_some(_population(order), "OASIS2-traps", 5, order.seed))
    maker.out.tables(maker.table)
    return maker.out


def _population(order: Order) -> Population:
    return Population(
        name="OASIS2",
        images=order.share(IMAGES),
        female=FEMALE,
        ages=(75.5, 7.5, 60, 94),
        statuses={"CN": 86, "AD": 64},
        visits=(0.05, 0.55, 0.30, 0.06, 0.04),
        schedule=(0, 700, 1400, 2000, 2500),
        jitter=150,
        images_of=_runs,
        present={"ses": 354 / 373, "mmse": 371 / 373},
        cdr=STATUS_CDR,
    )


def _runs(rng: np.random.Generator, visit: int) -> int:
    return int(rng.choice([3, 4]))


def _group(person: Person) -> str:
    """Of the whole follow-up: the future is in it."""
    ill = [visit.status != "CN" for visit in person.visits]
    if not any(ill):
        return "Nondemented"
    return "Demented" if all(ill) else "Converted"


class _Maker:
    def __init__(self, out: Delivery) -> None:
        self.out = out
        self.table = TableFile(TABLE, COLUMNS)
        self.count = 0

    def person(
        self, person: Person, part: str, *, trap: str = "", skip: int = 0, copy: str = ""
    ) -> str:
        """A person's rows and images; the identifier.

        Args:
            part: folder of the archive.
            trap: what is planted.
            skip: numbers that are left out after the first scan.
            copy: name under which each session's last run lies there once more.
        """
        subject = self.next_subject()
        for visit in person.visits:
            scan = visit.number + (skip if visit.number > 1 else 0)
            session = f"{subject}_MR{scan}"
            self.row(person, visit, session)
            images = self.images(person, visit, f"{part}/{session}")
            if copy:
                images[-1] = replace(images[-1], also=(f"{part}/{session}/RAW/{copy}",))
            self.out.add(*images)
            own = {
                "visit_code": str(visit.number),
                "days_from_baseline": str(self._delay(person, visit)),
                "education_years": person.education,
                "diagnosis_detail": _group(person),
            }
            row = {**fields(person, visit), **own}
            paths = [image.path for image in images]
            self.out.truth.session(subject, session, visit, paths, row, trap=trap)
        return subject

    def next_subject(self) -> str:
        self.count += 1
        return f"OAS2_{_FIRST + self.count - 1:04d}"

    def row(self, person: Person, visit: Visit, session: str) -> str:
        cells = {
            "Subject ID": session.rpartition("_")[0],
            "MRI ID": session,
            "Group": _group(person),
            "Visit": str(visit.number),
            "MR Delay": str(self._delay(person, visit)),
            "M/F": person.sex,
            "Hand": "R",
            "Age": str(int(visit.age)),
            "EDUC": person.education,
            "SES": person.ses,
            "MMSE": visit.scores.get("mmse", ""),
            "CDR": visit.scores.get("cdr_global", ""),
        }
        return self.table.put({**cells, **volumes(person, visit)})

    def images(self, person: Person, visit: Visit, folder: str) -> list[AnalyzePair]:
        return [
            pair(
                raw_run(person, visit, run),
                self.out.order.scale,
                f"{folder}/RAW/mpr-{run}.nifti.hdr",
            )
            for run in range(1, visit.images + 1)
        ]

    @staticmethod
    def _delay(person: Person, visit: Visit) -> int:
        return (visit.day - person.visits[0].day).days

    def plant(self, people: list[Person]) -> None:
        """One person for each trap."""
        truth, drawn = self.out.truth, iter(people)
        part = "OAS2_RAW_PART2"

        self.person(_converter(next(drawn)), part, trap="converter")
        person = next(drawn)
        self.person(replace(person, ses="", visits=person.visits[:1]), part, trap="blank-ses")
        odd = _two_visits(next(drawn))
        self.person(odd, part, trap="scan-number-is-not-visit", skip=1)
        truth.plant(
            "scan-number-is-not-visit",
            "unverified-visit-number",
            f"{TABLE} line {len(self.table.rows) + 1}",
        )
        self._strays(next(drawn), part)
        person = next(drawn)
        where = self.row(person, person.visits[0], f"{self.next_subject()}_MR1")
        truth.plant("row-without-scan", "row-without-scan", where, "warning")

    def _strays(self, person: Person, part: str) -> None:
        """A run that lies there twice under another name, and a scan of no known run."""
        name = "3906-3.nift.hdr"
        person = replace(person, visits=person.visits[:1])
        subject = self.person(person, part, trap="stray-copy", copy=name)
        folder = f"{part}/{subject}_MR1/RAW"
        self.out.truth.plant("stray-copy", "same-file-twice", f"{folder}/{name}")
        path = f"{folder}/5512-1.nift.hdr"
        self.out.add(pair(raw_run(person, person.visits[0], 9), self.out.order.scale, path))
        self.out.truth.refused(path, "stray-file", "stray-file")


def _two_visits(person: Person) -> Person:
    """The first visit and one 400 days later, with one run each."""
    first = replace(person.visits[0], images=1)
    later = replace(first, number=2, day=first.day.fromordinal(first.day.toordinal() + 400))
    return replace(person, visits=(first, replace(later, age=first.age + 400 / 365.25)))


def _converter(person: Person) -> Person:
    """Well at the first visit, demented at the second."""
    first, later = _two_visits(person).visits
    scores = {**later.scores, "cdr_global": "0.5", "cdr_sb": "3", "mmse": "25"}
    ill = replace(later, status="AD", severity=later.severity + 2.0, scores=scores)
    return replace(person, visits=(first, ill))
