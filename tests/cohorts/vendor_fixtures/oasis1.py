"""OASIS-1 in miniature: discs, a flat folder and an archive, Analyze pairs without orientation."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path

from vendor_fixtures.small_files import analyze, csv_file, nifti_gz, tar_gz, workbook, write
from vendor_fixtures.truth import Truth

TABLE = "oasis_cross-sectional-5708aa0a98d82080.xlsx"
RELIABILITY = "oasis_cross-sectional-reliability-063c8642b909ee76.xlsx"
OLD_TABLE = "oasis_cross-sectional.csv"

_ROW = {
    "ID": "",
    "M/F": "F",
    "Hand": "R",
    "Age": "74",
    "Educ": "2",
    "SES": "3",
    "MMSE": "29",
    "CDR": "0",
    "eTIV": "1344.5",
    "nWBV": "0.743",
    "ASF": "1.306",
    "Delay": "N/A",
}
_BLANK = {"Educ": "", "SES": "", "MMSE": "", "CDR": ""}
_SEEDS = itertools.count(100)


def row(number: int, scan: int = 1, **changes: str) -> dict[str, str]:
    """One row of the table."""
    return {**_ROW, "ID": f"OAS1_9{number:03d}_MR{scan}", **changes}


def session_files(
    folder: Path, runs: int, *, averaged: bool = True, registered: bool = True
) -> list[str]:
    """A session's images; names below ``folder.parent``, the primary one first."""
    stem, images = folder.name, []
    raw = [f"RAW/{stem}_mpr-{run}_anon" for run in range(1, runs + 1)]
    mean = f"PROCESSED/MPRAGE/SUBJ_111/{stem}_mpr_n{runs}_anon_sbj_111"
    space = f"PROCESSED/MPRAGE/T88_111/{stem}_mpr_n{runs}_anon_111_t88"
    for name in raw:
        analyze(folder / f"{name}.hdr", next(_SEEDS), "ASL")
    if averaged:
        analyze(folder / f"{mean}.hdr", next(_SEEDS), "ASL")
        images.append(mean)
    images.extend(raw)
    if registered:
        for name in (f"{space}_gfc", f"{space}_masked_gfc"):
            analyze(folder / f"{name}.hdr", next(_SEEDS), "LAS")
            images.append(name)
        labels = f"{stem}_mpr_n{runs}_anon_111_t88_masked_gfc_fseg"
        analyze(folder / f"FSL_SEG/{labels}.hdr", next(_SEEDS), "LAS")
    write(folder / f"{stem}.xml", b"<x/>")
    write(folder / f"{stem}.txt", b"AGE: 74")
    return [f"{stem}/{name}.hdr" for name in images]


def make_oasis1(root: Path, *, old_table: bool = False) -> Truth:
    """Write the download; with the older CSV, or the current workbook and its re-test table."""
    truth = Truth("OASIS1")
    table = [row(1, Age="74"), row(2, CDR="0.5", MMSE="24", **{"M/F": "M"})]
    _discs(root, truth)
    table += [row(3, Age="22", **_BLANK)]
    again = [row(3, 2, Age="22", Delay="40", **_BLANK)]
    _flat(root, truth)
    table += [row(4, CDR="2", MMSE="N/A", SES="")]
    _archive(root, truth)
    table += [row(5), row(7, CDR="5"), row(8, CDR="1", MMSE="45")]
    _left_out(root, truth)
    if old_table:
        csv_file(root / OLD_TABLE, [*table, *again])
    else:
        workbook(root / TABLE, table)
        workbook(root / RELIABILITY, again)
    notes = {"extra-column": 1 if old_table else 2, "label-map": 1, "unread-file": 1}
    truth.findings.update(notes)
    return truth


def _fields(number: int, scan: int = 1, **fields: str) -> dict[str, str]:
    common = {
        "visit_code": f"MR{scan}",
        "days_from_baseline": "0",
        "age": "74",
        "sex": "F",
        "education_code": "2",
        "ses": "3",
        "mmse": "29",
        "cdr_global": "0",
        "diagnosis": "NC",
        "diagnosis_source": "CDR=0",
        "field_strength_t": "1.5",
    }
    merged = {**common, **fields}
    return {name: value for name, value in merged.items() if value}


def _discs(root: Path, truth: Truth) -> None:
    """Four runs and three, in a disc's folder and in one below the archive's own name."""
    images = session_files(root / "disc1/OAS1_9001_MR1", 4)
    truth.session("OAS1_9001", "OAS1_9001_MR1", [f"disc1/{i}" for i in images], **_fields(1))
    disc = "oasis_cross-sectional_disc2/disc2"
    images = session_files(root / disc / "OAS1_9002_MR1", 3)
    lost = f"{disc}/OAS1_9002_MR1/RAW/OAS1_9002_MR1_mpr-3_anon.hdr"
    (root / lost).with_suffix(".img").unlink()
    truth.refused[lost] = "missing-partner"
    used = [f"{disc}/{i}" for i in images if not lost.endswith(i)]
    changed = {"sex": "M", "cdr_global": "0.5", "diagnosis_source": "CDR=0.5", "mmse": "24"}
    truth.session("OAS1_9002", "OAS1_9002_MR1", used, **_fields(2, diagnosis="AD", **changed))


def _flat(root: Path, truth: Truth) -> None:
    """A young subject without CDR, scanned twice: one person, no label."""
    nothing = dict.fromkeys(
        ("education_code", "ses", "mmse", "cdr_global", "diagnosis", "diagnosis_source"), ""
    )
    for scan, days in ((1, "0"), (2, "40")):
        name = f"OAS1_9003_MR{scan}"
        images = session_files(root / name, 3, averaged=False, registered=False)
        fields = _fields(3, scan, age="22", days_from_baseline=days, **nothing)
        truth.session("OAS1_9003", name, images, **fields)
    truth.findings["no-diagnosis"] = 2


def _archive(root: Path, truth: Truth) -> None:
    """A disc left packed, and one packed and unpacked at once."""
    packed = root / "oasis_cross-sectional_disc3.tar.gz"
    images = session_files(root / "disc3/OAS1_9004_MR1", 3, registered=False)
    tar_gz(packed, root / "disc3")
    shutil.rmtree(root / "disc3")
    fields = _fields(
        4, cdr_global="2", diagnosis="AD", diagnosis_source="CDR=2", mmse="", ses="",
        missing_codes="mmse=N/A",
    )  # fmt: skip
    inside = [f"{packed.name}/disc3/{image}" for image in images]
    truth.session("OAS1_9004", "OAS1_9004_MR1", inside, **fields)
    tar_gz(root / "oasis_cross-sectional_disc1.tar.gz", root / "disc1")
    truth.findings.update({"slow-archive": 1, "unpacked-archive": 1})


def _left_out(root: Path, truth: Truth) -> None:
    """A row without scan, a scan without row, a CDR that is none; Neurite-OASIS; a bad score."""
    truth.findings["row-without-scan"] = 1
    for number, code in ((6, "scan-without-row"), (7, "out-of-range")):
        name = f"OAS1_9{number:03d}_MR1"
        for image in session_files(root / f"disc1/{name}", 3, averaged=False, registered=False):
            truth.refused[f"disc1/{image}"] = code
    folder = "neurite-oasis.v1.0/OASIS_OAS1_9008_MR1"
    for name in ("orig", "norm", "aligned_orig", "aligned_norm", "seg4", "aligned_seg35"):
        write(root / folder / f"{name}.nii.gz", nifti_gz(next(_SEEDS)))
    names = ("orig", "aligned_norm", "aligned_orig", "norm")
    fields = _fields(8, cdr_global="1", diagnosis="AD", diagnosis_source="CDR=1", mmse="")
    truth.session("OAS1_9008", "OAS1_9008_MR1", [f"{folder}/{n}.nii.gz" for n in names], **fields)
    truth.findings.update({"out-of-range": 1, "unverified-neurite-kind": 1})
