"""Dates in one declared order; the other order, or both at once, is an error and never a guess."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import date
from typing import Literal

from medblip.errors import InputError

DateOrder = Literal["iso", "month-first", "day-first"]

_FORMS: dict[DateOrder, tuple[re.Pattern[str], str]] = {
    "iso": (
        re.compile(
            r"(?P<y>[0-9]{4})-(?P<m>[0-9]{2})-(?P<d>[0-9]{2})"
            r"(?:[T ][0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]+)?)?Z?)?"
        ),
        "YYYY-MM-DD",
    ),
    "month-first": (
        re.compile(r"(?P<m>[0-9]{1,2})/(?P<d>[0-9]{1,2})/(?P<y>[0-9]{4})"),
        "MM/DD/YYYY",
    ),
    "day-first": (
        re.compile(r"(?P<d>[0-9]{1,2})/(?P<m>[0-9]{1,2})/(?P<y>[0-9]{4})"),
        "DD/MM/YYYY",
    ),
}
_SLASHED = re.compile(r"([0-9]{1,2})[/.]([0-9]{1,2})[/.][0-9]{2,4}")


def parse_date(text: str, where: str, order: DateOrder = "iso") -> date:
    """One date; a time of day after an ISO date is accepted and dropped.

    Raises:
        InputError: ``date-format`` when written in another form, ``bad-date`` when no such day.
    """
    pattern, form = _FORMS[order]
    match = pattern.fullmatch(text)
    if match is None:
        raise InputError(
            where,
            f"the date is {text!r}, expected {form}",
            f"write it as {form}",
            code="date-format",
        )
    try:
        return date(int(match["y"]), int(match["m"]), int(match["d"]))
    except ValueError:
        problem = f"the date {text!r} does not exist (read as {form})"
        raise InputError(where, problem, "correct the date", code="bad-date") from None


def check_one_order(dates: Iterable[tuple[str, str]], column: str) -> None:
    """Raise InputError ``mixed-dates`` if some dates can only be day-first, others month-first.

    Args:
        dates: pairs of (where, text as written); missing values left out.
        column: name of the column for the message.
    """
    day_first = month_first = None
    for where, text in dates:
        match = _SLASHED.fullmatch(text)
        if match is None:
            continue
        first, second = int(match[1]), int(match[2])
        if first > 12:
            day_first = day_first or where
        if second > 12:
            month_first = month_first or where
        if day_first and month_first:
            raise InputError(
                f"{day_first} and {month_first}",
                f"{column} holds day-first and month-first dates, expected one order",
                "write all dates as YYYY-MM-DD",
                code="mixed-dates",
            )
