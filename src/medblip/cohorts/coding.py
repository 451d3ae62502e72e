"""What one cell of a vendor's table means: a code, a number in its range, a missing code, a fault.

A value is never repaired. A cell that is none of these leaves its field empty, with a warning;
a diagnosis or an identifier that is none of these is an error of its row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date

from medblip.cohorts.bids_rows import Cell
from medblip.errors import InputError
from medblip.findings import Finding
from medblip.study.dates import DateOrder, parse_date
from medblip.study.missing import MissingCodes, is_missing
from medblip.study.schema import SESSION_COLUMNS, SESSION_FIELDS

NEVER_GUESSED = frozenset({"participant_id", "session_id", "diagnosis"})

Codes = Mapping[str, str]  # as written in the source -> as in sessions.tsv


def decode(field: str, cell: Cell, missing: MissingCodes, codes: Codes | None = None) -> str:
    """The canonical value of ``field``, or ``""`` for a missing code.

    Args:
        field: name as in ``sessions.tsv``.
        cell: text and place.
        missing: the cohort's missing codes.
        codes: the only other texts that are accepted, if given; ``1.0`` counts as ``1``.

    Raises:
        InputError: ``unknown-code``, or what `Column.parse` says, e.g. ``out-of-range``.
    """
    if is_missing(field, cell.text, missing):
        return ""
    text = cell.text
    if codes is not None:
        plain = text if text in codes else text.removesuffix(".0")
        if plain not in codes:
            problem = f"{cell.column} is {text!r}, expected one of {', '.join(codes)}"
            raise InputError(cell.where, problem, "correct it", code="unknown-code")
        text = codes[plain]
    return SESSION_FIELDS[field].parse(text, cell.where)


def decode_date(cell: Cell, missing: MissingCodes, order: DateOrder = "month-first") -> date | None:
    """A day written as ISO or with slashes in ``order``; None for a missing code.

    Years of two digits, which spreadsheets write, are of this century.

    Raises:
        InputError: another form, or no such day.
    """
    if is_missing("clinical_date", cell.text, missing):
        return None
    text = cell.text
    if "/" not in text:
        return parse_date(text, cell.where)
    start, _, year = text.rpartition("/")
    if len(year) == 2 and year.isdecimal():
        text = f"{start}/20{year}"
    return parse_date(text, cell.where, order)


@dataclass
class SessionValues:
    """The fields of one session, filled from one table after the other.

    Attributes:
        missing: the cohort's missing codes.
        findings: where warnings go.
        values: field -> canonical value.
        codes: field -> missing code as written, for fields without a value.
        sources: field -> the cell its value came from.
    """

    missing: MissingCodes
    findings: list[Finding]
    values: dict[str, str] = field(default_factory=dict)
    codes: dict[str, str] = field(default_factory=dict)
    sources: dict[str, Cell] = field(default_factory=dict)

    def take(self, field: str, cell: Cell, codes: Codes | None = None) -> str:
        """Fill ``field`` from ``cell`` unless it has a value; a missing code is kept meanwhile.

        Returns:
            What the cell says, whether it was needed or not.

        Raises:
            InputError: for a field of `NEVER_GUESSED`; other faults are warnings.
        """
        try:
            value = decode(field, cell, self.missing, codes)
        except InputError as error:
            if field in NEVER_GUESSED:
                raise
            self._warn(error)
            return ""
        if value and field not in self.values:
            self.values[field] = value
            self.sources[field] = cell
            self.codes.pop(field, None)
        elif not value and cell.text and field not in self.values:
            self.codes.setdefault(field, cell.text)
        return value

    def row(self, **facts: str) -> dict[str, str]:
        """The canonical row with every column of `SESSION_COLUMNS`; ``facts`` go over values."""
        row = dict.fromkeys((column.name for column in SESSION_COLUMNS), "")
        row.update(self.values)
        row["missing_codes"] = ",".join(f"{name}={code}" for name, code in self.codes.items())
        row.update(facts)
        return row

    def _warn(self, error: InputError) -> None:
        problem = f"{error.problem}; the field is left empty"
        self.findings.append(Finding(error.code, "warning", error.where, problem, error.fix))
