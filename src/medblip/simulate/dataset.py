"""Write simulated cohorts as BIDS data sets, with the ground truth apart."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache as cache_result
from pathlib import Path
from typing import Any

import nibabel as nib

from medblip import __version__
from medblip.errors import UsageError
from medblip.notice import SIMULATED_DATA
from medblip.parallel import run_all
from medblip.simulate import scanner
from medblip.simulate.anatomy import anatomy_file, load_anatomy, read_anatomy
from medblip.simulate.cohort import CohortPlan, Session, Subject, draw_cohort
from medblip.storage import replacing, write_json, write_text

TRUTH_FOLDER = "ground_truth"
PLAN_FILE = "simulation.json"
SESSION_COLUMNS = (
    "session_id",
    "acq_time",
    "age",
    "diagnosis",
    "mmse",
    "cdr_global",
    "lm_immediate",
    "lm_delayed",
)


@dataclass(frozen=True)
class SimulatedData:
    """What :func:`simulate` wrote: the BIDS folders, and how many images were new."""

    folders: tuple[Path, ...]
    images: int
    written: int


def simulate(
    out: Path,
    plans: Sequence[CohortPlan],
    *,
    template: Path,
    cache: Path,
    seed: int = 0,
    workers: int = 2,
    progress: bool = True,
) -> SimulatedData:
    """Write each cohort of ``plans`` as ``out/<name>`` in BIDS, and the truth to ``ground_truth``.

    Images already there are kept, so an interrupted run goes on where it stopped; the same
    arguments always give the same bytes.

    Args:
        template: folder with ``t1.nii.gz``, ``gm.nii.gz`` and ``atlas.nii.gz``.
        cache: folder for the anatomy derived from the template.

    Raises:
        UsageError: ``out`` holds a simulation made with other arguments.
    """
    plain = [json.loads(json.dumps(asdict(plan))) for plan in plans]
    claim(out / PLAN_FILE, {"seed": seed, "cohorts": plain})
    load_anatomy(template, cache)
    cohorts = [(plan, draw_cohort(plan, seed)) for plan in plans]
    jobs = [(out / plan.name, s) for plan, subjects in cohorts for s in subjects]
    results = run_all(
        write_subject,
        anatomy_file(template, cache),
        jobs,
        title="Simulating subjects",
        unit="subject",
        workers=workers,
        progress=progress,
    )
    truths: dict[str, list[dict[str, Any]]] = {}
    written = 0
    for (folder, subject), (rows, new) in zip(jobs, results, strict=True):
        truths[f"{folder.name}/{subject.participant_id}"] = rows
        written += new
    for plan, subjects in cohorts:
        _write_tables(out, plan, subjects, truths)
    images = sum(len(rows) for rows in truths.values())
    return SimulatedData(tuple(out / plan.name for plan in plans), images, written)


def claim(file: Path, wanted: Mapping[str, Any]) -> None:
    """Note the arguments of a simulation; refuse to mix two simulations in one folder.

    Raises:
        UsageError: ``file`` holds other arguments.
    """
    if not file.exists():
        write_json(file, wanted)
    elif json.loads(file.read_text(encoding="utf-8")) != wanted:
        raise UsageError(
            str(file),
            "this folder holds a simulation with other subjects, sites or seed",
            "choose another folder or delete this one",
            code="other-simulation",
        )


# Read once in each process, not once for each subject.
_read_anatomy = cache_result(read_anatomy)


def write_subject(anatomy: Path, job: tuple[Path, Subject]) -> tuple[list[dict[str, Any]], int]:
    """Write one subject's images, sidecars and sessions table.

    Args:
        anatomy: file that :func:`save_anatomy` wrote.
        job: the data set's folder, and the subject.

    Returns:
        The ground-truth rows, one a session, and the number of images that were not there before.
    """
    folder, subject = job
    rows, new = [], 0
    for session in subject.sessions:
        image = _image_path(folder, subject, session)
        truth_file = folder.parent / TRUTH_FOLDER / "parts" / f"{image.name}.json"
        if not (image.exists() and truth_file.exists()):
            scan = scanner.acquire(_read_anatomy(anatomy), subject, session)
            write_json(truth_file, dict(scan.truth))
            _write_image(image, scan)
            new += 1
        _write_sidecar(image, subject)
        rows.append(_truth_row(subject, session, json.loads(truth_file.read_text("utf-8"))))
    table = [
        {
            "session_id": s.session_id,
            "acq_time": f"{s.scan_date.isoformat()}T00:00:00",  # BIDS wants a time too
            "age": f"{s.age:.1f}",
            "diagnosis": s.diagnosis,
            **s.fields,
        }
        for s in subject.sessions
    ]
    name = subject.participant_id
    write_tsv(folder / name / f"{name}_sessions.tsv", SESSION_COLUMNS, table)
    return rows, new


def _image_path(folder: Path, subject: Subject, session: Session) -> Path:
    name, visit = subject.participant_id, session.session_id
    return folder / name / visit / "anat" / f"{name}_{visit}_T1w.nii.gz"


def _write_image(path: Path, scan: scanner.Scan) -> None:
    image = nib.Nifti1Image(scan.array, scan.affine)
    image.header.set_xyzt_units("mm", "sec")
    image.set_sform(scan.affine, code=1)
    image.set_qform(scan.affine, code=1)
    with replacing(path) as temporary:
        nib.save(image, temporary)


def _write_sidecar(image: Path, subject: Subject) -> None:
    site = subject.site
    sidecar = image.with_name(image.name.replace(".nii.gz", ".json"))
    facts = {
        "Modality": "MR",
        "Manufacturer": "Simulated",
        "InstitutionName": f"SIM-{site.name}",
        "MagneticFieldStrength": site.field_strength_t,
        "SkullStripped": site.skull_stripped,
        "ConversionSoftware": "medblip simulate",
        "ConversionSoftwareVersion": __version__,
    }
    if not sidecar.exists():
        write_json(sidecar, facts)


def _truth_row(subject: Subject, session: Session, change: Mapping[str, float]) -> dict[str, Any]:
    return {
        "participant_id": subject.participant_id,
        "session_id": session.session_id,
        "diagnosis": session.diagnosis,
        "severity": f"{session.severity:.4f}",
        "age_deviation": f"{session.age_deviation:.4f}",
        "memory_loss": f"{session.memory_loss:.4f}",
        **{f"{name}_max_mm": f"{mm:.3f}" for name, mm in scanner.session_mm(session).items()},
        **{name: f"{mm:.3f}" for name, mm in change.items()},
        **({"prior_session_id": session.prior_session_id} if session.prior_session_id else {}),
    }


def _write_tables(
    out: Path,
    plan: CohortPlan,
    subjects: Sequence[Subject],
    truths: Mapping[str, list[dict[str, Any]]],
) -> None:
    folder = out / plan.name
    rows = [
        {
            "participant_id": s.participant_id,
            "sex": s.sex,
            "education_years": s.education_years,
            "site": s.site.name,
        }
        for s in subjects
    ]
    write_tsv(folder / "participants.tsv", tuple(rows[0]), rows)
    write_json(folder / "participants.json", PARTICIPANT_FIELDS)
    write_json(folder / "sessions.json", SESSION_FIELDS)
    write_text(folder / "README", f"{SIMULATED_DATA}\n\nMade by `medblip simulate`.\n")
    write_json(
        folder / "dataset_description.json",
        {
            "Name": plan.name,
            "BIDSVersion": "1.10.0",
            "DatasetType": "raw",
            "License": "CC0",
            "GeneratedBy": [{"Name": "medblip simulate", "Version": __version__}],
        },
    )
    truth = [row for s in subjects for row in truths[f"{plan.name}/{s.participant_id}"]]
    columns = tuple(dict.fromkeys(name for row in truth for name in row))
    write_tsv(out / TRUTH_FOLDER / f"{plan.name}.tsv", columns, truth)


PARTICIPANT_FIELDS = {
    "sex": {"Description": "sex", "Levels": {"F": "female", "M": "male"}},
    "education_years": {"Description": "years of education", "Units": "year"},
    "site": {"Description": "simulated scanner"},
}
SESSION_FIELDS = {
    "age": {"Description": "age at the scan", "Units": "year"},
    "diagnosis": {
        "Description": "diagnosis at the scan",
        "Levels": {"CN": "normal", "MCI": "mild cognitive impairment", "AD": "dementia"},
    },
    "mmse": {"Description": "Mini-Mental State Examination, 0 to 30"},
    "cdr_global": {"Description": "Clinical Dementia Rating, 0 to 3"},
    "lm_immediate": {"Description": "logical memory, immediate recall, 0 to 25"},
    "lm_delayed": {"Description": "logical memory, delayed recall, 0 to 25"},
}


def write_tsv(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """A table with tabs; what a row lacks is empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, delimiter="\t", lineterminator="\n", restval="")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


def ground_truth(out: Path, cohort: str) -> list[dict[str, str]]:
    """Rows of a cohort's ground truth, for tests of explanations; never an input of the model."""
    with (out / TRUTH_FOLDER / f"{cohort}.tsv").open(encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle, delimiter="\t"))


__all__ = ["SimulatedData", "ground_truth", "simulate", "write_subject"]
