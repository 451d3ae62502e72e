"""Which clinical visit speaks for a scan, by their days."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from typing import Generic, NamedTuple, TypeVar

from medblip.errors import UsageError
from medblip.study.schema import SESSION_FIELDS

WINDOW_DAYS = 180  # ``match_days`` of sessions.tsv can say up to 182

T = TypeVar("T")


class Match(NamedTuple, Generic[T]):
    """The visit of a scan.

    Attributes:
        visit: as it was given.
        days: scan minus visit; negative for a scan before its visit.
    """

    visit: T
    days: int


def nearest_visit(
    scan: date, visits: Iterable[tuple[date, T]], *, window: int = WINDOW_DAYS
) -> Match[T] | None:
    """The visit nearest to a scan, the earlier one of two that are equally near.

    Args:
        scan: day of the scan.
        visits: each visit with its day; of several on one day the first is taken.
        window: most days between scan and visit, either way.

    Returns:
        The visit, or None where none lies within the window.
    """
    best: Match[T] | None = None
    for day, visit in visits:
        days = (scan - day).days
        if abs(days) > window:
            continue
        # Scan minus visit is larger for the earlier visit.
        if best is None or (abs(days), -days) < (abs(best.days), -best.days):
            best = Match(visit, days)
    return best


def check_window(days: int) -> None:
    """Raise UsageError unless ``days`` is a window that ``match_days`` can say."""
    most = SESSION_FIELDS["match_days"].high or WINDOW_DAYS
    if not 0 <= days <= most:
        problem = f"{days} days between scan and visit, expected 0 to {most:g}"
        raise UsageError("window_days", problem, "choose fewer days", code="bad-window")


def days_after(day: date | None, first: date | None) -> str:
    """Days from ``first`` to ``day`` as text; empty where one is not known."""
    return "" if day is None or first is None else str((day - first).days)
