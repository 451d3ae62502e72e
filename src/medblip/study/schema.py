"""The columns of ``sessions.tsv`` and ``images.tsv``: types, ranges and what may be missing.

These two tables are the whole contract between `prepare`, a person with an editor, and training.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from medblip.errors import InputError
from medblip.findings import Finding
from medblip.study.dates import parse_date
from medblip.study.labels import LABELS, OTHER
from medblip.study.tables import nearest

Kind = Literal["text", "choice", "integer", "number", "date"]

_NUMBER = re.compile(r"[+-]?[0-9]+(?:\.[0-9]+)?")


@dataclass(frozen=True, slots=True)
class Column:
    """What one column holds.

    Attributes:
        name: header of the column.
        kind: ``integer`` accepts ``27`` and ``27.0``; ``date`` is ISO.
        low, high: inclusive range of a number.
        step: a number is a multiple of it, where given.
        choices: accepted values, for ``choice`` and for numbers with few values.
        pattern: regular expression that a ``text`` matches wholly.
        missing: whether the cell may be empty.
        meaning: unit and meaning, for people.
    """

    name: str
    kind: Kind = "text"
    low: float | None = None
    high: float | None = None
    step: float | None = None
    choices: tuple[str, ...] = ()
    pattern: str = ""
    missing: bool = True
    meaning: str = ""

    def parse(self, text: str, where: str) -> str:
        """``text`` in its canonical form (``27.0`` becomes ``27``).

        Raises:
            InputError: it is not of this kind, out of range, or missing where it may not be.
        """
        if not text:
            if self.missing:
                return ""
            problem = f"{self.name} is empty, expected {self.expected}"
            raise InputError(where, problem, "fill it in", code="missing-value")
        if self.kind == "date":
            return parse_date(text, where).isoformat()
        if self.kind in ("integer", "number"):
            return self._number(text, where)
        return self._text(text, where)

    @property
    def expected(self) -> str:
        """What is accepted, in words."""
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        if self.kind in ("integer", "number"):
            step = f" in steps of {self.step:g}" if self.step else ""
            return f"{self.kind} {_range(self.low, self.high)}".strip() + step
        return {"date": "a date YYYY-MM-DD"}.get(self.kind, self.meaning or "text")

    def _number(self, text: str, where: str) -> str:
        if not _NUMBER.fullmatch(text):
            fix = "write a decimal point" if "," in text else "correct it or write n/a"
            raise self._wrong(text, where, "not-a-number", fix)
        canonical = _canonical(text)
        value = float(canonical)
        if self.kind == "integer" and not value.is_integer():
            raise self._wrong(text, where, "not-an-integer", "correct it or write n/a")
        low, high = self.low, self.high
        outside = (low is not None and value < low) or (high is not None and value > high)
        outside = outside or bool(self.choices and canonical not in self.choices)
        if outside or (self.step is not None and not (value / self.step).is_integer()):
            raise self._wrong(text, where, "out-of-range", "correct it or write n/a")
        return canonical

    def _text(self, text: str, where: str) -> str:
        if self.choices and text not in self.choices:
            raise self._wrong(text, where, "unknown-value", nearest(text, self.choices))
        if self.pattern and not re.fullmatch(self.pattern, text):
            raise self._wrong(text, where, "bad-form", "")
        return text

    def _wrong(self, text: str, where: str, code: str, fix: str) -> InputError:
        shown = text if len(text) <= 40 else f"{text[:40]}..."
        problem = f"{self.name} is {shown!r}, expected {self.expected}"
        return InputError(where, problem, fix, code=code)


def _canonical(text: str) -> str:
    whole, _, fraction = text.lstrip("+").partition(".")
    fraction = fraction.rstrip("0")
    sign, digits = ("-", whole[1:]) if whole.startswith("-") else ("", whole)
    digits = digits.lstrip("0") or "0"
    value = f"{digits}.{fraction}" if fraction else digits
    return value if value == "0" else sign + value


def _range(low: float | None, high: float | None) -> str:
    if low is None or high is None:
        return "" if low is None else f"of at least {low:g}"
    return f"from {low:g} to {high:g}"


_ID = r"[A-Za-z0-9][A-Za-z0-9._+-]*"
_CUBE = r"[A-Za-z0-9][A-Za-z0-9_-]*\.safetensors"
_TRIPLE = r"{0}x{0}x{0}"
_CDR = ("0", "0.5", "1", "2", "3")

SESSION_COLUMNS: tuple[Column, ...] = (
    Column("cohort", pattern=_ID, missing=False, meaning="name of the cohort, e.g. ADNI"),
    Column("participant_id", pattern=_ID, missing=False, meaning="<cohort>-<original id>"),
    Column("session_id", pattern=_ID, missing=False, meaning="original session id"),
    Column("visit_code", meaning="original visit code"),
    Column("scan_date", "date"),
    Column("days_from_baseline", "integer", 0, 40000, meaning="days since the first session"),
    Column("clinical_date", "date"),
    Column("match_days", "integer", -182, 182, meaning="days, scan minus clinical visit"),
    Column("age", "number", 18, 120, meaning="years at the scan"),
    Column("sex", "choice", choices=("F", "M")),
    Column("education_years", "number", 0, 36, meaning="years"),
    Column("education_code", "integer", 1, 5, meaning="OASIS-1: 1 below high school ... 5"),
    Column("ses", "integer", 1, 5, meaning="Hollingshead, 1 is high"),
    Column("mmse", "integer", 0, 30, meaning="Mini-Mental State Examination"),
    Column("cdr_global", "number", 0, 3, choices=_CDR, meaning="Clinical Dementia Rating"),
    Column("cdr_sb", "number", 0, 18, 0.5, meaning="CDR, sum of boxes"),
    Column("lm_immediate", "integer", 0, 25, meaning="Logical Memory, one story"),
    Column("lm_delayed", "integer", 0, 25, meaning="Logical Memory, one story"),
    Column("diagnosis", "choice", choices=(*LABELS, OTHER)),
    Column("diagnosis_source", meaning="column=value, e.g. NACCUDSD=3"),
    Column("diagnosis_detail", meaning="subtype in the source's words"),
    Column("label_defined_by", missing=False, meaning="fields that define the label, by commas"),
    Column("site"),
    Column("field_strength_t", "number", 0.01, 20, meaning="tesla"),
    Column("missing_codes", meaning="field=code pairs kept from the source, e.g. mmse=-4"),
)

IMAGE_COLUMNS: tuple[Column, ...] = (
    Column("participant_id", pattern=_ID, missing=False, meaning="as in sessions.tsv"),
    Column("session_id", pattern=_ID, missing=False, meaning="as in sessions.tsv"),
    Column("run", "integer", 1, 99999, missing=False),
    Column("kind", "choice", choices=("raw", "averaged", "skull-stripped", "registered")),
    Column("format", "choice", choices=("nifti", "analyze", "mgh", "dicom"), missing=False),
    Column("path", missing=False, meaning="relative to the data set"),
    Column("shape", pattern=_TRIPLE.format("[1-9][0-9]*"), meaning="voxels, e.g. 256x256x170"),
    Column("voxel_mm", pattern=_TRIPLE.format(r"[0-9]+(?:\.[0-9]+)?"), meaning="mm, e.g. 1x1x1.2"),
    Column("axcodes", pattern="[RLAPSI]{3}", meaning="e.g. RAS"),
    Column("sha256", pattern="[0-9a-f]{64}", missing=False, meaning="of the file's bytes, in hex"),
    Column("primary", "choice", choices=("true", "false"), missing=False),
    Column("cube", pattern=_CUBE, missing=False, meaning="file name in the volume cache"),
)

SESSION_FIELDS: dict[str, Column] = {column.name: column for column in SESSION_COLUMNS}
SESSION_KEY = ("participant_id", "session_id")
IMAGE_KEY = ("participant_id", "session_id", "path")


def check_sessions(sessions: pd.DataFrame, where: str = "sessions.tsv") -> list[Finding]:
    """Every cell that breaks `SESSION_COLUMNS`, as findings that name line and field."""
    findings = [
        *_columns(sessions, SESSION_COLUMNS, where),
        *_cells(sessions, SESSION_COLUMNS, where),
    ]
    if findings:
        return findings
    return list(_prefixes(sessions, where))


def check_images(images: pd.DataFrame, where: str = "images.tsv") -> list[Finding]:
    """As `check_sessions`, and that each session has exactly one primary image and safe paths."""
    return _breaches(images, IMAGE_COLUMNS, where) or [
        *_paths(images, where),
        *_primaries(images, where),
    ]


def require(findings: list[Finding]) -> None:
    """Raise InputError for the first finding, with the count of the others."""
    if not findings:
        return
    first = findings[0]
    rest = f" (and {len(findings) - 1} more)" if len(findings) > 1 else ""
    raise InputError(first.where, f"{first.problem}{rest}", first.fix, code=first.code)


def _breaches(frame: pd.DataFrame, columns: tuple[Column, ...], where: str) -> list[Finding]:
    return [*_columns(frame, columns, where), *_cells(frame, columns, where)]


def _columns(frame: pd.DataFrame, columns: tuple[Column, ...], where: str) -> Iterator[Finding]:
    header = [str(name) for name in frame.columns]
    for column in columns:
        if column.name not in header:
            problem = f"column {column.name!r} is missing"
            yield Finding("missing-column", "error", where, problem, nearest(column.name, header))


def _cells(frame: pd.DataFrame, columns: tuple[Column, ...], where: str) -> Iterator[Finding]:
    for column in columns:
        if column.name not in frame.columns:
            continue
        # Values repeat (sex, cohort, scores): each distinct one is parsed once.
        for text, lines in frame.groupby(column.name, sort=False).groups.items():
            try:
                column.parse(str(text), f"{where} line {lines[0]}")
            except InputError as error:
                yield Finding.from_error(error)


def _prefixes(sessions: pd.DataFrame, where: str) -> Iterator[Finding]:
    for line, cohort, subject in zip(
        sessions.index, sessions["cohort"], sessions["participant_id"], strict=True
    ):
        if not subject.startswith(f"{cohort}-"):
            problem = "participant_id does not start with its cohort's name and a dash"
            fix = f"write {cohort}-<original id>"
            yield Finding("cohort-prefix", "error", f"{where} line {line}", problem, fix)


def _paths(images: pd.DataFrame, where: str) -> Iterator[Finding]:
    for line, path in images["path"].items():
        if path.startswith(("/", "\\")) or ":" in path or ".." in re.split(r"[/\\]", path):
            problem = f"path is {path!r}, expected a path inside the data set"
            fix = "write it relative to the data set, without '..'"
            yield Finding("unsafe-path", "error", f"{where} line {line}", problem, fix)


def _primaries(images: pd.DataFrame, where: str) -> Iterator[Finding]:
    chosen = images.assign(chosen=images["primary"] == "true")
    counts = chosen.groupby(list(SESSION_KEY), sort=False)["chosen"].sum()
    wrong = int((counts != 1).sum())
    if wrong:
        problem = f"{wrong} session(s) do not have exactly one primary image"
        fix = "set primary to true for one image of each session"
        yield Finding("primary-image", "error", where, problem, fix)
