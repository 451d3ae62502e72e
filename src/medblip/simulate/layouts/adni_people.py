"""Whom ADNI follows: phases of enrolment, identifiers, visits and what each phase scans with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date, timedelta

import numpy as np

from medblip.simulate.layouts.delivery import Order
from medblip.simulate.people import DAYS_A_YEAR, Person, Population, Visit
from medblip.simulate.pictures import protocol
from medblip.simulate.truth import number

IMAGES = 10387
SCALED = "MPR__GradWarp__B1_Correction__N3__Scaled"
MONTHS = (0, 6, 12, 24, 36, 48)
DAYS_A_MONTH = 30.44

# Typical of the phases; the download's own matrices vary by scanner.
ADNI1 = protocol("1.5T", "PIR", (256, 256, 166), (0.9375, 0.9375, 1.2), tesla=1.5, noise=0.045)
ADNI2 = protocol("3T", "PIR", (256, 256, 170), (1.0, 1.0, 1.2), gamma=0.92, noise=0.035)
ADNI3 = protocol("3T-fast", "PIL", (240, 256, 208), (1.0, 1.0, 1.0), gamma=0.9, noise=0.035)
PROTOCOLS = {"ADNI1": ADNI1, "ADNIGO": ADNI2, "ADNI2": ADNI2, "ADNI3": ADNI3, "ADNI4": ADNI3}
PROCESSED = replace(ADNI1, site=replace(ADNI1.site, axcodes="RPI"))
SERIES = {"ADNI3": "Accelerated_Sagittal_MPRAGE", "ADNI4": "Sagittal_3D_Accelerated_MPRAGE"}

# Highest RID of each phase, dealt downwards: real numbers of a phase start at its lowest.
LAST_RID = {"ADNI1": 1999, "ADNIGO": 2999, "ADNI2": 5999, "ADNI3": 9999, "ADNI4": 99999}
PHASES: Mapping[str, float] = {
    "ADNI1": 0.36,
    "ADNIGO": 0.05,
    "ADNI2": 0.36,
    "ADNI3": 0.16,
    "ADNI4": 0.07,
}


def population(order: Order) -> Population:
    return Population(
        name="ADNI",
        images=order.share(IMAGES),
        female=4710 / IMAGES,
        ages=(73.5, 7.0, 55, 90),
        statuses={"CN": 4760, "MCI": 5088, "AD": 2355},
        visits=(0.15, 0.20, 0.25, 0.20, 0.12, 0.08),
        schedule=tuple(round(month * DAYS_A_MONTH) for month in MONTHS),
        images_of=_images,
        present={
            "education": 9860 / IMAGES,
            "mmse": 9385 / IMAGES,
            "cdr": 9401 / IMAGES,
            "lm": 7189 / IMAGES,
        },
    )


def _images(rng: np.random.Generator, visit: int) -> int:
    return 1 + int(rng.choice(3, p=(0.62, 0.28, 0.10)))


def visit_code(visit: Visit) -> str:
    month = MONTHS[visit.number - 1]
    return f"m{month:02d}" if month else "bl"


@dataclass(frozen=True)
class Subject:
    """A person with the identifiers of the study.

    Attributes:
        person: whom.
        phase: of enrolment.
        rid: number; part of the PTID.
    """

    person: Person
    phase: str
    rid: int

    @property
    def ptid(self) -> str:
        return f"99{self.rid % 10}_S_{self.rid:04d}"

    @property
    def in_merge(self) -> bool:
        """ADNIMERGE does not cover ADNI4."""
        return self.phase != "ADNI4"

    @property
    def sex(self) -> str:
        return {"F": "Female", "M": "Male"}[self.person.sex]

    @property
    def group(self) -> str:
        """Research group at enrolment."""
        status = self.person.visits[0].status
        mild = self.phase == "ADNIGO" or (self.phase == "ADNI2" and self.rid % 2 == 0)
        return ("EMCI" if mild else "LMCI") if status == "MCI" else status

    @property
    def absent(self) -> str:
        """How this phase writes a score that was not collected."""
        return "-1" if self.phase == "ADNI1" else "-4"

    def scan_day(self, visit: Visit) -> date:
        """Within two weeks of the examination; at baseline before it."""
        days = 1 + (self.person.number * 7 + visit.number * 3) % 14
        return visit.day + timedelta(days=-days if visit.number == 1 else days)


def age_at(subject: Subject, day: date) -> str:
    """ADNIMERGE's age at baseline and the time since then; without it, by the year of birth."""
    first = subject.person.visits[0]
    if not subject.in_merge:
        return str(day.year - (first.day.year - int(first.age)))
    return number(float(f"{first.age:.1f}") + (day - first.day).days / DAYS_A_YEAR)
