"""ADNI's codes: visits by every name they go by, and the diagnosis column of each phase."""

from __future__ import annotations

import re

from medblip.cohorts.bids_rows import Cell
from medblip.cohorts.coding import Codes, decode
from medblip.cohorts.loni_tables import BASELINE, visit_code
from medblip.cohorts.vendor_tables import VendorRow
from medblip.errors import InputError
from medblip.study.missing import ADNI, is_missing

SCREENING = ("sc", "scmri")  # what was done before baseline and belongs to it

SEX: Codes = {"Male": "M", "Female": "F", "1": "M", "2": "F"}

_STATUS: Codes = {"1": "NC", "2": "MCI", "3": "AD"}
# The new status after stability, conversion or reversion.
_CHANGE: Codes = {
    "1": "NC",
    "2": "MCI",
    "3": "AD",
    "4": "MCI",
    "5": "AD",
    "6": "AD",
    "7": "NC",
    "8": "MCI",
    "9": "NC",
}
_BY_PHASE = {
    "ADNI1": "DXCURREN",
    "ADNIGO": "DXCHANGE",
    "ADNI2": "DXCHANGE",
    "ADNI3": "DIAGNOSIS",
    "ADNI4": "DIAGNOSIS",
}
_CODES = {"DXCURREN": _STATUS, "DXCHANGE": _CHANGE, "DIAGNOSIS": _STATUS}

_MONTH_NAME = re.compile(r"adni(?:1/go|go|1|2)? month ([0-9]+)(?:[ -].*)?")
_BASELINE_NAMES = re.compile(
    r"adni screening|adni baseline|adni1/go screening|adnigo screening mri"
    r"|adni2 (?:screening|baseline)(?: mri)?-new pt|adni3 (?:screening|baseline)(?: mri)?-new pt"
)


def named_visit(text: str) -> str | None:
    """The code of a visit by the name that image tables use; None where the name is not enough.

    ``ADNI2 Year 1 Visit`` is such a name: for a subject who came from ADNI1 it is not month 12.
    """
    name = re.sub(r"\s+", " ", text.strip().lower())
    if _BASELINE_NAMES.fullmatch(name):
        return BASELINE
    month = _MONTH_NAME.fullmatch(name)
    if month is not None:
        return visit_code(f"m{month[1]}")
    return None if " " in name else visit_code(name)


def phase_diagnosis(row: VendorRow) -> tuple[str, Cell] | None:
    """The label of a DXSUM row and the cell that says it, or None if the row has none.

    The column is the phase's own; where it is empty, ``DIAGNOSIS``, which the new DXSUM fills for
    all phases.

    Raises:
        InputError: the phase or the code is not known.
    """
    phase = row["PHASE"].strip().upper()
    if phase not in _BY_PHASE:
        problem = f"the phase is {row['PHASE']!r}, expected one of {', '.join(_BY_PHASE)}"
        where = row.cell("PHASE").where
        raise InputError(where, problem, "correct it", code="unknown-phase")
    for column in dict.fromkeys((_BY_PHASE[phase], "DIAGNOSIS")):
        cell = row.cell(column)
        if not is_missing("diagnosis", cell.text, ADNI):
            return decode("diagnosis", cell, ADNI, _CODES[column]), cell
    return None
