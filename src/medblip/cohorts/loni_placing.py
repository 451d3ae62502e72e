"""What ADNI and AIBL do alike once an image's person and visit are known."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Protocol, TypeVar

from medblip.cohorts.collecting import Collector, Image
from medblip.cohorts.loni_names import LoniImage
from medblip.cohorts.loni_series import is_repeat, kind_of
from medblip.errors import InputError


class HeldVisit(Protocol):
    """A visit of either cohort."""

    @property
    def code(self) -> str: ...

    @property
    def day(self) -> date | None: ...

    @property
    def where(self) -> str: ...


class Participant(Protocol):
    """A participant of either cohort."""

    @property
    def visits(self) -> Mapping[str, HeldVisit]: ...


V = TypeVar("V", bound=HeldVisit)


@dataclass(frozen=True)
class Placed:
    """An image in its session.

    Attributes:
        image: its name.
        day: of the scan; None where nothing says it.
        tesla: field strength; empty if not known.
    """

    image: LoniImage
    day: date | None
    tesla: str = ""


def is_t1(collector: Collector, image: LoniImage, t1_series: str) -> bool:
    """Whether an image is a T1-weighted scan; another series is noted.

    Raises:
        InputError: the series' description is not known.
    """
    kind = kind_of(image.series, image.modality, t1_series)
    if kind == "unknown":
        problem = f"the series {image.series!r} is not known to be T1-weighted or not"
        fix = "name it in t1_series if it is, or remove it"
        raise InputError(image.where, problem, fix, code="unknown-series")
    if kind == "other":
        problem = f"the series {image.series} is no T1-weighted scan; not read"
        collector.note("other-series", "note", image.where, problem)
    return kind == "t1"


def within_window(collector: Collector, visit: V | None, first: Placed, window: int) -> V | None:
    """The visit that a session is called by, or None, with a warning, if it is too far away."""
    if visit is None or visit.day is None or first.day is None:
        return visit
    days = (first.day - visit.day).days
    if abs(days) <= window:
        return visit
    problem = f"the scan lies {days:+d} days from its visit {visit.code}, which does not count"
    fix = f"correct the day of one; at most {window} days count"
    collector.note("far-from-visit", "warning", first.image.where, problem, fix)
    return None


def note_no_visit(collector: Collector, first: Placed, window: int) -> None:
    problem = f"no visit lies within {window} days of the scan"
    fix = "update the tables; the scan is prepared without a diagnosis"
    collector.note("no-visit", "warning", first.image.where, problem, fix)


def note_other_days(collector: Collector, images: Sequence[Placed]) -> None:
    """Note the images of a session that were made on another day than its primary one."""
    first = images[0].day
    for placed in images:
        if placed.day != first:
            problem = f"made on {placed.day}, the session's primary scan on {first}"
            collector.note("other-scan-date", "note", placed.image.where, problem)


def note_unscanned(
    collector: Collector,
    people: Mapping[int, Participant],
    sessions: Mapping[int, Collection[str]],
) -> None:
    """Note each visit that no image of the download belongs to."""
    for rid, person in sorted(people.items()):
        for visit in person.visits.values():
            if visit.code not in sessions.get(rid, ()):
                problem = f"no image of the visit {visit.code} of RID {rid} is here"
                collector.note("row-without-scan", "note", visit.where, problem)


def as_image(image: LoniImage, kind: str = "raw") -> Image:
    """For `Collector.add`; a repeated series is run 2."""
    run = 2 if is_repeat(image.series) else 1
    return Image(image.path, run, kind, image.format, files=image.files)
