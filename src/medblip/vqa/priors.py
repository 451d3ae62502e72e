"""Earlier scans of the same subject, for questions that compare two sessions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from medblip.errors import InputError
from medblip.study.schema import SESSION_KEY
from medblip.study.study import Study
from medblip.vqa.questions import Question, SessionImage


@dataclass(frozen=True, slots=True)
class Visit:
    """What a study knows of a session as an earlier one.

    Attributes:
        scan_date: ISO; empty where it is not known.
        days: from baseline; None where they are not known.
        cube: of its primary image, in the volume cache; empty where it has none.
    """

    scan_date: str
    days: float | None
    cube: str

    def before(self, other: Visit) -> bool | None:
        """Whether it is earlier by scan date, or else by days from baseline; None if unknown."""
        if self.scan_date and other.scan_date:
            return self.scan_date < other.scan_date
        if self.days is not None and other.days is not None:
            return self.days < other.days
        return None


Visits = Mapping[SessionImage, Visit]


def visits_of(study: Study) -> dict[SessionImage, Visit]:
    """Every session of a study, with a label or without."""
    primary = study.images[study.images["primary"] == "true"]
    cubes = dict(zip(_keys(primary), primary["cube"], strict=True))
    times = zip(study.sessions["scan_date"], study.sessions["days_from_baseline"], strict=True)
    return {
        key: Visit(scan_date, float(days) if days else None, cubes.get(key, ""))
        for key, (scan_date, days) in zip(_keys(study.sessions), times, strict=True)
    }


def _keys(table: Any) -> list[SessionImage]:
    return [SessionImage(*key) for key in zip(*(table[name] for name in SESSION_KEY), strict=True)]


def check_prior(question: Question, visits: Visits, place: str) -> None:
    """Raise InputError unless the prior session is there, was scanned, and is the earlier one."""
    prior, image = question.prior, question.image
    if prior is None or not isinstance(image, SessionImage):
        return
    if prior not in visits:
        problem = f"the study does not have this subject with the prior session {prior.session_id}"
        fix = "write prior_session_id as in sessions.tsv"
        raise InputError(place, problem, fix, code="unknown-session")
    earlier = visits[prior]
    if not earlier.cube:
        problem = f"the prior session {prior.session_id} has no scan"
        raise InputError(place, problem, "name one that was scanned", code="prior-without-scan")
    if not earlier.before(visits[image]):
        problem = f"the prior session {prior.session_id} is not known to be the earlier one"
        fix = "name an earlier session; sessions.tsv tells by scan_date or days_from_baseline"
        raise InputError(place, problem, fix, code="prior-not-earlier")


def prior_cube(question: Question, visits: Visits) -> str:
    """The cube of the question's prior session; empty where it has none."""
    return "" if question.prior is None else visits[question.prior].cube


def prior_cubes(questions: Iterable[Question], visits: Visits) -> list[str]:
    """The cubes of all prior sessions, each once."""
    cubes = (prior_cube(question, visits) for question in questions)
    return list(dict.fromkeys(cube for cube in cubes if cube))
