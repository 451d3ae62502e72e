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

_LONI_SCORES = ("mmse", "cdr_global", "cdr_sb", "lm_immediate", "lm_delayed")
_LONI_FIELDS = ("sex", "age", "site", "diagnosis", "clinical_date", "field_strength_t")

# -4 is "not collected" in both; ADNI1 also wrote -1.
ADNI: MissingCodes = {
    ANY: _WORDS,
    **dict.fromkeys((*_LONI_SCORES, *_LONI_FIELDS, "education_years"), _LONI),
}
AIBL: MissingCodes = {
    ANY: _WORDS,
    **dict.fromkeys((*_LONI_SCORES, *_LONI_FIELDS), frozenset({"-4"})),
}

# 88 not computed, 95 physical, 96 cognitive, 97 other problem, 98 refused, -4 not collected.
_UDS_SCORE = frozenset({"88", "95", "96", "97", "98", "-4"})
NACC: MissingCodes = {
    ANY: _WORDS,
    "age": frozenset({"888", "-4"}),
    "education_years": frozenset({"99", "-4"}),
    **dict.fromkeys(("mmse", "lm_immediate", "lm_delayed"), _UDS_SCORE),
    **dict.fromkeys(("cdr_global", "cdr_sb", "sex", "diagnosis"), frozenset({"-4"})),
}
# No code is known of OASIS and MIRIAD: a cell is empty or N/A.
OASIS: MissingCodes = {ANY: _WORDS}
MIRIAD: MissingCodes = {ANY: _WORDS}

MISSING_CODES: dict[str, MissingCodes] = {
    "bids": BIDS,
    "adni": ADNI,
    "aibl": AIBL,
    "nacc": NACC,
    "oasis": OASIS,
    "miriad": MIRIAD,
}


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
