"""Read OASIS-1 (cross-sectional, with Neurite-OASIS) and OASIS-2 (longitudinal) as downloaded."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from medblip.cohorts.collecting import Collector
from medblip.cohorts.dataset import DataSet
from medblip.cohorts.download_files import list_files
from medblip.cohorts.oasis_images import OasisImage, OasisScans, tables_of
from medblip.cohorts.oasis_names import NameRule, oasis1_rule, oasis2_rule
from medblip.cohorts.oasis_options import OasisOptions
from medblip.cohorts.oasis_tables import TABLE1, TABLE2, OasisTable, read_rows, session_row
from medblip.cohorts.vendor_tables import VendorRow
from medblip.errors import InputError

__all__ = ["OasisOptions", "read_oasis", "read_oasis1", "read_oasis2"]


def read_oasis(
    root: Path, *, encoding: str = "utf-8-sig", options: OasisOptions | None = None
) -> list[DataSet]:
    """Read OASIS-1, OASIS-2 or both, whichever tables the folder holds.

    Raises:
        InputError: as `read_oasis1` and `read_oasis2`; the table of neither is there.
    """
    found: list[DataSet] = []
    absent: list[InputError] = []
    for read in (read_oasis1, read_oasis2):
        try:
            found.append(read(root, encoding=encoding, options=options))
        except InputError as error:
            if error.code not in ("absent-table", "other-cohort"):
                raise
            absent.append(error)
    if not found:
        raise absent[0]
    return found


def read_oasis1(
    root: Path, *, encoding: str = "utf-8-sig", options: OasisOptions | None = None
) -> DataSet:
    """Read OASIS-1; no image is opened.

    Discs, one flat folder of sessions, archives left packed, and the folders of Neurite-OASIS are
    all found by their names. The raw, averaged, registered and skull-stripped images of a session
    are scans of it, the primary one by ``options.kinds``. A re-test session (``_MR2``) belongs to
    the same subject.

    Args:
        root: folder with the table (``oasis_cross-sectional*.xlsx`` or ``.csv``) and the images.
        encoding: of a text table.
        options: see `OasisOptions`.

    Raises:
        InputError: no such folder, or its table is absent, another cohort's or unreadable.
    """
    options = options or OasisOptions()
    rule = oasis1_rule(dict(options.neurite_kinds))
    return _read(root, "OASIS1", TABLE1, rule, encoding, options)


def read_oasis2(
    root: Path, *, encoding: str = "utf-8-sig", options: OasisOptions | None = None
) -> DataSet:
    """Read OASIS-2; no image is opened.

    Sessions and rows are joined on ``MRI ID``. The label is the CDR of the visit; ``Group``, which
    knows the future, is kept in ``diagnosis_detail`` only. The primary image is the first run.

    Args:
        root: folder with the table (``oasis_longitudinal*.xlsx`` or ``.csv``) and the images.
        encoding: of a text table.
        options: see `OasisOptions`.

    Raises:
        InputError: no such folder, or its table is absent, another cohort's or unreadable.
    """
    return _read(root, "OASIS2", TABLE2, oasis2_rule, encoding, options or OasisOptions())


def _read(
    root: Path,
    cohort: str,
    spec: OasisTable,
    rule: NameRule,
    encoding: str,
    options: OasisOptions,
) -> DataSet:
    collector = Collector(root, cohort, facts=[asdict(options)])
    files = list_files(root, collector.findings)
    rows = read_rows(spec, tables_of(files, root), encoding, collector)
    scans = OasisScans(collector, options)
    scans.add(files, rule)
    for session, images in scans.sessions.items():
        _add_session(collector, spec, options, rows.get(session), images)
    for session, row in rows.items():
        if session not in scans.sessions:
            problem, fix = f"{session} has no scan", "download its images, or leave it so"
            collector.note("row-without-scan", "warning", row.where, problem, fix)
    _note_unverified(collector, spec, rows, scans)
    return collector.finish()


def _add_session(
    collector: Collector,
    spec: OasisTable,
    options: OasisOptions,
    row: VendorRow | None,
    images: list[OasisImage],
) -> None:
    try:
        if row is None:
            problem, fix = "no table has a row for this session", "add the row"
            raise InputError(images[0].key[0], problem, fix, code="scan-without-row")
        values = session_row(spec, row, options, collector.findings)
    except InputError as error:
        collector.refuse((image.path for image in images), error)
        return
    collector.add(values, [image.as_image() for image in images])


def _note_unverified(
    collector: Collector, spec: OasisTable, rows: dict[str, VendorRow], scans: OasisScans
) -> None:
    if spec is TABLE2:
        odd = [row for session, row in rows.items() if row["Visit"] != session.rpartition("MR")[2]]
        if odd:
            problem = f"the number after MR is not the visit in {len(odd)} row(s); MRI ID decides"
            collector.note("unverified-visit-number", "note", odd[0].where, problem)
    used = [i for images in scans.sessions.values() for i in images if i.named and i.named.neurite]
    if used:
        problem = f"kinds of {len(used)} image(s) of Neurite-OASIS are taken from their names"
        collector.note("unverified-neurite-kind", "note", used[0].path, problem)
