"""MIRIAD as it is exported from XNAT: back-to-back scans of one scanner, tables without dates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from medblip.simulate.image_files import NiftiFile, ZipOfFiles
from medblip.simulate.layouts.delivery import Delivery, Order
from medblip.simulate.people import Person, Population, Visit, draw_people, draw_some
from medblip.simulate.pictures import acquisition, protocol
from medblip.simulate.table_files import TableFile
from medblip.simulate.truth import Truth, number

SCANS = TableFile("miriad_mr_sessions.csv", ("MR ID", "Subject", "M/F", "Age", "Group"))
CLINICAL = TableFile("miriad_clinical.csv", ("Label", "Subject", "MMSE", "CDR"))
SUBJECTS = TableFile(
    "miriad_subjects.csv",
    ("Subject", "Gender", "Hand", "YOB", "Education", "Ses", "MR Count"),
)
SIGNA = protocol(
    "Signa", "LSP", (256, 256, 124), (0.9375, 0.9375, 1.5), tesla=1.5, noise=0.04, intensity=900.0
)
WEEKS = (0, 2, 6, 14, 26, 38, 52, 78, 104, 130)
TWICE = (1, 3, 6)  # visits at weeks 0, 6 and 38 have two scans back to back
_FIRST = 999  # downwards: real numbers are lower
_GROUPS = {"AD": "AD", "CN": "HC"}
_DAYS_A_YEAR = 365.25


def deliver_miriad(order: Order) -> Delivery:
    """The exports and images, with their traps."""
    maker = _Maker(Delivery(order, Truth("MIRIAD", "cdr_global")))
    for person in draw_people(_population(order), order.seed):
        maker.person(person)
    kind = replace(_population(order), statuses={"CN": 1, "AD": 1})
    maker.plant(draw_some(kind, "MIRIAD-traps", 5, order.seed))
    maker.out.tables(maker.scans, maker.clinical, maker.subjects)
    return maker.out


def _population(order: Order) -> Population:
    visits = (0.02, 0.03, 0.05, 0.05, 0.10, 0.15, 0.30, 0.20, 0.10)
    return Population(
        name="MIRIAD",
        images=order.share(708),
        female=393 / 708,
        ages=(69.5, 7.0, 55, 85),
        statuses={"AD": 46, "CN": 23},
        visits=visits,
        schedule=tuple(7 * week for week in WEEKS),
        jitter=3,
        images_of=_runs,
        present={"mmse": 268 / 708},
        converts=False,
    )


def _runs(rng: np.random.Generator, visit: int) -> int:
    return 2 if visit in TWICE else 1


class _Maker:
    def __init__(self, out: Delivery) -> None:
        self.out = out
        self.scans, self.clinical, self.subjects = (
            TableFile(t.path, t.columns) for t in (SCANS, CLINICAL, SUBJECTS)
        )
        self.count = 0

    def person(self, person: Person, *, trap: str = "", packed: bool = False) -> int:
        """A person's rows and images; the number.

        Args:
            person: whom.
            trap: what is planted.
            packed: whether the images lie in a zip of XNAT's.
        """
        subject = self.next_subject()
        files: list[NiftiFile] = []
        for visit in person.visits:
            paths = []
            for run in range(1, visit.images + 1):
                self.row(person, visit, subject, run)
                stem = stem_of(person, subject, visit.number, run)
                path = f"{stem}/{stem}.nii"
                if packed:
                    label = label_of(subject, visit.number, run)
                    path = f"{label}/scans/1/resources/NIFTI/files/{stem}.nii"
                scan = acquisition(person, visit, self.out.scaled(SIGNA), run)
                files.append(NiftiFile(path, scan))
                paths.append(f"miriad_{subject}.zip/{path}" if packed else path)
            self._record(person, visit, subject)
            self._truth(person, visit, subject, paths, trap)
        self._subject(person, subject)
        if packed:
            self.out.add(ZipOfFiles(f"miriad_{subject}.zip", tuple(files)))
        else:
            self.out.add(*files)
        return subject

    def next_subject(self) -> int:
        self.count += 1
        return _FIRST + 1 - self.count

    def row(self, person: Person, visit: Visit, subject: int, run: int) -> str:
        """A row of the table of MR sessions; its place."""
        return self.scans.put(
            {
                "MR ID": label_of(subject, visit.number, run),
                "Subject": f"miriad_{subject}",
                "M/F": person.sex,
                "Age": f"{visit.age:.2f}",
                "Group": _GROUPS[person.visits[0].status],
            }
        )

    def _record(self, person: Person, visit: Visit, subject: int) -> None:
        mmse, cdr = visit.scores.get("mmse", ""), _cdr(person, visit)
        if mmse or cdr:
            label = f"miriad_{subject}_{visit.number}_MMSE"
            row = {"Label": label, "Subject": f"miriad_{subject}", "MMSE": mmse, "CDR": cdr}
            self.clinical.put(row)

    def _subject(self, person: Person, subject: int) -> None:
        """Hand, year of birth, education and SES are blank in the exports."""
        sex = {"F": "female", "M": "male"}[person.sex]
        row = {"Subject": f"miriad_{subject}", "Gender": sex, "MR Count": str(person.images)}
        self.subjects.put(row)

    def _truth(
        self, person: Person, visit: Visit, subject: int, paths: Sequence[str], trap: str
    ) -> None:
        group = _GROUPS[person.visits[0].status]
        row = {
            "visit_code": f"{visit.number:02d}",
            "days_from_baseline": _days(person, visit),
            "age": number(visit.age, 2),
            "sex": person.sex,
            "mmse": visit.scores.get("mmse", ""),
            "cdr_global": _cdr(person, visit),
            "diagnosis": {"AD": "AD", "HC": "NC"}[group],
            "diagnosis_source": f"Group={group}",
            "field_strength_t": "1.5",
        }
        session = f"miriad_{subject}_{visit.number:02d}"
        self.out.truth.session(f"miriad_{subject}", session, visit, paths, row, trap=trap)

    def plant(self, people: list[Person]) -> None:
        """Traps; the people alternate between controls and patients."""
        truth = self.out.truth
        control, patient, packed, lost, absent = people[:5]
        self.person(_first_visits(control, 1), trap="control-with-high-number")
        self.person(_tenth_visit(patient), trap="tenth-visit")
        subject = self.person(_first_visits(packed, 1), trap="xnat-zip", packed=True)
        name = f"miriad_{subject}_XX_F_01_MR_1.nii"
        scan = acquisition(lost, lost.visits[0], self.out.scaled(SIGNA))
        self.out.add(NiftiFile(name, scan))
        truth.refused(name, "unknown-name", "unknown-name")
        where = self.row(absent, absent.visits[0], self.next_subject(), 1)
        truth.plant("row-without-scan", "row-without-scan", where, "warning")
        for table in (self.scans, self.clinical, self.subjects):
            truth.plant("unverified-columns", "unverified-columns", table.path)


def label_of(subject: int, visit: int, run: int) -> str:
    """The XNAT label: no group, no sex, no padding."""
    return f"miriad_{subject}_{visit}_MR_{run}"


def stem_of(person: Person, subject: int, visit: int, run: int) -> str:
    """The name of an image file."""
    group = _GROUPS[person.visits[0].status]
    return f"miriad_{subject}_{group}_{person.sex}_{visit:02d}_MR_{run}"


def _cdr(person: Person, visit: Visit) -> str:
    """Of the patients, at screening only."""
    ill = person.visits[0].status == "AD" and visit.number == 1
    return visit.scores.get("cdr_global", "") if ill else ""


def _days(person: Person, visit: Visit) -> str:
    """From ages with two decimals, the only time axis; none where these happen to be tenths."""
    ages = [number(v.age, 2) for v in person.visits]
    if not any(len(age.partition(".")[2]) > 1 for age in ages):
        return ""
    first = min(float(age) for age in ages)
    return str(round((float(number(visit.age, 2)) - first) * _DAYS_A_YEAR))


def _first_visits(person: Person, count: int) -> Person:
    return replace(person, visits=person.visits[:count])


def _tenth_visit(person: Person) -> Person:
    """The first visit, and the tenth, without MMSE."""
    first = replace(person.visits[0], scores={**person.visits[0].scores, "mmse": "22"})
    days = 7 * WEEKS[9]
    scores = {k: v for k, v in first.scores.items() if k != "mmse"}
    tenth = replace(first, number=10, age=first.age + days / _DAYS_A_YEAR, scores=scores, images=1)
    return replace(person, visits=(first, tenth))
