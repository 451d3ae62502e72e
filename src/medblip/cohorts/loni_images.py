"""Walk a LONI download (ADNI, AIBL) once: its images, its tables, and what is neither."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass, field
from pathlib import Path

from medblip.cohorts.collecting import Collector
from medblip.cohorts.download_files import list_archive
from medblip.cohorts.folders import Folder, walk
from medblip.cohorts.loni_names import LoniImage, images_of, misnamed
from medblip.cohorts.vendor_tables import TABLE_SUFFIXES
from medblip.errors import InputError
from medblip.volumes.archives import is_archive


@dataclass
class LoniDownload:
    """What lies in a download.

    Attributes:
        images: sorted by path; each number once in each format.
        tables: files that are tables by their suffix.
    """

    images: list[LoniImage] = field(default_factory=list)
    tables: list[Path] = field(default_factory=list)


def list_download(collector: Collector) -> LoniDownload:
    """List what there is; archives are looked into, no file is opened.

    What cannot be told apart is refused. An archive whose images all lie beside it, unpacked, is
    noted and left alone.

    Raises:
        InputError: there is no such folder.
    """
    root, found = collector.root, LoniDownload()
    archives: list[str] = []
    xml: list[str] = []
    for folder in walk(root, collector.findings):
        for path in map(folder.path_of, folder.names):
            if path.lower().endswith(TABLE_SUFFIXES):
                found.tables.append(root / path)
            elif path.lower().endswith(".xml"):
                xml.append(path)
            elif is_archive(root / path):
                archives.append(path)
        found.images.extend(images_of(folder))
        _refuse(collector, folder)
    for archive in archives:
        try:
            folders = _folders_of(root, archive)
        except InputError as error:
            collector.refuse([archive], error)
            continue
        found.images.extend(_packed(collector, archive, folders, found.images))
    if xml:
        problem = f"{len(xml)} XML file(s) are not opened: they name the research group"
        collector.note("unread-file", "note", xml[0], problem)
    found.images = _without_copies(collector, found.images)
    return found


def note_unread_tables(collector: Collector, tables: list[Path]) -> None:
    """One note that lists the download's tables that were neither read nor spoken of."""
    spoken_of = {finding.where for finding in collector.findings} | collector.tables.keys()
    names = {path.relative_to(collector.root).as_posix() for path in tables}
    unread = sorted(names - spoken_of)
    if unread:
        problem = f"{len(unread)} table(s) are not read: {', '.join(unread)}"
        collector.note("unread-table", "note", unread[0], problem)


def _packed(
    collector: Collector, archive: str, folders: list[Folder], loose: list[LoniImage]
) -> list[LoniImage]:
    """Images of one archive; none if it was unpacked beside itself."""
    images = [image for folder in folders for image in images_of(folder)]
    outside = {(image.image_id, image.format) for image in loose}
    if images and all((image.image_id, image.format) in outside for image in images):
        problem = f"all of its {len(images)} image(s) also lie unpacked; those are read"
        collector.note("unpacked-archive", "note", archive, problem)
        return []
    for folder in folders:
        _refuse(collector, folder)
        for name in folder.names:
            if name.lower().endswith(TABLE_SUFFIXES):
                problem = "the table lies in an archive, where it is not read"
                fix = f"unpack {archive}"
                collector.note("packed-table", "warning", folder.path_of(name), problem, fix)
    return images


def _folders_of(root: Path, archive: str) -> list[Folder]:
    names: dict[str, list[str]] = {}
    for path in list_archive(root, archive):
        folder, name = posixpath.split(path)
        names.setdefault(folder, []).append(name)
    return [Folder(folder, tuple(sorted(names[folder]))) for folder in sorted(names)]


def _refuse(collector: Collector, folder: Folder) -> None:
    for error in misnamed(folder):
        collector.refuse([error.where], error)


def _without_copies(collector: Collector, images: list[LoniImage]) -> list[LoniImage]:
    """Of several copies of one image in one format the one with the most files, then the first."""
    kept: dict[tuple[str, str], LoniImage] = {}
    for image in sorted(images, key=lambda image: (-image.count, image.where)):
        known = kept.setdefault((image.image_id, image.format), image)
        if known is not image:
            problem = f"image {image.image_id} also lies at {known.where}, which is read"
            collector.note("same-image-twice", "note", image.where, problem)
    return sorted(kept.values(), key=lambda image: image.where)
