"""The files of a download by name: loose ones, and those inside its zip and tar archives."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from medblip.cohorts.folders import is_hidden, walk
from medblip.errors import InputError
from medblip.findings import Finding
from medblip.volumes.archives import (
    ArchiveLimits,
    Member,
    is_archive,
    members,
    no_such_member,
    read_member,
)
from medblip.volumes.locating import find_place, locate, unreadable

MAX_SMALL_BYTES = 1 << 20  # of a sidecar

# Listing does not look at sizes; what is read here of an archive's members is sidecars only.
_LIMITS = ArchiveLimits(max_member_bytes=MAX_SMALL_BYTES)


@dataclass(frozen=True)
class DownloadFiles:
    """Paths relative to a download, with ``/``, sorted.

    Attributes:
        loose: files that are no archive.
        archives: zip and tar files.
    """

    loose: tuple[str, ...]
    archives: tuple[str, ...]


def list_files(root: Path, findings: list[Finding]) -> DownloadFiles:
    """Walk a download once; folders that cannot be walked are errors in ``findings``.

    Raises:
        InputError: there is no such folder.
    """
    loose: list[str] = []
    archives: list[str] = []
    for folder in walk(root, findings):
        for name in folder.names:
            path = folder.path_of(name)
            (archives if is_archive(root / path) else loose).append(path)
    return DownloadFiles(tuple(loose), tuple(archives))


def list_archive(root: Path, archive: str) -> list[str]:
    """Paths of the files inside an archive, through it and in its own order; no hidden ones.

    Raises:
        InputError: the archive is damaged or unsafe, or leads outside ``root``.
    """
    names = [member.name for member in _members(root, archive)]
    return [f"{archive}/{name}" for name in names if not any(map(is_hidden, name.split("/")))]


def archive_mark(root: Path, archive: str) -> str:
    """A text that two zips of equal contents share; empty for a tar, whose files have no checksum.

    Raises:
        InputError: as `list_archive`.
    """
    listed = sorted((m.name, m.size, m.crc32) for m in _members(root, archive))
    if any(crc32 is None for *_, crc32 in listed):
        return ""
    return hashlib.sha256(repr(listed).encode()).hexdigest()


def same_content(root: Path, one: str, other: str) -> bool:
    """Whether two files, loose or inside archives, are equal; unreadable ones are not.

    Files inside zips are compared by the size and checksum in the zips' directories, others by
    their size and then their SHA-256.
    """
    try:
        first, second = _known_of(root, one), _known_of(root, other)
        if first.size != second.size:
            return False
        if first.crc32 is not None and second.crc32 is not None:
            return first.crc32 == second.crc32
        return _sha256_at(root, one) == _sha256_at(root, other)
    except (InputError, OSError):
        return False


def read_small(
    root: Path, path: str, archive: str = "", *, max_bytes: int = MAX_SMALL_BYTES
) -> bytes:
    """The bytes of a small file, loose or inside ``archive``.

    Raises:
        InputError: it has more than ``max_bytes``, leads outside ``root``, or is damaged.
    """
    try:
        if archive:
            place = find_place(root / archive, root)
            limits = ArchiveLimits(max_member_bytes=max_bytes)
            return read_member(place.path, path.removeprefix(f"{archive}/"), limits=limits)
        located = locate(root / path, root)
        if located.size > max_bytes:
            problem = f"{located.size} bytes, expected at most {max_bytes}"
            raise InputError(path, problem, "check what it is", code="too-large")
        return located.path.read_bytes()
    except OSError as error:
        raise unreadable(path, error) from None


def _members(root: Path, archive: str) -> list[Member]:
    try:
        return members(find_place(root / archive, root).path, limits=_LIMITS)
    except OSError as error:
        raise unreadable(archive, error) from None


def _known_of(root: Path, path: str) -> Member:
    """Size of a file, and its checksum if an archive keeps one."""
    place = find_place(root / path, root)
    if place.kind != "archive":
        return Member(path, place.path.stat().st_size, 0)
    listed = {m.name: m for m in members(place.path, limits=_LIMITS)}
    if place.member not in listed:
        raise no_such_member(place.name, place.member)
    return listed[place.member]


def _sha256_at(root: Path, path: str) -> str:
    place = find_place(root / path, root)
    if place.kind != "archive":
        return locate(root / path, root).sha256()
    return hashlib.sha256(read_member(place.path, place.member)).hexdigest()
