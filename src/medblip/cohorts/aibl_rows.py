"""One AIBL session's row of ``sessions.tsv`` from the rows of its visit and its person."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from medblip.cohorts.aibl_options import AiblOptions
from medblip.cohorts.aibl_tables import DIAGNOSES, Person, Visit, birth_year
from medblip.cohorts.coding import Codes, SessionValues
from medblip.cohorts.visits import days_after
from medblip.errors import InputError
from medblip.findings import Finding
from medblip.study.missing import AIBL
from medblip.study.schema import SESSION_FIELDS

LABEL_DEFINED_BY = "mmse,cdr_global,lm_delayed"
SEX: Codes = {"1": "M", "2": "F"}
DIAGNOSIS: Codes = {"1": "NC", "2": "MCI", "3": "AD"}

_SCORES = (
    ("mmse", "mmse", "MMSCORE"),
    ("cdr", "cdr_global", "CDGLOBAL"),
    ("neurobat", "lm_immediate", "LIMMTOTAL"),
    ("neurobat", "lm_delayed", "LDELTOTAL"),
)


@dataclass(frozen=True)
class SessionFacts:
    """What is known of a session before its visit's tables are read.

    Attributes:
        session: its id.
        visit: the visit that it is; None where there is none within the window.
        day: of its primary scan.
        tesla: of its primary scan; empty if not known.
        first_day: the person's first known day, of a visit or a scan.
    """

    session: str
    visit: Visit | None
    day: date | None
    tesla: str
    first_day: date


def session_row(
    person: Person, facts: SessionFacts, options: AiblOptions, findings: list[Finding]
) -> dict[str, str]:
    """The canonical row.

    Raises:
        InputError: the visit's diagnosis is a code that AIBL does not have.
    """
    values = SessionValues(AIBL, findings)
    visit = facts.visit
    diagnosis = _take_diagnosis(values, visit, options, findings) if visit else {}
    if visit is not None:
        for table, field, column in _SCORES:
            for row in visit.rows.get(table, ()):
                values.take(field, row.cell(column))
    for row in person.demographics:
        values.take("sex", row.cell("PTGENDER"), SEX)
        values.take("site", row.cell("SITEID"))
    return values.row(
        participant_id=f"AIBL-{person.rid}",
        session_id=facts.session,
        visit_code=visit.code if visit else "",
        scan_date=facts.day.isoformat() if facts.day else "",
        days_from_baseline=days_after(facts.day, facts.first_day),
        clinical_date=visit.day.isoformat() if visit and visit.day else "",
        match_days=days_after(facts.day, visit.day) if visit else "",
        age=_age(person, facts.day, findings),
        field_strength_t=facts.tesla,
        label_defined_by=LABEL_DEFINED_BY,
        **diagnosis,
    )


def _take_diagnosis(
    values: SessionValues, visit: Visit, options: AiblOptions, findings: list[Finding]
) -> dict[str, str]:
    for row in visit.rows.get(DIAGNOSES, ()):
        cell = row.cell("DXCURREN")
        if cell.text.removesuffix(".0") in options.no_label_codes:
            values.codes["diagnosis"] = cell.text
            problem = f"DXCURREN is {cell.text}, whose meaning no source tells: no label"
            findings.append(Finding("unverified-diagnosis", "note", cell.where, problem))
        elif values.take("diagnosis", cell, DIAGNOSIS):
            return {"diagnosis_source": f"{cell.column}={cell.text}"}
    return {}


def _age(person: Person, day: date | None, findings: list[Finding]) -> str:
    """Year of the scan minus year of birth, so right within a year; nothing else is given."""
    for row in person.demographics:
        try:
            year = birth_year(row)
            if year is not None and day is not None:
                where = row.cell("PTDOB").where
                return SESSION_FIELDS["age"].parse(str(day.year - year), where)
        except InputError as error:
            problem = f"{error.problem}; the age is left empty"
            findings.append(Finding(error.code, "warning", error.where, problem, error.fix))
    return ""
