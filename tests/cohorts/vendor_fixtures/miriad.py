"""MIRIAD in miniature: back-to-back runs, visit 10, XNAT exports of both variants."""

from __future__ import annotations

import itertools
from pathlib import Path

from vendor_fixtures.small_files import csv_file, nifti, nifti_gz, write, zip_file
from vendor_fixtures.truth import Truth

SCANS = "miriad_mr_sessions.csv"
CLINICAL = "miriad_clinical.csv"
SUBJECTS = "miriad_subjects.csv"
_SEEDS = itertools.count(700)


def label(subject: int, visit: int, run: int) -> str:
    """The XNAT label: no group, no sex, no padding."""
    return f"miriad_{subject}_{visit}_MR_{run}"


def stem(subject: int, group: str, sex: str, visit: int, run: int) -> str:
    """The name of an image file."""
    return f"miriad_{subject}_{group}_{sex}_{visit:02d}_MR_{run}"


def make_miriad(root: Path, *, variant: str = "A") -> Truth:
    """Write the download; ``variant`` A has ``MR ID`` and ``Group``, B ``Label`` and ``Date``."""
    truth = Truth("MIRIAD")
    scans: list[tuple[int, int, int, str, str, str]] = []
    clinical: list[dict[str, str]] = []
    for part in (_alzheimer, _control, _packed, _odd):
        part(root, truth, scans, clinical)
    rows = [_variant_a(*scan) if variant == "A" else _variant_b(*scan) for scan in scans]
    csv_file(root / SCANS, rows)
    csv_file(root / CLINICAL, clinical)
    csv_file(root / SUBJECTS, [_subject(number) for number in sorted({s[0] for s in scans})])
    truth.findings.update({"extra-column": 2, "unverified-columns": 3})
    return truth


Scans = list[tuple[int, int, int, str, str, str]]
Clinical = list[dict[str, str]]


def _variant_a(
    subject: int, visit: int, run: int, age: str, group: str, sex: str
) -> dict[str, str]:
    name = {"MR ID": label(subject, visit, run), "Subject": f"miriad_{subject}"}
    return {**name, "M/F": sex, "Age": age, "Group": group, "Scans": "1"}


def _variant_b(
    subject: int, visit: int, run: int, age: str, group: str, sex: str
) -> dict[str, str]:
    name = {"Label": label(subject, visit, run), "Subject": f"miriad_{subject}"}
    rest = {"Project": "MIRIAD", "Date": "", "Type": "MR", "Scanner": "GE", "Scans": "1"}
    return {**name, **rest, "Age": age}


def _subject(number: int) -> dict[str, str]:
    sex = "female" if number % 2 else "male"
    blank = dict.fromkeys(("Hand", "YOB", "Education", "Ses"), "")
    return {"Subject": f"miriad_{number}", "Gender": sex, **blank, "MR Count": "3"}


def _mmse(subject: int, visit: int, score: str, cdr: str = "") -> dict[str, str]:
    name = {"Label": f"miriad_{subject}_{visit}_MMSE", "Subject": f"miriad_{subject}"}
    return {**name, "MMSE": score, "CDR": cdr}


def _fields(group: str, sex: str, **fields: str) -> dict[str, str]:
    diagnosis = {"AD": "AD", "HC": "NC"}[group]
    common = {
        "sex": sex,
        "diagnosis": diagnosis,
        "diagnosis_source": f"Group={group}",
        "field_strength_t": "1.5",
    }
    return {**common, **fields}


def _alzheimer(root: Path, truth: Truth, scans: Scans, clinical: Clinical) -> None:
    """Two runs at the first visit, one at the second and the tenth; no MMSE at the second."""
    for visit, run, age in ((1, 1, "69.20"), (1, 2, "69.20"), (2, 1, "69.24"), (10, 1, "71.21")):
        name = stem(901, "AD", "F", visit, run)
        write(root / f"{name}/{name}.nii", nifti(next(_SEEDS)))
        scans.append((901, visit, run, age, "AD", "F"))
    clinical += [_mmse(901, 1, "22", "1"), _mmse(901, 10, "17")]
    for visit, runs, fields in (
        (1, 2, {"age": "69.2", "mmse": "22", "cdr_global": "1", "days_from_baseline": "0"}),
        (2, 1, {"age": "69.24", "days_from_baseline": "15"}),
        (10, 1, {"age": "71.21", "mmse": "17", "days_from_baseline": "734"}),
    ):
        names = [stem(901, "AD", "F", visit, run) for run in range(1, runs + 1)]
        truth.session(
            "miriad_901",
            f"miriad_901_{visit:02d}",
            [f"{name}/{name}.nii" for name in names],
            visit_code=f"{visit:02d}",
            **_fields("AD", "F", **fields),
        )


def _control(root: Path, truth: Truth, scans: Scans, clinical: Clinical) -> None:
    """A high subject number that is no patient; a flat gzipped file; a score out of range."""
    name = stem(998, "HC", "M", 1, 1)
    write(root / f"{name}.nii.gz", nifti_gz(next(_SEEDS)))
    scans.append((998, 1, 1, "70.51", "HC", "M"))
    clinical.append(_mmse(998, 1, "31"))
    truth.session(
        "miriad_998",
        "miriad_998_01",
        [f"{name}.nii.gz"],
        visit_code="01",
        **_fields("HC", "M", age="70.51", days_from_baseline="0"),
    )
    truth.findings["out-of-range"] = 1


def _packed(root: Path, truth: Truth, scans: Scans, clinical: Clinical) -> None:
    """An XNAT zip; the scan has no row in the session table, so its age is not known."""
    name = stem(902, "HC", "M", 1, 1)
    inside = f"miriad_902_1_MR_1/scans/1/resources/NIFTI/files/{name}.nii"
    zip_file(root / "archive.zip", {inside: nifti(next(_SEEDS))})
    clinical.append(_mmse(902, 1, "30"))
    truth.session(
        "miriad_902",
        "miriad_902_01",
        [f"archive.zip/{inside}"],
        visit_code="01",
        **_fields("HC", "M", mmse="30"),
    )
    truth.findings["no-table-row"] = 1


def _odd(root: Path, truth: Truth, scans: Scans, clinical: Clinical) -> None:
    """A name of no known form, two groups for one subject, a row and a score without a scan."""
    write(root / "miriad_903_XX_F_01_MR_1.nii", nifti(next(_SEEDS)))
    truth.refused["miriad_903_XX_F_01_MR_1.nii"] = "unknown-name"
    name = stem(905, "HC", "F", 1, 1)
    write(root / f"{name}.nii", nifti(next(_SEEDS)))
    write(root / f"{stem(905, 'AD', 'F', 2, 1)}.nii", nifti(next(_SEEDS)))
    truth.refused[f"{name}.nii"] = "group-conflict"
    truth.refused[f"{stem(905, 'AD', 'F', 2, 1)}.nii"] = "group-conflict"
    scans += [(905, 1, 1, "60.1", "HC", "F"), (905, 2, 1, "60.2", "AD", "F")]
    scans.append((906, 1, 1, "66.6", "AD", "M"))
    clinical.append(_mmse(907, 1, "20"))
    truth.findings["row-without-scan"] = 2
