"""The tables of OASIS-1 and OASIS-2, and one row of them as a session.

CDR *is* the label here: 0 is NC, anything above is dementia, and a blank one is no label (it is
blank for the young of OASIS-1, who were not tested). What OASIS-2 calls ``Group`` looks at the
whole follow-up and is kept as a detail only.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from medblip.cohorts.coding import SessionValues, decode
from medblip.cohorts.collecting import Collector
from medblip.cohorts.foreign import OASIS1, OASIS2, Source, foreign_tables, refuse_absent
from medblip.cohorts.oasis_options import OasisOptions
from medblip.cohorts.vendor_tables import (
    Name,
    VendorRow,
    VendorTable,
    find_table,
    read_vendor_table,
)
from medblip.errors import InputError
from medblip.findings import Finding
from medblip.study.missing import OASIS

LABEL_DEFINED_BY = "cdr_global"
FIELD_STRENGTH = "1.5"  # one scanner type for both cohorts, a Siemens Vision
_CODE_AT_MOST = 5

# The site appends a 16-digit number to the names of its current files.
_NUMBER = "-[0-9a-f]{16}"


@dataclass(frozen=True)
class OasisTable:
    """How a cohort's table is called and what its columns are.

    Attributes:
        source: the cohort, for messages.
        names: of the file, best first.
        key: column with the session's id.
        session: pattern of that id; group 1 is the subject, group 2 the visit.
        fields: field of ``sessions.tsv`` to column.
        required, optional: columns to read.
    """

    source: Source
    names: tuple[Name, ...]
    key: str
    session: re.Pattern[str]
    fields: dict[str, str]
    required: tuple[str, ...]
    optional: tuple[str, ...]


TABLE1 = OasisTable(
    OASIS1,
    (re.compile(f"oasis_cross-sectional{_NUMBER}", re.IGNORECASE), "oasis_cross-sectional"),
    "ID",
    re.compile(r"(OAS1_[0-9]{4})_(MR[0-9])"),
    {
        "days_from_baseline": "Delay",
        "age": "Age",
        "sex": "M/F",
        "education_code": "Educ",
        "ses": "SES",
        "mmse": "MMSE",
    },
    ("ID", "M/F", "Age", "CDR"),
    ("Educ", "SES", "MMSE", "Delay"),
)
RETEST_NAMES: tuple[Name, ...] = (
    re.compile(f"oasis_cross-sectional-reliability(?:{_NUMBER})?", re.IGNORECASE),
)
TABLE2 = OasisTable(
    OASIS2,
    (
        re.compile(f"oasis_longitudinal(?:_demographics)?{_NUMBER}", re.IGNORECASE),
        "oasis_longitudinal_demographics",
        "oasis_longitudinal",
    ),
    "MRI ID",
    re.compile(r"(OAS2_[0-9]{4})_(MR[0-9]+)"),
    {
        "days_from_baseline": "MR Delay",
        "age": "Age",
        "sex": "M/F",
        "education_years": "EDUC",
        "ses": "SES",
        "mmse": "MMSE",
    },
    ("Subject ID", "MRI ID", "Group", "M/F", "Age", "CDR"),
    ("Visit", "MR Delay", "EDUC", "SES", "MMSE"),
)


def read_rows(
    spec: OasisTable, files: Sequence[Path], encoding: str, collector: Collector
) -> dict[str, VendorRow]:
    """Rows by session id.

    Raises:
        InputError: the table is not there (``other-cohort`` if it is the other's), or cannot be
            read.
    """
    root, findings = collector.root, collector.findings
    path = find_table(root, spec.names, findings=findings, files=files)
    if path is None:
        refuse_absent(root, f"{spec.source.name} table", files, [spec.source], encoding)
    findings.extend(foreign_tables(root, files, [OASIS1, OASIS2], encoding))
    rows = _rows_of(spec, path, encoding, collector)
    if spec is TABLE1:
        retest = find_table(root, RETEST_NAMES, findings=findings, files=files)
        if retest is not None:
            _add_retest(rows, _rows_of(spec, retest, encoding, collector), findings)
    return rows


def session_row(
    spec: OasisTable, row: VendorRow, options: OasisOptions, findings: list[Finding]
) -> dict[str, str]:
    """The session that a row describes.

    Raises:
        InputError: its CDR, which would be its label, is out of range, or its two identifiers
            disagree.
    """
    match = spec.session.fullmatch(row[spec.key])
    subject, visit = match.groups() if match else ("", "")
    if spec is TABLE2 and row["Subject ID"] != subject:
        problem = f"Subject ID is {row['Subject ID']!r}, but MRI ID is {row[spec.key]!r}"
        raise InputError(row.where, problem, "correct the row", code="id-mismatch")
    values = SessionValues(OASIS, findings)
    for field, column in spec.fields.items():
        cell = row.cell(column)
        if field == "days_from_baseline" and cell.text.upper() == "N/A":
            continue  # OASIS-1: the first session, to which the others' days are counted
        values.take(field, cell)
    cdr = decode("cdr_global", row.cell("CDR"), OASIS)
    values.take("cdr_global", row.cell("CDR"))
    if spec is TABLE1:
        values.values.setdefault("days_from_baseline", "0" if visit == "MR1" else "")
    diagnosis = _diagnosis(cdr, options)
    return values.row(
        participant_id=f"{spec.source.name.replace('-', '')}-{subject}",
        session_id=row[spec.key],
        visit_code=visit if spec is TABLE1 else row["Visit"],
        diagnosis=diagnosis,
        diagnosis_source=f"CDR={cdr}" if diagnosis else "",
        diagnosis_detail="" if spec is TABLE1 else row["Group"],
        label_defined_by=LABEL_DEFINED_BY,
        field_strength_t=FIELD_STRENGTH,
    )


def _diagnosis(cdr: str, options: OasisOptions) -> str:
    if not cdr:
        return ""
    return {"0": "NC", "0.5": options.half_cdr}.get(cdr, "AD")


def _rows_of(
    spec: OasisTable, path: Path, encoding: str, collector: Collector
) -> dict[str, VendorRow]:
    findings = collector.findings
    table = read_vendor_table(
        path,
        collector.root,
        required=spec.required,
        optional=spec.optional,
        encoding=encoding,
        findings=findings,
    )
    collector.read_from(path)
    if "EDUC" in spec.optional:
        _check_unit(table, findings)
    rows = {}
    for (session,), row in table.keyed([spec.key], findings).items():
        if spec.session.fullmatch(session):
            rows[session] = row
            continue
        problem = f"{spec.key} is {session!r}, expected e.g. {_example(spec)}"
        findings.append(Finding("bad-id", "error", row.where, problem, "correct the identifier"))
    return rows


def _check_unit(table: VendorTable, findings: list[Finding]) -> None:
    """OASIS-2 counts years; OASIS-1's code from 1 to 5 in this column would be read as years."""
    texts = [text for text in table.frame["EDUC"] if text.replace(".", "", 1).isdecimal()]
    if not texts or max(float(text) for text in texts) > _CODE_AT_MOST:
        return
    table.frame["EDUC"] = ""
    problem = f"no value of EDUC is above {_CODE_AT_MOST}: it looks like OASIS-1's code, not years"
    fix = "give years of education, or remove the column"
    findings.append(Finding("education-unit", "warning", table.name, problem, fix))


def _add_retest(
    rows: dict[str, VendorRow], more: dict[str, VendorRow], findings: list[Finding]
) -> None:
    """Rows of the re-test table; what both tables have is taken from the main one."""
    both = rows.keys() & more.keys()
    if both:
        where = more[min(both)].where
        problem = f"{len(both)} session(s) are also in the main table, which is used for them"
        findings.append(Finding("repeated-row", "note", where, problem))
    rows.update({session: row for session, row in more.items() if session not in both})


def _example(spec: OasisTable) -> str:
    return "OAS1_0001_MR1" if spec is TABLE1 else "OAS2_0001_MR1"
