"""Codes that mean "no value", per cohort and field; what was written is kept, never averaged.

Every numeric code lies outside its field's range in `medblip.study.schema`, so that no real value
can be taken for a missing one. A number outside the range that is not listed here is an error.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

ANY = "*"  # codes of every field

MissingCodes = Mapping[str, Collection[str]]

_WORDS = frozenset({"", "n/a", "N/A", "NA", "NaN", "nan"})
_LONI = frozenset({"-4", "-1"})  # ADNI and AIBL tables
_NACC_SCORE = frozenset({"88", "95", "96", "97", "98", "99"})
_FILLED = frozenset({"888", "999", "8888", "9999"})

# BIDS itself knows only n/a, but folders converted from the cohorts keep the cohorts' codes.
BIDS: MissingCodes = {
    ANY: _WORDS,
    "age": _LONI | _FILLED,
    "education_years": _LONI | _FILLED | {"99"},
    "education_code": _LONI | _FILLED | {"9", "99"},
    "ses": _LONI | _FILLED | {"9", "99"},
    "mmse": _LONI | _FILLED | _NACC_SCORE,
    "cdr_global": _LONI | _FILLED | {"9", "99"},
    "cdr_sb": _LONI | _FILLED | {"99"},
    "lm_immediate": _LONI | _FILLED | _NACC_SCORE,
    "lm_delayed": _LONI | _FILLED | _NACC_SCORE,
    "scan_date": _LONI,
    "clinical_date": _LONI,
    "sex": frozenset({"O", "o", "other", "8", "9"}),
    "diagnosis": _LONI,
}

MISSING_CODES: dict[str, MissingCodes] = {"bids": BIDS}


def is_missing(field: str, text: str, codes: MissingCodes) -> bool:
    """Whether ``text`` says that ``field`` has no value; ``-4.0`` counts as ``-4``."""
    plain = text.removesuffix(".0")
    return text in codes[ANY] or plain in codes.get(field, ())


def split_missing(
    fields: Mapping[str, str], codes: MissingCodes
) -> tuple[dict[str, str], dict[str, str]]:
    """Part ``fields`` into values and missing codes.

    Returns:
        (values, codes as written); empty cells are in neither.
    """
    values: dict[str, str] = {}
    missing: dict[str, str] = {}
    for field, text in fields.items():
        if not is_missing(field, text, codes):
            values[field] = text
        elif text:
            missing[field] = text
    return values, missing
