"""Which column of a BIDS table, by any of its known names, holds which field of a study.

Names are compared without regard to case. Screening columns (``diagnosis_sc``) are not here on
purpose: a label is the diagnosis at the scan's own visit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from medblip.errors import InputError

# Facts of a person, read for every session.
SUBJECT_FIELDS: dict[str, tuple[str, ...]] = {
    "sex": ("sex", "gender"),
    "education_years": ("education_years", "years_of_education"),
    "education_code": ("education_code",),
    "education_level": ("education_level",),  # years or code, see education_field
    "ses": ("ses",),
    "site": ("site",),
}

# Facts of a visit. BIDS' own names first, then those of Clinica's converters.
VISIT_FIELDS: dict[str, tuple[str, ...]] = {
    "scan_date": ("acq_time",),
    "clinical_date": ("examination_date",),
    "age": ("age",),
    "mmse": ("mmse", "MMS"),
    "cdr_global": ("cdr_global", "cdr"),
    "cdr_sb": ("cdr_sb",),
    "lm_immediate": ("lm_immediate", "logmem_imm"),
    "lm_delayed": ("lm_delayed", "logmem_delay"),
    "diagnosis": ("diagnosis",),
}

# Columns of participants.tsv that hold for the first session only.
BASELINE_FIELDS: dict[str, tuple[str, ...]] = {
    "age": ("age_bl",),
    "mmse": ("mmse_bl",),
    "diagnosis": ("diagnosis_bl",),
}
BASELINE_SESSIONS = frozenset({"ses-M000", "ses-M00", "single"})

KEYS = ("participant_id", "session_id")

# Clinica writes years for ADNI and the 1-5 code for OASIS-1 into a column of the same name.
_EDUCATION_LEVEL_BY_PREFIX = {"sub-ADNI": "education_years", "sub-OASIS1": "education_code"}

# Which fields the diagnosis was made from, by the prefix of Clinica's participant ids.
_LABEL_DEFINED_BY_PREFIX = {
    "sub-ADNI": "mmse,cdr_global,cdr_sb,lm_delayed",
    "sub-AIBL": "mmse,cdr_global,lm_delayed",
    "sub-OASIS": "cdr_global",
}
_LABEL_DEFINED_BY = "cdr_global,cdr_sb"


def columns_of(
    header: Iterable[str], fields: Mapping[str, tuple[str, ...]], where: str
) -> dict[str, str]:
    """Field -> the column of ``header`` that holds it; absent fields are left out.

    Raises:
        InputError: two columns hold the same field.
    """
    folded = {column.casefold(): column for column in header}
    found: dict[str, str] = {}
    for field, names in fields.items():
        present = [folded[name.casefold()] for name in names if name.casefold() in folded]
        if len(present) > 1:
            problem = f"the columns {' and '.join(present)} hold the same field, {field}"
            raise InputError(where, problem, "remove one of them", code="twin-column")
        if present:
            found[field] = present[0]
    return found


def all_names(*tables: Mapping[str, tuple[str, ...]]) -> set[str]:
    """Every column name that is read."""
    return {name for table in tables for names in table.values() for name in names} | {*KEYS}


def education_field(participant: str, units: str) -> str | None:
    """What ``education_level`` is: ``education_years``, ``education_code``, or None if unknown.

    Args:
        participant: ``sub-...``.
        units: what participants.json says of the column; may be empty.
    """
    if units.casefold() in ("year", "years", "yr", "y", "a"):
        return "education_years"
    return _by_prefix(participant, _EDUCATION_LEVEL_BY_PREFIX)


def label_defined_by(participant: str) -> str:
    """Fields that the diagnosis was made from, joined by commas."""
    return _by_prefix(participant, _LABEL_DEFINED_BY_PREFIX) or _LABEL_DEFINED_BY


def _by_prefix(participant: str, table: Mapping[str, str]) -> str | None:
    return next((value for prefix, value in table.items() if participant.startswith(prefix)), None)
