"""Rows of NACC's tables and series of its zips, with changes; and a small download of them."""

from __future__ import annotations

import itertools
from pathlib import Path

from vendor_fixtures.loni_files import dicom_slice
from vendor_fixtures.small_files import SHAPE, csv_file, nifti, sidecar, zip_file

Rows = list[dict[str, str]]

UDS = "investigator_nacc71.csv"
MRI = "investigator_mri_nacc71.csv"
NEAR = "MRI/within1yr/nifti"
ALL = "MRI/all/nifti"

_VISIT = {
    "NACCID": "",
    "NACCADC": "186",
    "PACKET": "I",
    "FORMVER": "2",
    "VISITMO": "",
    "VISITDAY": "",
    "VISITYR": "",
    "NACCVNUM": "1",
    "NACCAVST": "1",
    "BIRTHMO": "6",
    "BIRTHYR": "1940",
    "SEX": "2",
    "HISPANIC": "0",
    "EDUC": "16",
    "MARISTAT": "1",
    "CDRGLOB": "0",
    "CDRSUM": "0",
    "NACCMMSE": "29",
    "NACCMOCA": "-4",
    "LOGIMEM": "14",
    "LOGIPREV": "-4",
    "MEMUNITS": "12",
    "CRAFTVRS": "-4",
    "CRAFTURS": "-4",
    "NACCUDSD": "1",
    "NACCALZD": "8",
    "NACCETPR": "88",
    "NACCTMCI": "8",
    "NACCAGE": "69",
}
_SCAN = {
    "NACCADC": "186",
    "NACCID": "",
    "MRIMO": "",
    "MRIDY": "",
    "MRIYR": "",
    "NACCMRIA": "70",
    "NACCMRFI": "",
    "NACCMNUM": "1",
    "NACCMRDY": "0",
    "MRIT1": "1",
    "MRIFIELD": "2",
    "MRIMANU": "2",
    "NACCNIFT": "1",
    "NACCNMRI": "1",
    "NACCDICO": "0",
    "NACCVNUM": "1",
}
_SEEDS = itertools.count(900)


def nacc_id(number: int) -> str:
    return f"NACC9{number:05d}"


def visit(number: int, date: str, **changes: str) -> dict[str, str]:
    """One row of the UDS table; ``date`` is ISO."""
    year, month, day = (str(int(part)) for part in date.split("-"))
    dated = {"NACCID": nacc_id(number), "VISITMO": month, "VISITDAY": day, "VISITYR": year}
    return {**_VISIT, **dated, **changes}


def mri(number: int, date: str, files: str, **changes: str) -> dict[str, str]:
    """One row of the MRI table."""
    year, month, day = (str(int(part)) for part in date.split("-"))
    dated = {"NACCID": nacc_id(number), "MRIMO": month, "MRIDY": day, "MRIYR": year}
    return {**_SCAN, **dated, "NACCMRFI": files, **changes}


def t1_facts(**changes: object) -> dict[str, object]:
    """A sidecar that passes the rule."""
    facts = {
        "Modality": "MR",
        "MagneticFieldStrength": 3,
        "BodyPartExamined": "BRAIN",
        "SeriesDescription": "MPRAGE_SAG",
        "MRAcquisitionType": "3D",
        "SliceThickness": 1.2,
        "ImageType": ["ORIGINAL", "PRIMARY", "M", "ND"],
    }
    return {**facts, **changes}


def series(stem: str, **changes: object) -> dict[str, bytes]:
    """A NIfTI file with its sidecar, as zip members."""
    return {
        f"{stem}.nii": nifti(next(_SEEDS)),
        f"{stem}.json": sidecar(**t1_facts(**changes)),
    }


def flair(stem: str) -> dict[str, bytes]:
    return series(stem, SeriesDescription="SAG_3D_FLAIR")


def dicom_series(folder: str, image: int, **elements: object) -> dict[str, bytes]:
    """A 3D T1 as DICOM slices, as zip members; other ``elements`` by their keywords."""
    facts = {"SeriesDescription": "MPRAGE_SAG", "MRAcquisitionType": "3D", "SliceThickness": "1.2"}
    elements = {**facts, "MagneticFieldStrength": "3", **elements}
    return {
        f"{folder}/{number:04d}.dcm": dicom_slice(image, number, **elements)
        for number in range(SHAPE[2])
    }


def small_download(root: Path, visits: Rows, scans: Rows, *, files: bool = True) -> Path:
    """Tables and, for each row of ``scans``, a zip with one T1."""
    csv_file(root / UDS, visits)
    csv_file(root / MRI, scans)
    for row in scans if files else ():
        name = row["NACCMRFI"].split(",")[0].removesuffix(".zip")
        zip_file(root / ALL / f"{name}ni.zip", series(f"{name}/T1"))
    return root
