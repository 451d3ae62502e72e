"""Read ADNI as it is downloaded: clinical tables, lists of images, and the image tree."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from medblip.cohorts.adni_image_tables import read_image_tables
from medblip.cohorts.adni_options import AdniOptions
from medblip.cohorts.adni_placing import Placing
from medblip.cohorts.adni_sessions import Sessions
from medblip.cohorts.adni_tables import read_tables
from medblip.cohorts.adni_visits import collect_people
from medblip.cohorts.collecting import Collector
from medblip.cohorts.dataset import DataSet
from medblip.cohorts.loni_images import list_download, note_unread_tables


def read_adni(
    root: Path, *, encoding: str = "utf-8-sig", options: AdniOptions | None = None
) -> DataSet:
    """Read an ADNI download; no image is opened.

    A session is a visit. Its label is the diagnosis of that visit, or of the nearest one that has
    a diagnosis, at most ``window_days`` from the scan; the group at enrolment is never a label.

    Args:
        root: folder with the tables (ADNIMERGE or DXSUM; MMSE, CDR, NEUROBAT, PTDEMOG; lists of
            images) and the image tree, anywhere below it.
        encoding: of the tables.
        options: settings, among them what no source confirms.

    Raises:
        InputError: there is no such folder, no table with diagnoses, or a table is broken.
    """
    settings = options or AdniOptions()
    collector = Collector(root, "ADNI", facts=[asdict(settings)])
    download = list_download(collector)
    tables = read_tables(collector, download.tables, encoding)
    facts = read_image_tables(collector, download.tables, encoding)
    people = collect_people(tables, settings, collector.findings)
    placing = Placing(collector, people, facts, settings)
    for image in download.images:
        placing.add(image)
    placing.finish()
    Sessions(collector, settings).add_all(placing)
    note_unread_tables(collector, download.tables)
    return collector.finish()
