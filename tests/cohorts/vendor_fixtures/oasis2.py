"""OASIS-2 in miniature: a converter, visits that skip a number, stray files, ``.nifti.img``."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path

from vendor_fixtures.small_files import analyze, csv_file, tar_gz, workbook
from vendor_fixtures.truth import Truth

TABLE = "oasis_longitudinal_demographics-8d83e569fa2e2d30.xlsx"
OLD_TABLE = "oasis_longitudinal.csv"
PART = "OAS2_RAW_PART1"

_ROW = {
    "Subject ID": "",
    "MRI ID": "",
    "Group": "Nondemented",
    "Visit": "1",
    "MR Delay": "0",
    "M/F": "M",
    "Hand": "R",
    "Age": "80",
    "EDUC": "14",
    "SES": "2",
    "MMSE": "28",
    "CDR": "0",
    "eTIV": "1678",
    "nWBV": "0.736",
    "ASF": "1.046",
}
_SEEDS = itertools.count(500)


def row(number: int, scan: int, **changes: str) -> dict[str, str]:
    """One row of the table."""
    subject = f"OAS2_9{number:03d}"
    return {**_ROW, "Subject ID": subject, "MRI ID": f"{subject}_MR{scan}", **changes}


def runs(folder: Path, count: int = 2) -> list[str]:
    """A session's runs; names below ``folder.parent``."""
    names = [f"RAW/mpr-{run}.nifti.hdr" for run in range(1, count + 1)]
    for name in names:
        analyze(folder / name, next(_SEEDS), "ASL")
    return [f"{folder.name}/{name}" for name in names]


def make_oasis2(root: Path, *, old_table: bool = False) -> Truth:
    """Write the download; with the older CSV (``Educ``), or the current workbook."""
    truth = Truth("OASIS2")
    table: list[dict[str, str]] = []
    for part in (_converter, _skipped_visit, _stray_files, _left_out):
        part(root, truth, table)
    if old_table:
        renamed = [{("Educ" if k == "EDUC" else k): v for k, v in r.items()} for r in table]
        csv_file(root / OLD_TABLE, renamed)
    else:
        workbook(root / TABLE, table)
    truth.findings.update({"extra-column": 1, "unverified-visit-number": 1})
    return truth


def _fields(**fields: str) -> dict[str, str]:
    common = {
        "visit_code": "1",
        "days_from_baseline": "0",
        "age": "80",
        "sex": "M",
        "education_years": "14",
        "ses": "2",
        "mmse": "28",
        "cdr_global": "0",
        "diagnosis": "NC",
        "diagnosis_source": "CDR=0",
        "diagnosis_detail": "Nondemented",
        "field_strength_t": "1.5",
    }
    merged = {**common, **fields}
    return {name: value for name, value in merged.items() if value}


def _converter(root: Path, truth: Truth, table: list[dict[str, str]]) -> None:
    """Well at the first visit, demented at the second; the group is of the whole follow-up."""
    first = runs(root / PART / "OAS2_9001_MR1", 3)
    second = runs(root / PART / "OAS2_9001_MR2")
    table.append(row(1, 1, Group="Converted", SES=""))
    table.append(row(1, 2, Group="Converted", SES="", Visit="2", CDR="0.5", MMSE="",
                     Age="82", **{"MR Delay": "560"}))  # fmt: skip
    truth.session(
        "OAS2_9001",
        "OAS2_9001_MR1",
        [f"{PART}/{name}" for name in first],
        **_fields(ses="", diagnosis_detail="Converted"),
    )
    truth.session(
        "OAS2_9001",
        "OAS2_9001_MR2",
        [f"{PART}/{name}" for name in second],
        **_fields(
            ses="",
            mmse="",
            visit_code="2",
            age="82",
            days_from_baseline="560",
            cdr_global="0.5",
            diagnosis="AD",
            diagnosis_source="CDR=0.5",
            diagnosis_detail="Converted",
        ),
    )


def _skipped_visit(root: Path, truth: Truth, table: list[dict[str, str]]) -> None:
    """MR3 is visit 2; the second part of the download is still packed."""
    table.append(row(2, 1, Group="Demented", CDR="1", MMSE="22", **{"M/F": "F"}))
    table.append(row(2, 3, Group="Demented", CDR="2", MMSE="15", Visit="2", Age="81",
                     **{"M/F": "F", "MR Delay": "420"}))  # fmt: skip
    part = "OAS2_RAW_PART2"
    images = {scan: runs(root / part / f"OAS2_9002_MR{scan}") for scan in (1, 3)}
    tar_gz(root / f"{part}.tar.gz", root / part)
    shutil.rmtree(root / part)
    for scan, cdr, mmse, fields in (
        (1, "1", "22", {}),
        (3, "2", "15", {"visit_code": "2", "age": "81", "days_from_baseline": "420"}),
    ):
        truth.session(
            "OAS2_9002",
            f"OAS2_9002_MR{scan}",
            [f"{part}.tar.gz/{part}/{name}" for name in images[scan]],
            **_fields(
                sex="F", cdr_global=cdr, mmse=mmse, diagnosis="AD",
                diagnosis_source=f"CDR={cdr}", diagnosis_detail="Demented", **fields,
            ),
        )  # fmt: skip
    truth.findings["slow-archive"] = 1


def _stray_files(root: Path, truth: Truth, table: list[dict[str, str]]) -> None:
    """A copy of a run under a name of its own, and an image that no run equals."""
    folder = root / PART / "OAS2_9003_MR1"
    images = runs(folder)
    for suffix in (".hdr", ".img"):
        copy = folder / f"RAW/3906-3.nift{suffix}"
        shutil.copy(folder / f"RAW/mpr-2.nifti{suffix}", copy)
    analyze(folder / "RAW/5512-1.nift.hdr", next(_SEEDS), "ASL")
    table.append(row(3, 1))
    truth.session("OAS2_9003", "OAS2_9003_MR1", [f"{PART}/{name}" for name in images], **_fields())
    truth.findings["same-file-twice"] = 1
    truth.refused[f"{PART}/OAS2_9003_MR1/RAW/5512-1.nift.hdr"] = "stray-file"


def _left_out(root: Path, truth: Truth, table: list[dict[str, str]]) -> None:
    """Without scan, without row, half a pair, an unknown CDR, a blank one."""
    table.append(row(4, 1))
    truth.findings["row-without-scan"] = 1
    for name in runs(root / PART / "OAS2_9005_MR1"):
        truth.refused[f"{PART}/{name}"] = "scan-without-row"
    table.append(row(6, 1, CDR=""))
    images = runs(root / PART / "OAS2_9006_MR1")
    (root / PART / images[0]).unlink()
    truth.refused[f"{PART}/OAS2_9006_MR1/RAW/mpr-1.nifti.img"] = "missing-partner"
    fields = _fields(cdr_global="", diagnosis="", diagnosis_source="")
    truth.session("OAS2_9006", "OAS2_9006_MR1", [f"{PART}/{images[1]}"], **fields)
    truth.findings["no-diagnosis"] = 1
    table.append(row(7, 1, CDR="0.7"))
    for name in runs(root / PART / "OAS2_9007_MR1", 1):
        truth.refused[f"{PART}/{name}"] = "out-of-range"
