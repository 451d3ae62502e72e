"""What ADNI's lists of images say of an image: its visit, day and field strength.

Three lists are known: MPRAGEMETA, its successor ``<prefix>_All_Images``, and the CSV that the
download site makes of a collection, under any name. ``Group`` and other columns that hold the
group at enrolment are never read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from medblip.cohorts.adni_codes import SCREENING, named_visit
from medblip.cohorts.bids_rows import Cell
from medblip.cohorts.coding import decode, decode_date
from medblip.cohorts.collecting import Collector
from medblip.cohorts.foreign import peek
from medblip.cohorts.loni_tables import BASELINE
from medblip.cohorts.vendor_tables import VendorRow, find_table, read_vendor_table, unique_rows
from medblip.errors import InputError
from medblip.findings import Finding
from medblip.study.missing import ADNI

_COLLECTION_ID = "image data id"
_IMAGE_ID = re.compile(r"[ID]?0*([0-9]+)(?:\.0)?", re.IGNORECASE)

# Column as read -> the names it has in the three lists.
_COLUMNS = {
    "image": ("ImageUID", "image_id", "Image Data ID"),
    "subject": ("SubjectID", "subject_id", "Subject"),
    "visit": ("Visit", "VISCODE2"),
    "day": ("ScanDate", "image_date", "Acq Date"),
    "tesla": ("MagStrength",),
}


@dataclass(frozen=True)
class ImageFacts:
    """What the lists say of one image.

    Attributes:
        where: the row that was met first.
        subject: PTID.
        visit: visit code; empty if not known.
        visit_name: the visit as the list writes it.
        day: of the scan.
        tesla: field strength as a number; empty if not known.
    """

    where: str
    subject: str
    visit: str
    visit_name: str
    day: date | None
    tesla: str


def read_image_tables(
    collector: Collector, files: Sequence[Path], encoding: str
) -> dict[str, ImageFacts]:
    """Facts by image number.

    Raises:
        InputError: a list cannot be read as a table.
    """
    facts: dict[str, ImageFacts] = {}
    root, findings = collector.root, collector.findings
    for path in _lists(root, files, encoding, findings):
        collector.read_from(path)
        table = read_vendor_table(
            path,
            root,
            required=("image", "subject"),
            optional=("visit", "day", "tesla"),
            encoding=encoding,
            findings=findings,
            aliases=_COLUMNS,
        )
        keyed = ((key, row) for row in table.rows() if (key := _key(row, findings)) is not None)
        for (number,), row in unique_rows(keyed, findings).items():
            new = _facts(row, findings)
            facts[number] = _joined(facts[number], new, findings) if number in facts else new
    return facts


def _lists(
    root: Path, files: Sequence[Path], encoding: str, findings: list[Finding]
) -> Iterator[Path]:
    for name in ("MPRAGEMETA", re.compile(".*_?All_Images.*", re.IGNORECASE)):
        path = find_table(root, [name], findings=findings, files=files)
        if path is not None:
            yield path
    for path in files:
        header = (peek(path, encoding) or [[]])[0]
        if _COLLECTION_ID in {column.casefold() for column in header}:
            yield path


def _key(row: VendorRow, findings: list[Finding]) -> tuple[str] | None:
    match = _IMAGE_ID.fullmatch(row["image"])
    if match is not None:
        return (match[1],)
    cell = row.cell("image")
    problem = f"{cell.column} is {cell.text!r}, expected a number, with or without I; not taken"
    findings.append(Finding("bad-id", "warning", cell.where, problem, "correct it"))
    return None


def _facts(row: VendorRow, findings: list[Finding]) -> ImageFacts:
    name = row["visit"]
    return ImageFacts(
        where=row.where,
        subject=row["subject"],
        visit=named_visit(name) or "",
        visit_name=name,
        day=_day(row.cell("day"), findings),
        tesla=_tesla(row.cell("tesla"), findings),
    )


def _joined(old: ImageFacts, new: ImageFacts, findings: list[Finding]) -> ImageFacts:
    """What two lists say together; where they differ the first one is kept, with a warning.

    Screening and baseline are one visit here, so lists that call it by either name agree.
    """
    for name in ("subject", "visit", "day"):
        first, second = getattr(old, name), getattr(new, name)
        if not first or not second or first == second:
            continue
        if {first, second} <= {BASELINE, *SCREENING}:
            problem = (
                f"{old.where} says {first} of the image, this one {second}: both are {BASELINE}"
            )
            findings.append(Finding("screening-merged", "note", new.where, problem))
        else:
            problem = f"{name} is {second}, but {old.where} says {first}, which is used"
            fix = "correct one of the lists"
            findings.append(Finding("conflicting-value", "warning", new.where, problem, fix))
    return ImageFacts(
        where=old.where,
        subject=old.subject or new.subject,
        visit=old.visit or new.visit,
        visit_name=old.visit_name or new.visit_name,
        day=old.day or new.day,
        tesla=old.tesla or new.tesla,
    )


def _day(cell: Cell, findings: list[Finding]) -> date | None:
    try:
        return decode_date(cell, ADNI)
    except InputError as error:
        findings.append(_warning(error))
        return None


def _tesla(cell: Cell, findings: list[Finding]) -> str:
    try:
        return decode("field_strength_t", cell, ADNI)
    except InputError as error:
        findings.append(_warning(error))
        return ""


def _warning(error: InputError) -> Finding:
    problem = f"{error.problem}; not used"
    return Finding(error.code, "warning", error.where, problem, error.fix or "correct it")
