"""Simulated people of the five cohorts: visits over years, latent disease, and what is recorded.

The latent values are those of `medblip.simulate.cohort`, so images and records carry the same
signal as in SIM-A. Class, sex and what is missing follow quotas, counted in images as in the
paper's Table 1.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta

import numpy as np

from medblip.simulate.cohort import (
    AGE_MEAN,
    AGE_SD,
    CDR_OF_CLASS,
    CONVERSION_PER_YEAR,
    MEMORY_LOSS,
    MEMORY_LOSS_SD,
    SCORES,
    SEVERITY,
    SEVERITY_SD,
    severity_of,
)
from medblip.simulate.individual import Pattern, own_pattern
from medblip.simulate.shares import Quota, choose

DAYS_A_YEAR = 365.25
MAX_AGE_DEVIATION = 2.5  # the atrophy of age is not extrapolated to the young and the oldest

COURSE = ("CN", "MCI", "AD")
IMPAIRED = "IMCI"  # impaired but not MCI, as NACC says; between CN and MCI
LEVELS: Mapping[str, float] = {**SEVERITY, IMPAIRED: 0.35}
LOSSES: Mapping[str, float] = {**MEMORY_LOSS, IMPAIRED: 0.7}
CDR: Mapping[str, tuple[str, ...]] = {**CDR_OF_CLASS, IMPAIRED: ("0", "0.5")}
# Half points of the sum of boxes, lowest and highest, by global CDR.
HALF_BOXES: Mapping[str, tuple[int, int]] = {
    "0": (0, 0),
    "0.5": (1, 8),
    "1": (9, 18),
    "2": (19, 31),
}

# What is missing together. UDS 3 gave up the MMSE and Logical Memory.
GROUPS: Mapping[str, tuple[str, ...]] = {
    "uds2": ("mmse", "lm_immediate", "lm_delayed"),
    "mmse": ("mmse",),
    "cdr": ("cdr_global", "cdr_sb"),
    "lm": ("lm_immediate", "lm_delayed"),
    "diagnosis": ("diagnosis",),
}


@dataclass(frozen=True)
class Visit:
    """One visit with the hidden truth that made it.

    Attributes:
        number: from 1.
        day: of the examination.
        age: years on that day.
        status: CN, IMCI, MCI or AD.
        severity, age_deviation, pattern: what the image shows.
        memory_loss: what the scores show.
        scores: values of ``sessions.tsv`` by field; what was not recorded is absent. Also
            ``diagnosis``, the status, where it was recorded.
        images: scans that are delivered of it.
    """

    number: int
    day: date
    age: float
    status: str
    severity: float
    age_deviation: float
    memory_loss: float
    scores: Mapping[str, str]
    images: int
    pattern: Pattern


@dataclass(frozen=True)
class Person:
    """One simulated person.

    Attributes:
        number: from 1, in order of drawing.
        sex: F or M.
        education: years; empty where not recorded.
        ses: 1 to 5; empty where not recorded.
        seed: of the anatomy.
        visits: in order.
    """

    number: int
    sex: str
    education: str
    ses: str
    seed: tuple[int, ...]
    visits: tuple[Visit, ...]

    @property
    def images(self) -> int:
        return sum(visit.images for visit in self.visits)


def one_image(rng: np.random.Generator, visit: int) -> int:
    return 1


@dataclass(frozen=True)
class Population:
    """Whom to draw.

    Attributes:
        name: of the cohort; part of the seed.
        images: scans of all people together.
        female: share of women, by images.
        ages: mean, standard deviation, lowest and highest at the first visit.
        statuses: shares at the first visit, by people.
        visits: probabilities of one, two, ... visits.
        schedule: day of each visit since the first.
        jitter: days around that day.
        years: first and last year of a first visit.
        images_of: scans of a visit, by its number.
        whole: whether a visit's scans come together or not at all.
        present: share of images that have each of `GROUPS`, ``education`` and ``ses``.
        converts: whether people get ill.
        cdr: global CDR of a status, drawn among these.
    """

    name: str
    images: int
    female: float
    ages: tuple[float, float, float, float]
    statuses: Mapping[str, float]
    visits: tuple[float, ...]
    schedule: tuple[int, ...]
    jitter: int = 20
    years: tuple[int, int] = (2006, 2014)
    images_of: Callable[[np.random.Generator, int], int] = one_image
    whole: bool = False
    present: Mapping[str, float] = field(default_factory=dict)
    converts: bool = True
    cdr: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: CDR)


def draw_people(population: Population, seed: int) -> list[Person]:
    """People whose scans are as many as ``population.images``; the last one may have fewer."""
    people: list[Person] = []
    missing = population.images
    for person in _people(population, seed):
        visits = _cut(person.visits, missing, whole=population.whole)
        if not visits:
            break
        people.append(replace(person, visits=visits))
        missing -= people[-1].images
    rng = np.random.default_rng((seed, *population.name.encode()))
    return _with_gaps(people, population, rng)


def draw_some(population: Population, name: str, count: int, seed: int) -> list[Person]:
    """``count`` other people of the same kind, of whom everything is known.

    Args:
        population: the kind.
        name: part of the seed, in place of the population's.
    """
    drawn = _people(replace(population, name=name), seed)
    return [next(drawn) for _ in range(count)]


def _people(population: Population, seed: int) -> Iterator[Person]:
    """People without end."""
    statuses = Quota(population.statuses)
    sexes = {s: Quota({"F": population.female, "M": 1 - population.female}) for s in LEVELS}
    for number in itertools.count(1):
        key = (seed, *population.name.encode(), number)
        rng = np.random.default_rng(key)
        status = statuses.deal()
        visits = _draw_visits(population, rng, status, own_pattern(key))
        yield Person(
            number=number,
            sex=sexes[status].deal(sum(visit.images for visit in visits)),
            education=str(int(rng.integers(8, 21))),
            ses=str(int(rng.integers(1, 6))),
            seed=key,
            visits=visits,
        )


def _draw_visits(
    population: Population, rng: np.random.Generator, status: str, pattern: Pattern
) -> tuple[Visit, ...]:
    mean, sd, low, high = population.ages
    start_age = float(np.clip(rng.normal(mean, sd), low, high))
    year, last_year = population.years
    start = date(year, 1, 1) + timedelta(days=int(rng.integers(0, 366 * (last_year - year) + 1)))
    offset, memory_offset = rng.normal(0.0, SEVERITY_SD), rng.normal(0.0, MEMORY_LOSS_SD)
    count = 1 + int(rng.choice(len(population.visits), p=population.visits))
    visits: list[Visit] = []
    day, years_ill = 0, 0.0
    for number in range(1, count + 1):
        before = day
        if number > 1:
            planned = population.schedule[number - 1]
            day = planned + int(rng.integers(-population.jitter, population.jitter + 1))
            years = (day - before) / DAYS_A_YEAR
            if population.converts and rng.random() < CONVERSION_PER_YEAR.get(status, 0) * years:
                status = _next(status, population.statuses)
            years_ill += years if status != "CN" else 0.0
        age = start_age + day / DAYS_A_YEAR
        deviation = float(np.clip((age - AGE_MEAN) / AGE_SD, -MAX_AGE_DEVIATION, MAX_AGE_DEVIATION))
        memory_loss = LOSSES[status] + memory_offset
        visits.append(
            Visit(
                number=number,
                day=start + timedelta(days=day),
                age=age,
                status=status,
                severity=severity_of(LEVELS[status], offset, deviation, years_ill),
                age_deviation=deviation,
                memory_loss=memory_loss,
                scores=_draw_scores(rng, status, memory_loss, population.cdr),
                images=population.images_of(rng, number),
                pattern=pattern,
            )
        )
    return tuple(visits)


def _next(status: str, known: Mapping[str, float]) -> str:
    """The next status of the disease's course that the cohort knows."""
    later = COURSE[COURSE.index(status) + 1 :] if status in COURSE else ()
    return next((s for s in later if s in known), status)


def _draw_scores(
    rng: np.random.Generator, status: str, memory_loss: float, cdr: Mapping[str, tuple[str, ...]]
) -> dict[str, str]:
    rating = str(rng.choice(cdr[status]))
    low, high = HALF_BOXES[rating]
    scores = {"diagnosis": status, "cdr_global": rating}
    scores["cdr_sb"] = f"{rng.integers(low, high + 1) / 2:g}"
    for name, (start, slope, noise, highest) in SCORES.items():
        score = rng.normal(start - slope * memory_loss, noise)
        scores[name] = str(int(np.clip(round(score), 0, highest)))
    return scores


def _cut(visits: Sequence[Visit], images: int, *, whole: bool) -> tuple[Visit, ...]:
    """The first visits, as many as give ``images`` scans or, if ``whole``, nearly so."""
    kept: list[Visit] = []
    for visit in visits:
        left = images - sum(v.images for v in kept)
        if left <= 0 or (whole and left < visit.images / 2):
            break
        kept.append(visit if whole else replace(visit, images=min(left, visit.images)))
    return tuple(kept)


def _with_gaps(
    people: Sequence[Person], population: Population, rng: np.random.Generator
) -> list[Person]:
    """The same people, less what was not recorded."""
    total = sum(person.images for person in people)
    known = list(people)
    for name, share in population.present.items():
        if name in GROUPS:
            fields = GROUPS[name]
            units = [(p, v) for p, person in enumerate(known) for v in range(len(person.visits))]
            having = [u for u in units if fields[0] in known[u[0]].visits[u[1]].scores]
            weights = [known[p].visits[v].images for p, v in having]
            gone = choose(weights, sum(weights) - total * share, rng)
            known = list(_without_scores(known, {having[i] for i in gone}, fields))
        else:
            lost = choose([person.images for person in known], total * (1 - share), rng)
            known = [_without(p, name) if i in lost else p for i, p in enumerate(known)]
    return known


def _without(person: Person, name: str) -> Person:
    """The person without education or SES."""
    return replace(person, education="") if name == "education" else replace(person, ses="")


def _without_scores(
    people: Sequence[Person], gone: set[tuple[int, int]], names: Sequence[str]
) -> Iterator[Person]:
    for p, person in enumerate(people):
        visits = [
            replace(visit, scores={k: x for k, x in visit.scores.items() if k not in names})
            if (p, v) in gone
            else visit
            for v, visit in enumerate(person.visits)
        ]
        yield replace(person, visits=tuple(visits))
