"""AIBL's delivery: the people of `aibl`, and one more for each trap of its tables and tree."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta

from medblip.simulate.layouts.aibl import (
    AiblMaker,
    birth_year,
    new_maker,
    one_visit,
    population,
    scan_day,
)
from medblip.simulate.layouts.delivery import Delivery, Order
from medblip.simulate.people import Person, draw_people, draw_some

_PEOPLE = 7
_JUNK = "0151083"  # the one folder among the subjects' that is nobody's


def deliver_aibl(order: Order) -> Delivery:
    """The tables and the image tree, with their traps."""
    maker = new_maker(order)
    for person in draw_people(population(order), order.seed):
        maker.add(person)
    traps = draw_some(population(order), "AIBL-traps", _PEOPLE, order.seed)
    _Traps(maker, iter(traps)).plant()
    ragged = maker.tables.pop("flutemeta")
    maker.out.tables(*maker.tables.values())
    last = len(ragged.rows) - 1
    maker.out.add(ragged.file(surplus={last: "repeated, see notes"}))
    where = f"{ragged.path} line {last + 2}"
    maker.out.truth.plant("comma-row", "ragged-row", where, "error")
    return maker.out


@dataclass
class _Traps:
    make: AiblMaker
    people: Iterator[Person]

    def plant(self) -> None:
        self._undated()
        self._sagittal()
        self._unclear_code()
        self._missing_codes()
        self._repeat()
        self._odd_series()
        self._left_out()

    def _next(self) -> tuple[int, Person]:
        return self.make.next_rid(), one_visit(next(self.people))

    def _undated(self) -> None:
        """Tests of the day -4: the scan's day is the visit's; the MMSE is 0, which is valid."""
        rid, person = self._next()
        first = person.visits[0]
        visit = replace(first, scores={**first.scores, "mmse": "0"})
        person = replace(person, visits=(visit,))
        self.make.demographics(rid, person)
        self.make.rows(rid, person, visit, dated=False)
        paths = self.make.images(rid, person, visit)
        day = scan_day(person, visit).isoformat()
        same = {"clinical_date": day, "match_days": "0", "days_from_baseline": "0"}
        self.make.session(rid, person, visit, paths, "day-minus-4", **same)

    def _sagittal(self) -> None:
        """A series that the tables of scans do not list is placed by its day."""
        rid, person = self._next()
        visit = person.visits[0]
        self.make.demographics(rid, person)
        self.make.rows(rid, person, visit)
        series = "MPRAGE_SAG_ISO_p2_ND"
        path = self.make.image(rid, person, visit, series, days=40)
        self.make.out.truth.plant("sagittal-series", "visit-by-date", path)
        day = scan_day(person, visit) + timedelta(days=40)
        self.make.session(
            rid,
            person,
            visit,
            [path],
            "sagittal-series",
            scan_date=day.isoformat(),
            days_from_baseline=str((day - visit.day).days),
            match_days=str((day - visit.day).days),
            age=str(day.year - birth_year(person)),
            field_strength_t="",
        )

    def _unclear_code(self) -> None:
        """DXCURREN 7, whose meaning nobody tells."""
        rid, person = self._next()
        visit = person.visits[0]
        self.make.demographics(rid, person)
        self.make.rows(rid, person, visit)
        table = self.make.tables["pdxconv"]
        table.rows[-1]["DXCURREN"] = "7"
        where = f"{table.path} line {len(table.rows) + 1}"
        self.make.out.truth.plant("unclear-code", "unverified-diagnosis", where)
        blank = {"diagnosis": "", "diagnosis_source": "", "missing_codes": "diagnosis=7"}
        paths = self.make.images(rid, person, visit)
        self.make.session(rid, person, visit, paths, "unclear-code", **blank)

    def _missing_codes(self) -> None:
        person = one_visit(next(self.people))
        visit = replace(person.visits[0], scores={"diagnosis": person.visits[0].status})
        self.make.add(replace(person, visits=(visit,)), trap="missing-codes")

    def _repeat(self) -> None:
        """A scan and its repeat on one day."""
        person = one_visit(next(self.people))
        twice = replace(person.visits[0], images=2)
        self.make.add(replace(person, visits=(twice,)), trap="repeat")

    def _odd_series(self) -> None:
        """A FLAIR beside the T1, and a folder that is no subject's."""
        make, truth = self.make, self.make.out.truth
        person = one_visit(next(self.people))
        rid, visit = make.add(person, trap="odd-series"), person.visits[0]
        path = make.image(rid, person, visit, "AXIAL_FLAIR", 2)
        truth.plant("odd-series", "other-series", path)
        day = scan_day(person, visit)
        scan, image = make.scan(person, visit, 3), make.tree.next_image()
        junk = make.tree.dicom(_JUNK, "MPRAGE", day, scan, image)
        truth.plant("junk-folder", "junk-folder", junk)

    def _left_out(self) -> None:
        """A scan of nobody."""
        rid, person = self._next()
        path = self.make.image(rid, person, person.visits[0], "MPRAGE")
        self.make.out.truth.refused(path, "scan-without-row", "scan-without-row")
