"""AIBL's imaging subset as LONI delivers it: one table a test, and the image tree."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date, timedelta

import numpy as np

from medblip.simulate.layouts.delivery import Delivery, Order
from medblip.simulate.layouts.loni import LoniTree
from medblip.simulate.people import Person, Population, Visit
from medblip.simulate.pictures import Acquisition, acquisition, protocol
from medblip.simulate.table_files import TableFile
from medblip.simulate.truth import Truth

IMAGES = 1002
MONTHS = (0, 18, 36, 54)
_DAYS_A_MONTH = 30.44
_FIRST_RID = 9001  # four digits at most; real numbers are lower

FOLDER = "Data_extract_3.3.0"
_KEY = ("RID", "SITEID", "VISCODE")
_SCANS = ("EXAMDATE", "MMCONDCT", "MMSMPRAGE", "MMRMPRAGE")
COLUMNS: Mapping[str, tuple[str, ...]] = {
    "pdxconv": ("DXCURREN", "DXMCI", "DXAD", "DXPARK"),
    "mmse": ("EXAMDATE", "MMSCORE"),
    "cdr": ("EXAMDATE", "CDGLOBAL"),
    "neurobat": ("EXAMDATE", "LIMMTOTAL", "LDELTOTAL"),
    "ptdemog": ("PTDOB", "PTGENDER"),
    "apoeres": ("APGEN1", "APGEN2"),
    "mrimeta": _SCANS,
    "mri3meta": _SCANS,
    "flutemeta": ("EXAMDATE",),
    "pibmeta": ("EXAMDATE",),
}
STATUS = {"CN": "1", "MCI": "2", "AD": "3"}
LABEL = {"CN": "NC", "MCI": "MCI", "AD": "AD"}

# The paper gives 160x240x256; the slices of these sagittal scans are the 160.
TRIO = protocol("Trio", "PIL", (240, 256, 160), (1.0, 1.0, 1.2), gamma=0.92, noise=0.035)
AVANTO = protocol("Avanto", "PIL", (240, 256, 160), (1.0, 1.0, 1.2), tesla=1.5, noise=0.045)


def population(order: Order) -> Population:
    return Population(
        name="AIBL",
        images=order.share(IMAGES),
        female=471 / IMAGES,
        ages=(73.0, 7.0, 55, 90),
        statuses={"CN": 768, "MCI": 133, "AD": 211},
        visits=(0.40, 0.30, 0.20, 0.10),
        schedule=tuple(round(month * _DAYS_A_MONTH) for month in MONTHS),
        years=(2007, 2011),
        images_of=_images,
        present={"diagnosis": 997 / IMAGES},
    )


def _images(rng: np.random.Generator, visit: int) -> int:
    return 1 + int(rng.random() < 0.1)


def visit_code(visit: Visit) -> str:
    month = MONTHS[visit.number - 1]
    return f"m{month}" if month else "bl"


def slashed(day: date) -> str:
    return f"{day:%m/%d/%Y}"


@dataclass
class AiblMaker:
    """The download while it grows."""

    out: Delivery
    tables: dict[str, TableFile] = field(default_factory=dict)
    count: int = 0

    def __post_init__(self) -> None:
        self.tree = LoniTree(self.out, joint="__")
        for name, columns in COLUMNS.items():
            path = f"{FOLDER}/aibl_{name}_01-Jun-2018.csv"
            self.tables[name] = TableFile(path, (*_KEY, *columns))

    def add(self, person: Person, *, trap: str = "") -> int:
        """All rows and images of a person, and the truth; the RID."""
        rid = self.next_rid()
        self.demographics(rid, person)
        for visit in person.visits:
            self.rows(rid, person, visit)
            paths = self.images(rid, person, visit)
            self.session(rid, person, visit, paths, trap)
        return rid

    def next_rid(self) -> int:
        self.count += 1
        return _FIRST_RID + self.count - 1

    def put(self, table: str, rid: int, visit: str, **cells: str) -> str:
        """A row of one of `COLUMNS`; its place."""
        key = {"RID": str(rid), "SITEID": site_of(rid), "VISCODE": visit}
        return self.tables[table].put({**key, **cells})

    def demographics(self, rid: int, person: Person) -> None:
        gender = {"M": "1", "F": "2"}[person.sex]
        self.put("ptdemog", rid, "bl", PTDOB=f"/{birth_year(person)}", PTGENDER=gender)
        self.put("apoeres", rid, "bl", APGEN1="3", APGEN2="3")

    def rows(self, rid: int, person: Person, visit: Visit, *, dated: bool = True) -> None:
        """The visit's tests and scan.

        Args:
            rid, person, visit: whose and which.
            dated: whether the tests say their day; if not, it is -4 and the scan's day counts.
        """
        code, scores = visit_code(visit), visit.scores
        day = slashed(visit.day) if dated else "-4"
        status = STATUS[visit.status] if "diagnosis" in scores else "-4"
        more = dict.fromkeys(("DXMCI", "DXAD", "DXPARK"), "-4")
        self.put("pdxconv", rid, code, DXCURREN=status, **more)
        self.put("mmse", rid, code, EXAMDATE=day, MMSCORE=scores.get("mmse", "-4"))
        self.put("cdr", rid, code, EXAMDATE=day, CDGLOBAL=scores.get("cdr_global", "-4"))
        lm = [scores.get(name, "-4") for name in ("lm_immediate", "lm_delayed")]
        self.put("neurobat", rid, code, EXAMDATE=day, LIMMTOTAL=lm[0], LDELTOTAL=lm[1])
        self.put("flutemeta", rid, code, EXAMDATE="-4")
        self.put("pibmeta", rid, code, EXAMDATE=slashed(visit.day + timedelta(days=30)))
        self.scan_row(rid, person, visit)

    def scan_row(self, rid: int, person: Person, visit: Visit) -> None:
        table = "mri3meta" if is_3t(person) else "mrimeta"
        done = {"MMCONDCT": "1", "MMSMPRAGE": "1", "MMRMPRAGE": str(int(visit.images > 1))}
        day = slashed(scan_day(person, visit))
        self.put(table, rid, visit_code(visit), EXAMDATE=day, **done)

    def images(self, rid: int, person: Person, visit: Visit) -> list[str]:
        """An MPRAGE and its repeats; paths, the primary one first."""
        names = ["MPRAGE_ADNI_confirmed", *("MPRAGE_ADNI_confirmed_RPT",) * (visit.images - 1)]
        return [self.image(rid, person, visit, name, run) for run, name in enumerate(names, 1)]

    def image(
        self, rid: int, person: Person, visit: Visit, series: str, run: int = 1, days: int = 0
    ) -> str:
        """One series, ``days`` after the visit's scan; every fourth was downloaded as NIfTI."""
        number, day = self.tree.next_image(), scan_day(person, visit) + timedelta(days=days)
        scan = self.scan(person, visit, run)
        if number % 4 == 0:
            return self.tree.nifti(str(rid), series, day, scan, number, raw=True)
        return self.tree.dicom(str(rid), series, day, scan, number)

    def scan(self, person: Person, visit: Visit, run: int = 1) -> Acquisition:
        used = self.out.scaled(TRIO if is_3t(person) else AVANTO)
        return acquisition(person, visit, used, run)

    def session(
        self,
        rid: int,
        person: Person,
        visit: Visit,
        paths: list[str],
        trap: str = "",
        **changes: str,
    ) -> None:
        """The truth about a visit whose tests are dated, unless ``changes`` say otherwise."""
        day, scores = scan_day(person, visit), visit.scores
        first_day = min(d for v in person.visits for d in (v.day, scan_day(person, v)))
        known = "diagnosis" in scores
        names = ("diagnosis", "mmse", "cdr_global", "lm_immediate", "lm_delayed")
        row = {
            "visit_code": visit_code(visit),
            "scan_date": day.isoformat(),
            "days_from_baseline": str((day - first_day).days),
            "clinical_date": visit.day.isoformat(),
            "match_days": str((day - visit.day).days),
            "age": str(day.year - birth_year(person)),
            "sex": person.sex,
            **{name: scores.get(name, "") for name in names[1:]},
            "diagnosis": LABEL[visit.status] if known else "",
            "diagnosis_source": f"DXCURREN={STATUS[visit.status]}" if known else "",
            "site": site_of(rid),
            "field_strength_t": "3" if is_3t(person) else "1.5",
            "missing_codes": ",".join(f"{name}=-4" for name in names if name not in scores),
        }
        self.out.truth.session(
            str(rid), visit_code(visit), visit, paths, {**row, **changes}, trap=trap
        )


def birth_year(person: Person) -> int:
    first = person.visits[0]
    return first.day.year - int(first.age)


def site_of(rid: int) -> str:
    return str(2 + rid % 2)


def is_3t(person: Person) -> bool:
    return person.number % 3 != 0


def scan_day(person: Person, visit: Visit) -> date:
    """Within three weeks after the tests."""
    return visit.day + timedelta(days=(person.number * 5 + visit.number * 3) % 21)


def one_visit(person: Person) -> Person:
    """The first visit, with one image."""
    return replace(person, visits=(replace(person.visits[0], images=1),))


def new_maker(order: Order) -> AiblMaker:
    return AiblMaker(Delivery(order, Truth("AIBL", "mmse,cdr_global,lm_delayed")))
