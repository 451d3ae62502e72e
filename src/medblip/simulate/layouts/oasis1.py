"""OASIS-1 as it is downloaded: discs with raw runs, their average and registered copies."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from medblip.simulate.image_files import SIMULATED, AnalyzePair, NiftiFile
from medblip.simulate.layouts.delivery import Delivery, Order
from medblip.simulate.layouts.oasis import (
    ATLAS,
    AVERAGED,
    FEMALE,
    MASKED,
    STATUS_CDR,
    fields,
    pair,
    raw_run,
    volumes,
)
from medblip.simulate.people import Person, Population, Visit, draw_people, draw_some
from medblip.simulate.pictures import acquisition, protocol
from medblip.simulate.table_files import TableFile
from medblip.simulate.truth import Truth

COLUMNS = ("ID", "M/F", "Hand", "Age", "Educ", "SES", "MMSE", "CDR", "eTIV", "nWBV", "ASF", "Delay")
TABLE = "oasis_cross-sectional-5708aa0a98d82080.xlsx"
RETEST = "oasis_cross-sectional-reliability-063c8642b909ee76.xlsx"

# The paper counts four copies of each of 414 people; 234 of these have a CDR.
IMAGES, RATED = 4 * 414, 4 * 234
_FIRST = 9001  # real identifiers end at 0457
_A_DISC = 40  # sessions on one disc
_LAST_DISC = "oasis_cross-sectional_disc12/disc12"  # sometimes below the archive's own name
_OTHER_FILES = 3  # the average, and two registered images, beside the raw runs

_NEURITE = protocol("Neurite", "LIA", (256, 256, 256), (1.0, 1.0, 1.0), tesla=1.5)
_NEURITE_ATLAS = protocol("Neurite", "LIA", (160, 192, 224), (1.0, 1.0, 1.0), tesla=1.5)


def deliver_oasis1(order: Order) -> Delivery:
    """The tables and images, with their traps."""
    maker = _Maker(Delivery(order, Truth("OASIS1", "cdr_global")))
    for number, person in enumerate(_people(order)):
        maker.session(person, person.visits[0], f"disc{1 + number // _A_DISC}")
    maker.plant(draw_some(_population(order, old=True), "OASIS1-traps", 6, order.seed))
    maker.finish()
    return maker.out


def _population(order: Order, *, old: bool) -> Population:
    return Population(
        name="OASIS1-old" if old else "OASIS1-young",
        images=order.share(RATED if old else IMAGES - RATED),
        female=FEMALE,
        ages=(76, 8, 60, 96) if old else (30, 13, 18, 59),
        statuses={"CN": 134, "AD": 100} if old else {"CN": 1},
        visits=(1.0,),
        schedule=(0,),
        images_of=_files,
        whole=True,
        present={"mmse": 929 / 936, "ses": 216 / 235} if old else {},
        cdr=STATUS_CDR,
    )


def _files(rng: np.random.Generator, visit: int) -> int:
    return int(rng.choice([3, 4])) + _OTHER_FILES


def _people(order: Order) -> list[Person]:
    rated = draw_people(_population(order, old=True), order.seed)
    young = [_unrated(p) for p in draw_people(_population(order, old=False), order.seed)]
    return [*rated, *young]


def _unrated(person: Person) -> Person:
    """Of the young, education, SES, MMSE and CDR were not asked."""
    visits = tuple(replace(visit, scores={}) for visit in person.visits)
    return replace(person, education="", ses="", visits=visits)


def _education_code(years: str) -> str:
    """1 below high school, 2 high school, 3 some college, 4 college, 5 beyond."""
    return str(1 + sum(int(years) > limit for limit in (11, 12, 15, 16))) if years else ""


def _with_runs(person: Person, runs: int) -> Person:
    """The person with so many raw runs and what is made of them."""
    visits = tuple(replace(v, images=runs + _OTHER_FILES) for v in person.visits)
    return replace(person, visits=visits)


class _Maker:
    def __init__(self, out: Delivery) -> None:
        self.out = out
        self.table = TableFile(TABLE, COLUMNS)
        self.retest = TableFile(RETEST, COLUMNS)
        self.count = 0

    def session(self, person: Person, visit: Visit, disc: str, *, trap: str = "") -> str:
        """A person's row and images; the identifier."""
        subject = self.next_subject()
        self.row(person, visit, subject)
        self.scans(person, visit, f"{subject}_MR1", disc, trap=trap)
        return subject

    def next_subject(self) -> str:
        self.count += 1
        return f"OAS1_{_FIRST + self.count - 1:04d}"

    def row(self, person: Person, visit: Visit, subject: str, scan: int = 1, delay: int = 0) -> str:
        """The row of a session; its place."""
        table = self.table if scan == 1 else self.retest
        cells = {
            "ID": f"{subject}_MR{scan}",
            "M/F": person.sex,
            "Hand": "R",
            "Age": str(int(visit.age)),
            "Educ": _education_code(person.education),
            "SES": person.ses,
            "MMSE": visit.scores.get("mmse", ""),
            "CDR": visit.scores.get("cdr_global", ""),
            "Delay": str(delay) if scan > 1 else "N/A",
        }
        return table.put({**cells, **volumes(person, visit)})

    def scans(
        self,
        person: Person,
        visit: Visit,
        session: str,
        disc: str,
        *,
        trap: str = "",
        delay: int = 0,
    ) -> None:
        """A session's images and its truth."""
        folder = f"{disc}/{session}" if disc else session
        images = self.images(person, visit, folder, session)
        self.out.add(*images)
        self.out.text(f"{folder}/{session}.txt", f"SESSION ID: {session}\n{SIMULATED}\n")
        self.truth(
            person,
            visit,
            session,
            [image.path for image in images if not image.labels],
            trap,
            delay,
        )

    def truth(
        self,
        person: Person,
        visit: Visit,
        session: str,
        paths: list[str],
        trap: str,
        delay: int = 0,
    ) -> None:
        subject, _, scan = session.rpartition("_")
        own = {
            "visit_code": scan,
            "days_from_baseline": str(delay),
            "education_code": _education_code(person.education),
        }
        row = {**fields(person, visit), **own}
        self.out.truth.session(subject, session, visit, paths, row, trap=trap)

    def images(self, person: Person, visit: Visit, folder: str, session: str) -> list[AnalyzePair]:
        """The average, the raw runs, the registered images and a label map."""
        scale = self.out.order.scale
        runs = visit.images - _OTHER_FILES
        name = f"{session}_mpr_n{runs}_anon"
        atlas = f"PROCESSED/MPRAGE/T88_111/{name}_111_t88"
        mean = replace(acquisition(person, visit, AVERAGED), averaged=runs)
        upright = replace(mean, protocol=ATLAS, upright=True)
        masked = replace(upright, protocol=MASKED)
        made = [(f"PROCESSED/MPRAGE/SUBJ_111/{name}_sbj_111", mean)]
        made += [
            (f"RAW/{session}_mpr-{run}_anon", raw_run(person, visit, run))
            for run in range(1, runs + 1)
        ]
        made += [(f"{atlas}_gfc", upright), (f"{atlas}_masked_gfc", masked)]
        images = [pair(scan, scale, f"{folder}/{path}.hdr") for path, scan in made]
        labels = f"{folder}/FSL_SEG/{name}_111_t88_masked_gfc_fseg.hdr"
        return [*images, pair(masked, scale, labels, labels=True)]

    def plant(self, people: list[Person]) -> None:
        """One person for each trap; averages of three and of four runs are among them."""
        truth = self.out.truth
        drawn = iter(people)

        young = _unrated(_with_runs(next(drawn), 4))
        young = replace(young, visits=tuple(replace(v, age=22.4) for v in young.visits))
        self.session(young, young.visits[0], _LAST_DISC, trap="blank-cdr")
        path = self.out.truth.scans[-1]["path"]
        truth.plant("blank-cdr", "no-diagnosis", path.split("/RAW")[0].split("/PROCESSED")[0])
        self._again(_with_runs(next(drawn), 3))
        self._lost_half(next(drawn))
        self._without_row(next(drawn))
        self._neurite(next(drawn))
        person = next(drawn)
        where = self.row(person, person.visits[0], self.next_subject())
        truth.plant("row-without-scan", "row-without-scan", where, "warning")
        truth.plant("label-map", "label-map", "images")
        truth.plant("text-beside-scans", "unread-file", "files")

    def _again(self, person: Person) -> None:
        """The re-test session of a person, in a table of its own, in one flat folder."""
        subject = self.session(person, person.visits[0], "", trap="re-test")
        second = replace(person, education="", ses="")
        later = replace(person.visits[0], number=2, scores={})
        self.row(second, later, subject, 2, 41)
        self.scans(second, later, f"{subject}_MR2", "", trap="re-test", delay=41)

    def _lost_half(self, person: Person) -> None:
        """A run whose ``.img`` was not copied."""
        subject, visit = self.next_subject(), person.visits[0]
        self.row(person, visit, subject)
        session = f"{subject}_MR1"
        images = self.images(person, visit, f"{_LAST_DISC}/{session}", session)
        lost = images[2]
        self.out.add(*(replace(image, header_only=image is lost) for image in images))
        kept = [i.path for i in images if i is not lost and not i.labels]
        self.truth(person, visit, session, kept, "lost-half")
        self.out.truth.refused(lost.path, "missing-partner", "lost-half")

    def _without_row(self, person: Person) -> None:
        session = f"{self.next_subject()}_MR1"
        image = self.images(person, person.visits[0], f"{_LAST_DISC}/{session}", session)[1]
        self.out.add(image)
        self.out.truth.refused(image.path, "scan-without-row", "scan-without-row")

    def _neurite(self, person: Person) -> None:
        """The four copies that Neurite-OASIS has of a scan."""
        subject, visit = self.next_subject(), person.visits[0]
        self.row(person, visit, subject)
        folder = f"neurite-oasis.v1.0/OASIS_{subject}_MR1"
        own, atlas = self.out.scaled(_NEURITE), self.out.scaled(_NEURITE_ATLAS)
        paths = []
        for name, shape in (
            ("orig", own), ("aligned_norm", atlas), ("aligned_orig", atlas), ("norm", own),
        ):  # fmt: skip
            stripped = replace(shape.site, skull_stripped=name.endswith("norm"))
            scan = acquisition(person, visit, replace(shape, site=stripped))
            paths.append(f"{folder}/{name}.nii.gz")
            self.out.add(NiftiFile(paths[-1], replace(scan, upright=name.startswith("aligned"))))
        self.truth(person, visit, f"{subject}_MR1", paths, "neurite-copies")
        self.out.truth.plant("neurite-copies", "unverified-neurite-kind", folder)

    def finish(self) -> None:
        self.out.tables(self.table, self.retest)
