"""One ADNI session's row of ``sessions.tsv`` from the rows of its visit and its person."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from medblip.cohorts.adni_codes import SEX
from medblip.cohorts.adni_options import AdniOptions
from medblip.cohorts.adni_tables import DXSUM, MERGE
from medblip.cohorts.adni_visits import Person, Visit
from medblip.cohorts.bids_rows import Cell
from medblip.cohorts.coding import SessionValues, decode, decode_date
from medblip.cohorts.loni_tables import BASELINE
from medblip.cohorts.vendor_tables import VendorRow
from medblip.cohorts.visits import days_after
from medblip.errors import InputError
from medblip.findings import Finding
from medblip.study.missing import ADNI, is_missing
from medblip.study.schema import SESSION_FIELDS

DAYS_IN_YEAR = 365.25
LABEL_DEFINED_BY = "mmse,cdr_global,cdr_sb,lm_delayed"

# What a visit's tables say: field of a study, column. ADNIMERGE's value goes before the others'.
_SCORES: dict[str, tuple[tuple[str, str], ...]] = {
    MERGE: (("mmse", "MMSE"), ("cdr_sb", "CDRSB"), ("lm_delayed", "LDELTOTAL")),
    "MMSE": (("mmse", "MMSCORE"),),
    "CDR": (("cdr_global", "CDGLOBAL"),),
    "NEUROBAT": (("lm_immediate", "LIMMTOTAL"), ("lm_delayed", "LDELTOTAL")),
}
# What does not change between visits.
_PERSON: tuple[tuple[str, str, str], ...] = (
    (MERGE, "sex", "PTGENDER"),
    (MERGE, "education_years", "PTEDUCAT"),
    (MERGE, "site", "SITE"),
    (DXSUM, "site", "SITEID"),
)


@dataclass(frozen=True)
class SessionFacts:
    """What is known of a session before its visit's tables are read.

    Attributes:
        session: its id.
        visit: the visit that speaks for it; None where there is none within the window.
        day: of its primary scan.
        match_days: scan minus visit, as text; empty where a day is not known.
        tesla: of its primary scan; empty if not known.
        first_day: the person's first known day, of a visit or a scan.
    """

    session: str
    visit: Visit | None
    day: date | None
    match_days: str
    tesla: str
    first_day: date | None


def session_row(
    person: Person, facts: SessionFacts, options: AdniOptions, findings: list[Finding]
) -> dict[str, str]:
    """The canonical row.

    Raises:
        InputError: the visit's diagnosis is a code that ADNI does not have.
    """
    values = SessionValues(ADNI, findings)
    visit = facts.visit
    if visit is not None:
        if visit.fault is not None:
            raise visit.fault
        _take_scores(values, visit, findings)
    _take_person(values, person, options, findings)
    day = facts.day or (visit.day if visit else None)
    return values.row(
        cohort="ADNI",
        participant_id=f"ADNI-{person.ptid}",
        session_id=facts.session,
        visit_code=visit.code if visit else "",
        scan_date=facts.day.isoformat() if facts.day else "",
        days_from_baseline=days_after(day, facts.first_day),
        clinical_date=visit.day.isoformat() if visit and visit.day else "",
        match_days=facts.match_days,
        age=age_at(person, day, findings),
        field_strength_t=facts.tesla,
        label_defined_by=LABEL_DEFINED_BY,
        **_diagnosis(visit),
    )


def age_at(person: Person, day: date | None, findings: list[Finding]) -> str:
    """Age in years with one decimal: ADNIMERGE's at baseline, and the time since then.

    ADNIMERGE repeats the age at baseline on every row. Without it, the year of the scan minus the
    year of birth, so within a year.
    """
    if day is None:
        return ""
    try:
        for row in person.rows(MERGE):
            age = decode("age", row.cell("AGE"), ADNI)
            start = decode_date(row.cell("EXAMDATE_bl"), ADNI) or _baseline_day(person)
            if age and start is not None:
                years = float(age) + (day - start).days / DAYS_IN_YEAR
                return SESSION_FIELDS["age"].parse(f"{years:.1f}", row.cell("AGE").where)
        for row in person.demographics:
            year = row["PTDOBYY"].removesuffix(".0")
            if not is_missing("age", year, ADNI):
                return _age_by_year(row, year, day, findings)
    except InputError as error:
        problem = f"{error.problem}; the age is left empty"
        findings.append(Finding(error.code, "warning", error.where, problem, error.fix))
    return ""


def _age_by_year(row: VendorRow, year: str, day: date, findings: list[Finding]) -> str:
    where = row.cell("PTDOBYY").where
    if not year.isdecimal():
        problem = f"PTDOBYY is {year!r}, expected a year"
        raise InputError(where, problem, "correct it", code="not-a-number")
    age = SESSION_FIELDS["age"].parse(str(day.year - int(year)), where)
    problem = "only the year of birth is known, so the age is right within a year"
    findings.append(Finding("age-by-year", "note", where, problem))
    return age


def _baseline_day(person: Person) -> date | None:
    visit = person.visits.get(BASELINE)
    return visit.day if visit else None


def _take_scores(values: SessionValues, visit: Visit, findings: list[Finding]) -> None:
    """The visit's own values; then what only the screening has, which is noted."""
    for table, row in visit.rows.items():
        for field, column in _SCORES.get(table, ()):
            _take(values, field, row, column, findings)
    own = set(values.values)
    for table, row in visit.screening:
        for field, column in _SCORES.get(table, ()):
            if field not in own:
                _take(values, field, row, column, findings)
    merged = sorted(values.values.keys() - own)
    if visit.label_cell and _is_from(visit.label_cell, visit.screening):
        merged.append("diagnosis")
    if merged:
        problem = f"{', '.join(merged)} of the screening visit, since {visit.code} has none"
        findings.append(Finding("screening-merged", "note", visit.screening[0][1].where, problem))


def _is_from(cell: Cell, rows: list[tuple[str, VendorRow]]) -> bool:
    return any(cell.where.startswith(f"{row.where},") for _, row in rows)


def _take(
    values: SessionValues, field: str, row: VendorRow, column: str, findings: list[Finding]
) -> None:
    cell = row.cell(column)
    known, source = values.values.get(field), values.sources.get(field)
    taken = values.take(field, cell)
    if known and taken and taken != known and source is not None:
        problem = f"{cell.column} is {taken}, but {source.where} says {known}, which is used"
        fix = "correct one of the two tables"
        findings.append(Finding("conflicting-value", "warning", cell.where, problem, fix))


def _take_person(
    values: SessionValues, person: Person, options: AdniOptions, findings: list[Finding]
) -> None:
    for table, field, column in _PERSON:
        for row in person.rows(table):
            if field not in values.values:
                values.take(field, row.cell(column), SEX if field == "sex" else None)
    for row in person.demographics:
        for field, column in (("sex", "PTGENDER"), ("education_years", "PTEDUCAT")):
            if field not in values.values:
                values.take(field, row.cell(column), SEX if field == "sex" else None)
    years = values.values.get("education_years", "")
    if years and float(years) > options.max_education_years:
        where = values.sources["education_years"].where
        problem = f"{years} years of education, expected at most {options.max_education_years}"
        fix = "correct it, or set max_education_years"
        findings.append(
            Finding("unverified-education", "warning", where, f"{problem}; left empty", fix)
        )
        del values.values["education_years"]


def _diagnosis(visit: Visit | None) -> dict[str, str]:
    if visit is None or visit.label_cell is None:
        return {}
    cell = visit.label_cell
    return {
        "diagnosis": visit.label,
        "diagnosis_source": f"{cell.column}={cell.text}",
        "diagnosis_detail": _detail(visit),
    }


def _detail(visit: Visit) -> str:
    """The group at enrolment, at baseline only; and whether a dementia is ascribed to AD."""
    details = []
    for table, row in visit.all_rows():
        if table == MERGE and visit.code == BASELINE and row["DX_bl"]:
            details.append(row["DX_bl"])
        if table == DXSUM and visit.label == "AD":
            details += [f"{c}={row[c]}" for c in ("DXAD", "DXDDUE") if row[c].isdecimal()]
    return "; ".join(dict.fromkeys(details))
