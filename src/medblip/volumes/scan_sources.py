"""A path told apart into what can be read from it: an image file, or the slices of a series."""

from __future__ import annotations

import fnmatch
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from medblip.errors import InputError
from medblip.volumes.archive_files import archive_scan
from medblip.volumes.dicom_series import DicomSeries
from medblip.volumes.file_kinds import ScanFiles, scan_files
from medblip.volumes.image_files import read_image_file
from medblip.volumes.limits import ReadLimits
from medblip.volumes.locating import (
    DiskFile,
    LocatedFile,
    Place,
    find_place,
    locate,
    unreadable,
)
from medblip.volumes.sniffing import FileKind
from medblip.volumes.volume import StoredVolume


class ScanSource(Protocol):
    """A scan that was found and not read yet."""

    @property
    def name(self) -> str:
        """What messages call it."""

    def sha256(self) -> str:
        """Hash of the bytes it is made of, whatever they are called and wherever they lie."""

    def read(
        self, volume_index: int | None, assume_orientation: str | None, limits: ReadLimits
    ) -> StoredVolume:
        """Read it; see ``read_volume``."""


@dataclass(frozen=True)
class ImageSource:
    """A NIfTI, Analyze or MGH scan: one file, or a pair."""

    files: ScanFiles

    @property
    def name(self) -> str:
        return self.files.header.name

    def sha256(self) -> str:
        try:
            digests = [file.sha256() for file in self.files.all]
        except OSError as error:
            raise unreadable(self.name, error) from None
        if len(digests) == 1:
            return digests[0]
        return hashlib.sha256("".join(digests).encode()).hexdigest()

    def read(
        self, volume_index: int | None, assume_orientation: str | None, limits: ReadLimits
    ) -> StoredVolume:
        try:
            return read_image_file(self.files, volume_index, assume_orientation, limits)
        except OSError as error:
            raise unreadable(self.name, error) from None


def open_scan(
    path: str | os.PathLike[str],
    *,
    root: str | os.PathLike[str] | None = None,
    files: str = "",
    series: str = "",
    limits: ReadLimits,
) -> ScanSource:
    """Find the scan that a path names; see ``read_volume`` for the arguments.

    Raises:
        InputError: it does not exist, leads outside ``root``, or holds no scan or several.
    """
    path, files = _with_pattern(Path(path), files)
    place = find_place(path, root)
    try:
        found = _found(place, files)
        if isinstance(found, list):
            return DicomSeries(place.name, found, pattern=files, series=series, limits=limits)
        kinds = scan_files(found)
        if kinds.kind is FileKind.DICOM:
            return DicomSeries(found.name, [found], series=series, limits=limits)
    except OSError as error:
        raise unreadable(place.name, error) from None
    return ImageSource(kinds)


def scan_stamp(path: str | os.PathLike[str], files: str = "") -> tuple[int, int]:
    """Bytes and latest time of change (ns) of what a scan is read from, without opening it.

    Of a path through an archive, those of the archive; of a folder, its files' together. (-1, -1)
    where there is nothing to read.
    """
    path, files = _with_pattern(Path(path), files)
    try:
        place = find_place(path)
        paths = [place.path]
        if place.kind == "folder":
            inside = _folder_files(place, files)
            paths = [file.path for file in inside if isinstance(file, DiskFile)]
        stats = [path.stat() for path in paths]
    except (InputError, OSError):
        return -1, -1
    times = [status.st_mtime_ns for status in stats]
    return sum(status.st_size for status in stats), max(times, default=-1)


def _with_pattern(path: Path, files: str) -> tuple[Path, str]:
    """A path whose last part is a pattern of names, as in ``folder/*_I12.dcm``, taken apart."""
    if files or not {"*", "?"} & set(path.name) or path.exists():
        return path, files
    return path.parent, path.name


def _found(place: Place, pattern: str) -> LocatedFile | list[LocatedFile]:
    if place.kind == "archive":
        return archive_scan(place)
    if place.kind == "folder":
        return _folder_files(place, pattern)
    return DiskFile(place.path, place.name, place.root)


def _folder_files(place: Place, pattern: str) -> list[LocatedFile]:
    """The files directly inside a folder, by name; one that leads out of the root is refused."""
    prefix = f"{place.name}/" if place.root is not None and place.name != "." else ""
    files: list[LocatedFile] = []
    with os.scandir(place.path) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            if not fnmatch.fnmatchcase(entry.name, pattern or "*") or entry.is_dir():
                continue
            path = Path(entry.path)
            plain = entry.is_file(follow_symlinks=False)  # anything else is looked at closely
            found = DiskFile(path, prefix + entry.name, place.root)
            files.append(found if plain else locate(path, place.root))
    return files
