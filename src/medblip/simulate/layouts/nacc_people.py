"""Whom NACC follows: UDS visits, the scanners of its centres, and why scores are missing."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

import numpy as np

from medblip.simulate.layouts.delivery import Order
from medblip.simulate.people import IMPAIRED, Person, Population, Visit
from medblip.simulate.pictures import Protocol, protocol

IMAGES = 15354

# Centres differ in protocol; these stand for many.
SCANNERS = (
    protocol("GE-1.5T", "LAS", (256, 256, 124), (0.94, 0.94, 1.5), tesla=1.5, noise=0.05),
    protocol("Siemens-3T", "PSR", (256, 256, 176), (1.0, 1.0, 1.0), gamma=0.92),
    protocol("Philips-3T", "RAS", (240, 240, 170), (1.0, 1.0, 1.0), gamma=1.06, intensity=350.0),
    protocol("GE-3T", "ASR", (256, 256, 196), (1.0, 1.0, 1.0), gamma=0.96, intensity=1500.0),
)
STATUS = {"CN": "1", IMPAIRED: "2", "MCI": "3", "AD": "4"}
LABEL = {"CN": "NC", IMPAIRED: "OTHER", "MCI": "MCI", "AD": "AD"}
NO_STATUS = "8"  # UDS 4: behavioural impairment alone
_REFUSED = ("95", "96", "97", "98")  # physical, cognitive, other problem, refusal
NOT_COLLECTED = "-4"
SCORES = ("mmse", "cdr_global", "cdr_sb", "lm_immediate", "lm_delayed")


def population(order: Order) -> Population:
    return Population(
        name="NACC",
        images=order.share(IMAGES),
        female=9058 / IMAGES,
        ages=(71.0, 10.0, 30, 98),
        statuses={"CN": 100992, IMPAIRED: 9090, "MCI": 36254, "AD": 59572},
        visits=(0.35, 0.30, 0.20, 0.15),
        schedule=(0, 370, 740, 1110),
        years=(2006, 2016),
        images_of=_images,
        present={
            "education": 15329 / IMAGES,
            "uds2": 7867 / IMAGES,
            "lm": 7654 / IMAGES,
            "diagnosis": 14277 / IMAGES,
        },
    )


def _images(rng: np.random.Generator, visit: int) -> int:
    return 1 + int(rng.choice(3, p=(0.80, 0.15, 0.05)))


def scan_day(person: Person, visit: Visit) -> date:
    """Within three months of the UDS visit, before or after."""
    return visit.day + timedelta(days=(person.number * 37 + visit.number * 11) % 181 - 90)


def code(visit: Visit, name: str) -> str:
    """Why a score is missing: UDS 3 collects neither MMSE nor Logical Memory; else a problem."""
    if not any(score in visit.scores for score in ("mmse", "lm_immediate")):
        return NOT_COLLECTED
    if name == "mmse":
        return "88"
    return _REFUSED[visit.day.day % len(_REFUSED)]


def centre_of(person: Person) -> str:
    return str(9900 + person.number % 7)


def scanner_of(person: Person) -> Protocol:
    return SCANNERS[person.seed[-1] % len(SCANNERS)]


def age_at(person: Person, visit: Visit) -> str:
    """Whole years on the day of the scan."""
    return str(int(visit.age + (scan_day(person, visit) - visit.day).days / 365.25))


def one_visit(person: Person) -> Person:
    """The first visit, with one image."""
    return replace(person, visits=(replace(person.visits[0], images=1),))
