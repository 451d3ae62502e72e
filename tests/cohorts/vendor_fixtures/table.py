"""A table of one's own: columns and codes that no vendor uses, scans in folders of any name."""

from __future__ import annotations

import itertools
from pathlib import Path

from medblip.cohorts.table_map import TableMap
from vendor_fixtures.small_files import analyze, csv_file, nifti, nifti_gz, write, zip_file
from vendor_fixtures.truth import Truth

TABLE = "people.csv"
COHORT = "CLINIC"
MAP = {
    "participant_id": "PERSON",
    "session_id": "VISIT",
    "path": "SCAN",
    "scan_date": "SCANNED",
    "age": "AGE_YRS",
    "sex": "GENDER",
    "education_years": "SCHOOL",
    "mmse": "MMSE_SUM",
    "diagnosis": "DX",
}
VALUES = {
    "DX": {"1": "NC", "2": "MCI", "3": "AD", "4": "OTHER", "-9": ""},
    "GENDER": {"w": "F", "m": "M"},
    "MMSE_SUM": {"-7": ""},
}
MAPPING = TableMap(COHORT, MAP, VALUES, table=TABLE)

_ROW = {
    "PERSON": "",
    "VISIT": "v1",
    "SCAN": "",
    "SCANNED": "2019-03-01",
    "AGE_YRS": "71.46",
    "GENDER": "w",
    "SCHOOL": "12",
    "MMSE_SUM": "28",
    "DX": "1",
    "NOTE": "",
}
_SEEDS = itertools.count(300)


def row(person: str, scan: str, **changes: str) -> dict[str, str]:
    return {**_ROW, "PERSON": person, "SCAN": scan, **changes}


def make_table(root: Path) -> Truth:
    """Write table and scans."""
    truth = Truth(COHORT)
    rows = [
        row("007", "a/one.nii.gz"),
        row("007", "a/two.nii"),
        row("007", "a/late.nii", VISIT="v2", SCANNED="2020-03-01", DX="2", AGE_YRS="72.46"),
        row("8", "b/pair.img", GENDER="m", DX="4", MMSE_SUM="-7"),
        row("9", "scans.zip/deep/x.nii", DX="-9", SCHOOL=""),
        row("10", "gone.nii"),
        row("11", "../outside.nii"),
        row("12", "a/score.nii", MMSE_SUM="61"),
        row("13", "a/date.nii", SCANNED="01/03/2019"),
    ]
    for name in ("a/two.nii", "a/late.nii", "a/score.nii", "a/date.nii"):
        write(root / name, nifti(next(_SEEDS)))
    write(root / "a/one.nii.gz", nifti_gz(next(_SEEDS)))
    write(root / "a/unlisted.nii", nifti(next(_SEEDS)))
    analyze(root / "b/pair.hdr", next(_SEEDS), "LAS")
    zip_file(root / "scans.zip", {"deep/x.nii": nifti(next(_SEEDS))})
    csv_file(root / TABLE, rows)
    _fill(truth)
    return truth


def _fields(**fields: str) -> dict[str, str]:
    common = {
        "visit_code": "v1",
        "scan_date": "2019-03-01",
        "days_from_baseline": "0",
        "age": "71.46",
        "sex": "F",
        "education_years": "12",
        "mmse": "28",
        "diagnosis": "NC",
        "diagnosis_source": "DX=1",
    }
    merged = {**common, **fields}
    return {name: value for name, value in merged.items() if value}


def _fill(truth: Truth) -> None:
    truth.session("007", "v1", ["a/one.nii.gz", "a/two.nii"], **_fields())
    truth.session(
        "007",
        "v2",
        ["a/late.nii"],
        **_fields(
            visit_code="v2",
            scan_date="2020-03-01",
            days_from_baseline="366",
            age="72.46",
            diagnosis="MCI",
            diagnosis_source="DX=2",
        ),
    )
    other = {"diagnosis": "OTHER", "diagnosis_source": "DX=4", "sex": "M", "mmse": ""}
    truth.session("8", "v1", ["b/pair.img"], **_fields(**other, missing_codes="mmse=-7"))
    none = {"diagnosis": "", "diagnosis_source": "", "education_years": ""}
    packed = _fields(**none, missing_codes="diagnosis=-9")
    truth.session("9", "v1", ["scans.zip/deep/x.nii"], **packed)
    truth.session("12", "v1", ["a/score.nii"], **_fields(mmse=""))
    truth.session("13", "v1", ["a/date.nii"], **_fields(scan_date="", days_from_baseline=""))
    truth.refused.update({"gone.nii": "missing-file", "../outside.nii": "unsafe-path"})
    truth.findings.update(
        {
            "no-diagnosis": 1,
            "out-of-range": 1,
            "date-format": 1,
            "unlisted-scan": 1,
            "extra-column": 1,
        }
    )
