"""Which session of a subject comes first: the one order that splits, examples and audit share."""

from __future__ import annotations

import re

import pandas as pd

from medblip.study.labels import LABELS

_SortKey = tuple[float, str, tuple[tuple[int, int, str], ...]]


def in_order(sessions: pd.DataFrame) -> pd.DataFrame:
    """Rows by subject, then days from baseline, scan date and session id (``ses-2`` < ``ses-10``).

    The result does not depend on the order of the rows in the file.
    """
    keys = [
        (subject, *_time(days, scan, session))
        for subject, days, scan, session in zip(
            sessions["participant_id"],
            sessions["days_from_baseline"],
            sessions["scan_date"],
            sessions["session_id"],
            strict=True,
        )
    ]
    order = sorted(range(len(keys)), key=keys.__getitem__)
    return sessions.iloc[order]


def labelled(sessions: pd.DataFrame) -> pd.DataFrame:
    """The rows whose diagnosis is one of the three labels."""
    return sessions[sessions["diagnosis"].isin(LABELS)]


def first_labelled(sessions: pd.DataFrame) -> pd.DataFrame:
    """One row per subject: the earliest with a label; subjects without one are left out."""
    return in_order(labelled(sessions)).drop_duplicates("participant_id")


def _time(days: str, scan_date: str, session_id: str) -> _SortKey:
    # A session without a date comes after the dated ones; among such the id decides.
    return (float(days) if days else float("inf"), scan_date or "~", _natural(session_id))


def _natural(text: str) -> tuple[tuple[int, int, str], ...]:
    parts = re.findall(r"[0-9]+|[^0-9]+", text)
    return tuple((0, int(part), "") if part[0] in "0123456789" else (1, 0, part) for part in parts)
