"""The table that says which subjects are one person, for those who are in two cohorts."""

from __future__ import annotations

from pathlib import Path

from medblip.errors import InputError
from medblip.study.tables import read_table

SUBJECT, PERSON = "participant_id", "person_id"


def read_people(path: Path, *, encoding: str = "utf-8-sig") -> tuple[tuple[str, ...], ...]:
    """Groups of subjects that are one person.

    Args:
        path: table with the columns ``participant_id`` (as in ``sessions.tsv``, e.g.
            ``AIBL-12``) and ``person_id``, one row a subject. Who is one subject need not be there.
        encoding: of the table.

    Raises:
        InputError: the table cannot be read, a subject is listed twice, or no person is.
    """
    table = read_table(path, encoding=encoding, required=(SUBJECT, PERSON), key=(SUBJECT,))
    table = table[~table[PERSON].isin(["", "n/a"])]
    groups = [tuple(rows) for _, rows in table.groupby(PERSON, sort=True)[SUBJECT]]
    several = tuple(group for group in groups if len(group) > 1)
    if not several:
        problem = "no person_id has two subjects, so that the table says nothing"
        fix = "give all subjects of a person the same person_id"
        raise InputError(path.name, problem, fix, code="nobody-twice")
    return several
