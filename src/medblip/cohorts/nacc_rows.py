"""One MRI session of NACC as a row: the nearest UDS visit's codes, decoded by the data dictionary.

The label is the clinician's status at that visit (``NACCUDSD``): 1 is NC, 3 MCI, 4 dementia. 2,
impaired but not MCI, is kept as OTHER with the detail IMCI and never folded into MCI; 8, which
UDS 4 has for behavioural impairment alone, is no label.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from medblip.cohorts.coding import Codes, SessionValues, decode
from medblip.cohorts.nacc_options import NaccOptions
from medblip.cohorts.nacc_tables import Visit
from medblip.cohorts.vendor_tables import VendorRow
from medblip.cohorts.visits import Match, nearest_visit
from medblip.errors import InputError
from medblip.findings import Finding
from medblip.study.missing import NACC

LABEL_DEFINED_BY = "cdr_global,cdr_sb"

_STATUS: Codes = {"1": "NC", "2": "OTHER", "3": "MCI", "4": "AD", "8": ""}
_SEX: Codes = {"1": "M", "2": "F", "8": "", "9": ""}
# 5 other, 7 varies, 8 not applicable, 9 unknown: no field strength to give.
_TESLA: Codes = {"1": "1.5", "2": "3", **dict.fromkeys(("5", "7", "8", "9", "88", "-4"), "")}
_NO_CAUSE = frozenset({"", "88", "99", "-4"})
_MID_MONTH = 15
_DAYS_A_YEAR = 365.25

_SCORES = {
    "mmse": "NACCMMSE",
    "cdr_global": "CDRGLOB",
    "cdr_sb": "CDRSUM",
    "lm_immediate": "LOGIMEM",
    "lm_delayed": "MEMUNITS",
}


@dataclass(frozen=True)
class MriSession:
    """One row of the MRI table.

    Attributes:
        person: NACCID.
        session: name of its first file without suffix.
        row: its cells.
        day: of the scan; None where the table does not say it.
        visits: the person's UDS visits in order; empty for a person the UDS table lacks.
    """

    person: str
    session: str
    row: VendorRow
    day: date | None
    visits: Sequence[Visit]

    def match(self, window: int) -> Match[Visit] | None:
        """The visit nearest to the scan."""
        if self.day is None:
            return None
        dated = ((visit.day, visit) for visit in self.visits)
        return nearest_visit(self.day, dated, window=window)


def session_row(
    mri: MriSession,
    match: Match[Visit] | None,
    options: NaccOptions,
    findings: list[Finding],
    tesla: str = "",
) -> dict[str, str]:
    """The canonical row; without a visit it has no label and no scores.

    Args:
        mri: the session.
        match: its visit.
        options: of the reader.
        findings: where warnings go.
        tesla: field strength by the primary image's sidecar, for a table that does not say it.

    Raises:
        InputError: the visit's ``NACCUDSD`` is no known code.
    """
    values = SessionValues(NACC, findings)
    for visit in _by_distance(mri):
        values.take("sex", visit.row.cell("SEX"), _SEX)
        values.take("education_years", visit.row.cell("EDUC"))
    values.take("age", mri.row.cell("NACCMRIA"))
    if "age" not in values.values and (age := _age(mri)):
        values.codes.pop("age", None)
        values.values["age"] = age
    values.take("field_strength_t", mri.row.cell("MRIFIELD"), _TESLA)
    if tesla and "field_strength_t" not in values.values:
        values.codes.pop("field_strength_t", None)
        values.values["field_strength_t"] = tesla
    facts = {
        "participant_id": f"NACC-{mri.person}",
        "session_id": mri.session,
        "scan_date": mri.day.isoformat() if mri.day else "",
        "site": mri.row["NACCADC"],
        "label_defined_by": LABEL_DEFINED_BY,
    }
    if match is not None:
        facts |= _visit_facts(match, values, options)
    return values.row(**facts)


def _visit_facts(
    match: Match[Visit], values: SessionValues, options: NaccOptions
) -> dict[str, str]:
    row = match.visit.row
    for field, column in _SCORES.items():
        values.take(field, row.cell(column))
    values.take("diagnosis", row.cell("NACCUDSD"), _STATUS)
    diagnosis = values.values.get("diagnosis", "")
    facts = {
        "visit_code": row["NACCVNUM"],
        "clinical_date": match.visit.day.isoformat(),
        "match_days": str(match.days),
        "diagnosis_source": f"NACCUDSD={row['NACCUDSD']}" if diagnosis else "",
        "diagnosis_detail": _detail(diagnosis, row),
    }
    if options.ad_only and diagnosis == "AD" and not _is_alzheimers(row):
        facts["diagnosis"] = "OTHER"
    return facts


def _detail(diagnosis: str, row: VendorRow) -> str:
    if diagnosis == "OTHER":
        return "IMCI"
    cause = row["NACCETPR"]
    return f"NACCETPR={cause}" if diagnosis in ("MCI", "AD") and cause not in _NO_CAUSE else ""


def _is_alzheimers(row: VendorRow) -> bool:
    return row["NACCETPR"] == "1" or ("NACCETPR" not in row.written and row["NACCALZD"] == "1")


def _by_distance(mri: MriSession) -> list[Visit]:
    """All visits, nearest first: sex and education are the person's, not a visit's."""
    day = mri.day
    if day is None:
        return list(mri.visits)
    return sorted(mri.visits, key=lambda visit: abs((visit.day - day).days))


def _age(mri: MriSession) -> str:
    """Age at the scan from month and year of birth, which differ from the day by two weeks."""
    for visit in mri.visits if mri.day else ():
        row = visit.row
        try:
            born = date(int(row["BIRTHYR"]), int(row["BIRTHMO"]), _MID_MONTH)
            years = (mri.day - born).days / _DAYS_A_YEAR if mri.day else 0.0
            cell = row.cell("BIRTHYR")
            return decode("age", type(cell)(f"{years:.1f}", cell.column, cell.where), NACC)
        except (ValueError, InputError):  # 9999, or a birth after the scan
            continue
    return ""
