"""Which column of a table of one's own holds which field, and what its codes stand for.

Written at the command line (``--map age=AGE_YRS,diagnosis=DX --values DX:1=NC,2=MCI``) or as a
YAML file with the attributes of `TableMap`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, cast, get_args

import yaml

from medblip.errors import InputError, UsageError
from medblip.study.dates import DateOrder
from medblip.study.labels import LABELS, OTHER
from medblip.study.schema import SESSION_FIELDS
from medblip.study.tables import nearest

KEY = ("participant_id", "session_id")
IMAGE_FIELDS = ("path", "run", "kind")
_COMPUTED = frozenset(
    {"cohort", "match_days", "diagnosis_source", "label_defined_by", "missing_codes"}
)
VALUE_FIELDS = tuple(name for name in SESSION_FIELDS if name not in _COMPUTED | {*KEY})
FIELDS = (*KEY, *IMAGE_FIELDS, *VALUE_FIELDS)
_MUST = ("participant_id", "path")
_DIAGNOSES = (*LABELS, OTHER, "")
MAX_MAP_BYTES = 1 << 20


@dataclass(frozen=True)
class TableMap:
    """How to read one's own table.

    Attributes:
        cohort: name of the cohort; letters, digits and ``._+-``.
        columns: field to column; ``participant_id`` and ``path`` must be there. Without
            ``session_id`` each subject has one session, ``single``.
        values: column (or field) to what its texts stand for; ``""`` is missing. A diagnosis must
            become NC, MCI, AD or OTHER, a sex F or M. Texts of numbers may be left out.
        table: path of the table below the folder; may be empty if there is only one.
        date_order: of all dates: ``iso``, ``month-first`` or ``day-first``.
        label_defined_by: fields that the diagnosis was made from, by commas.
        assume_orientation: how voxel axes grow in files that hold no orientation, e.g. ``LAS``.

    Raises:
        UsageError: a field, order or target value that does not exist, or no subject or path.
    """

    cohort: str
    columns: Mapping[str, str]
    values: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    table: str = ""
    date_order: DateOrder = "iso"
    label_defined_by: str = "cdr_global,cdr_sb"
    assume_orientation: str = ""

    def __post_init__(self) -> None:
        try:
            SESSION_FIELDS["cohort"].parse(self.cohort, "cohort")
        except InputError as error:
            raise UsageError("cohort", error.problem, "choose a name", code="bad-name") from None
        for name in self.columns:
            if name not in FIELDS:
                fix = nearest(name, FIELDS) or f"the fields are {', '.join(FIELDS)}"
                raise UsageError("--map", f"{name!r} is no field", fix, code="unknown-field")
        for name in _MUST:
            if name not in self.columns:
                fix = f"say which column holds it, e.g. {name}=COLUMN"
                raise UsageError("--map", f"no column is given for {name}", fix, code="no-column")
        if self.date_order not in get_args(DateOrder):
            fix = f"use one of {', '.join(get_args(DateOrder))}"
            problem = f"date_order is {self.date_order!r}"
            raise UsageError("date_order", problem, fix, code="unknown-value")
        self._check_values()

    def meaning(self, name: str) -> Mapping[str, str]:
        """What the texts of a field's column stand for; empty if they are what they say."""
        return self.values.get(self.columns.get(name, ""), self.values.get(name, {}))

    def _check_values(self) -> None:
        known = {*self.columns, *self.columns.values()}
        for name in self.values:
            if name not in known:
                fix = nearest(name, known) or "name a column that --map names"
                problem = f"values are given for {name!r}, which is not read"
                raise UsageError("--values", problem, fix, code="unknown-column")
        for name, accepted in (("diagnosis", _DIAGNOSES), ("sex", ("F", "M", ""))):
            for text, value in self.meaning(name).items():
                if value not in accepted:
                    problem = f"{text!r} becomes {value!r}, which is no {name}"
                    fix = f"use one of {', '.join(filter(None, accepted))}, or nothing for missing"
                    raise UsageError("--values", problem, fix, code="unknown-value")


def parse_map(text: str) -> dict[str, str]:
    """``age=AGE_YRS,diagnosis=DX`` as field to column.

    Raises:
        UsageError: not pairs, or a field given twice.
    """
    return _pairs(text, "--map", "age=AGE_YRS,diagnosis=DX")


def parse_values(texts: Iterable[str]) -> dict[str, dict[str, str]]:
    """Each ``DX:1=NC,2=MCI,9=`` as column to what its texts stand for.

    Raises:
        UsageError: not of that form, or a column given twice.
    """
    values: dict[str, dict[str, str]] = {}
    for text in texts:
        column, colon, pairs = text.partition(":")
        column = column.strip()
        if not colon or not column:
            problem, fix = f"found {text!r}", "write e.g. DX:1=NC,2=MCI"
            raise UsageError("--values", problem, fix, code="bad-values")
        if column in values:
            problem = f"values of {column} are given twice"
            raise UsageError("--values", problem, "give them once", code="field-twice")
        values[column] = _pairs(pairs, "--values", "DX:1=NC,2=MCI", empty=True)
    return values


def read_map(path: Path) -> TableMap:
    """A YAML file with the attributes of `TableMap`.

    Raises:
        InputError: not readable as such.
        UsageError: as `TableMap`.
    """
    try:
        if path.stat().st_size > MAX_MAP_BYTES:
            raise InputError(path.name, "too large for a map", "check it", code="too-large")
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        problem = f"not readable as YAML: {str(error).splitlines()[0]}"
        raise InputError(path.name, problem, "correct it", code="bad-yaml") from None
    if not isinstance(content, dict):
        problem = "expected names and values, e.g. cohort: MINE"
        raise InputError(path.name, problem, "correct it", code="bad-yaml")
    names = [f.name for f in fields(TableMap)]
    for name in content:
        if name not in names:
            fix = nearest(str(name), names) or f"the names are {', '.join(names)}"
            raise InputError(path.name, f"{name!r} is no name", fix, code="unknown-name")
    for name in ("cohort", "columns"):
        if name not in content:
            raise InputError(path.name, f"{name} is missing", f"add {name}", code="missing-name")
    for name, value in content.items():
        if isinstance(value, dict) != (name in ("columns", "values")):
            problem = f"{name} is {value!r}"
            fix = "write columns and values as names with values, the others as one text"
            raise InputError(path.name, problem, fix, code="bad-yaml")
    return TableMap(**{name: _texts(value, path) for name, value in content.items()})


def _texts(value: Any, path: Path) -> Any:
    """YAML reads ``1: NC`` as a number; a table's cells are texts."""
    if isinstance(value, dict):
        return {cast(str, _texts(key, path)): _texts(item, path) for key, item in value.items()}
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        problem = f"found {value!r}, expected a text or a number"
        fix = "quote it, e.g. 'yes'"
        raise InputError(path.name, problem, fix, code="bad-yaml")
    return str(value)


def _pairs(text: str, option: str, example: str, *, empty: bool = False) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for pair in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = (part.strip() for part in pair.partition("="))
        if not equals or not name or not (value or empty):
            problem, fix = f"found {pair!r}, expected name=value", f"write e.g. {example}"
            raise UsageError(option, problem, fix, code="bad-pair")
        if name in pairs:
            problem = f"{name} is given twice"
            raise UsageError(option, problem, "give it once", code="field-twice")
        pairs[name] = value
    return pairs
