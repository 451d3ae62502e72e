"""The record: what is known of a subject besides the scan, as short sentences, never the label.

Only numbers within their range and the two sexes can enter, so no word of a diagnosis can.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from medblip.errors import UsageError
from medblip.study.schema import SESSION_FIELDS
from medblip.study.tables import nearest
from medblip.study.text import clean_question, clean_text

__all__ = [
    "DEFAULT_FIELDS",
    "FIELDS",
    "FieldText",
    "RecordForm",
    "Wording",
    "check_field_names",
    "clean_question",
    "clean_text",
    "parse_field",
    "parse_fields",
    "record_text",
]


Wording = Literal["short", "long"]


class FieldText(NamedTuple):
    """How one field is said.

    Attributes:
        template: the short sentence, with ``{}`` for the value.
        unit: what the value counts, for forms and tables.
        long: the long sentence.
        scale: what is said after the value where units are asked for; empty where both sentences
            have the unit already, or where there is none.
    """

    template: str
    unit: str
    long: str
    scale: str


# Short on purpose: each token of the record is paid for in every layer of the language model, and
# the highest score of a test is the same for everyone. In the order they are said, whatever the
# order they are asked for in.
# The long sentences name no disease either: CDR stays an abbreviation.
FIELDS: dict[str, FieldText] = {
    "age": FieldText("Age {}.", "years", "The subject's age is {}.", "years"),
    "sex": FieldText("Sex {}.", "F or M", "The subject's sex is {}.", ""),
    "education_years": FieldText(
        "Education {} years.", "years", "The subject was educated for {} years.", ""
    ),
    "ses": FieldText(
        "Socioeconomic status {}.",
        "Hollingshead, 1 is high",
        "The socioeconomic status (Hollingshead, 1 is the highest) is {}.",
        "of 5",
    ),
    "mmse": FieldText(
        "MMSE {}.", "points of 30", "The score of the Mini-Mental State Examination is {}.", "of 30"
    ),
    "cdr_global": FieldText("CDR {}.", "0, 0.5, 1, 2 or 3", "The global CDR is {}.", "of 3"),
    "cdr_sb": FieldText(
        "CDR sum of boxes {}.", "points of 18", "The CDR sum of boxes is {}.", "of 18"
    ),
    "lm_immediate": FieldText(
        "Logical memory immediate {}.",
        "story units of 25",
        "The immediate recall of the Logical Memory story is {}.",
        "of 25",
    ),
    "lm_delayed": FieldText(
        "Logical memory delayed {}.",
        "story units of 25",
        "The delayed recall of the Logical Memory story is {}.",
        "of 25",
    ),
}

# CDR is left out: in most cohorts it defines the label, so that it would be the answer itself.
DEFAULT_FIELDS: tuple[str, ...] = (
    "age",
    "sex",
    "education_years",
    "mmse",
    "lm_immediate",
    "lm_delayed",
)

_SEXES = {"f": "F", "female": "F", "m": "M", "male": "M"}


@dataclass(frozen=True)
class RecordForm:
    """How records are said: which fields, in which words.

    Attributes:
        fields: names of `FIELDS`.
        wording: ``short`` as a clinician notes, ``long`` in whole sentences.
        units: whether the unit or the highest score follows each value that has one.
    """

    fields: tuple[str, ...] = DEFAULT_FIELDS
    wording: Wording = "short"
    units: bool = False

    def text(self, fields: Mapping[str, str]) -> str:
        """`record_text` in this form."""
        return record_text(fields, self.fields, wording=self.wording, units=self.units)


def record_text(
    fields: Mapping[str, str],
    use: Sequence[str] = DEFAULT_FIELDS,
    *,
    wording: Wording = "short",
    units: bool = False,
) -> str:
    """The record of one session as text.

    Args:
        fields: values as in ``sessions.tsv``; other names than those of `FIELDS` are not read,
            absent and empty ones are left out of the text.
        use: which fields to say; each of `FIELDS` can be switched on and off by name.
        wording, units: as in `RecordForm`.

    Returns:
        e.g. ``"Age 74. Sex female. MMSE 27."``; empty if nothing is known.

    Raises:
        UsageError: ``use`` holds a name that is not a field.
        InputError: a value is not within its range.
    """
    wanted = check_field_names(use)
    sentences = []
    for name, text in FIELDS.items():
        if name in wanted and (value := parse_field(name, fields.get(name, ""))):
            spoken = _spoken(name, value) + (f" {text.scale}" if units and text.scale else "")
            sentences.append((text.template if wording == "short" else text.long).format(spoken))
    return " ".join(sentences)


def parse_field(name: str, text: str, where: str = "record") -> str:
    """One value in the form of ``sessions.tsv``; ``female`` becomes ``F``, empty stays empty.

    Raises:
        InputError: the value is of another kind or out of range.
    """
    plain = text.strip()
    if name == "sex":
        plain = _SEXES.get(plain.lower(), plain)
    return SESSION_FIELDS[name].parse(plain, where)


def parse_fields(text: str, where: str = "--record") -> dict[str, str]:
    """Read ``"age=74,sex=F,mmse=27"`` as typed at a command line.

    Raises:
        UsageError: not ``name=value`` pairs, an unknown name, or a name given twice.
        InputError: a value is of another kind or out of range.
    """
    fields: dict[str, str] = {}
    for pair in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = (part.strip() for part in pair.partition("="))
        if not equals or not value:
            problem = f"found {pair!r}, expected name=value"
            fix = "write e.g. age=74,sex=F,mmse=27"
            raise UsageError(where, problem, fix, code="bad-field")
        check_field_names([name], where)
        if name in fields:
            problem = f"{name} is given twice"
            raise UsageError(where, problem, "give it once", code="field-twice")
        fields[name] = parse_field(name, value, where)
    return fields


def check_field_names(names: Sequence[str], where: str = "record fields") -> frozenset[str]:
    """``names`` as a set, or UsageError for one that `FIELDS` does not have."""
    for name in names:
        if name not in FIELDS:
            fix = nearest(name, FIELDS) or f"the fields are: {', '.join(FIELDS)}"
            raise UsageError(where, f"{name!r} is not a field", fix, code="unknown-field")
    return frozenset(names)


def _spoken(name: str, value: str) -> str:
    if name == "sex":
        return {"F": "female", "M": "male"}[value]
    # A completed year is what a clinician writes, and a decimal would mark the data set.
    return str(math.floor(float(value))) if name == "age" else value
