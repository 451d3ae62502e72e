"""Scans inside zip and tar archives: listed safely, read one at a time into memory.

Nothing is ever unpacked to disk, so no name from an archive becomes a path.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from medblip.errors import InputError
from medblip.volumes.archive_names import (
    TAR_EXTENSIONS,
    ArchiveLimits,
    Member,
    damaged,
    has_archive_name,
)
from medblip.volumes.tar_archive import TarArchive
from medblip.volumes.zip_archive import ZipArchive

_MOST_OPEN = 4


class _Archive(Protocol):
    name: str  # what messages call it

    def members(self) -> list[Member]: ...

    def read(self, groups: Collection[Collection[str]]) -> dict[str, bytes]: ...

    def close(self) -> None: ...


# Listing an archive of a hundred thousand slices takes a second; one that is used stays open.
_open: OrderedDict[tuple[object, ...], _Archive] = OrderedDict()
_lock = threading.RLock()


def is_archive(path: Path) -> bool:
    """Whether ``path`` is a file with an archive's name (.zip, .tar, .tar.gz, .tgz)."""
    return has_archive_name(path.name) and path.is_file()


def members(
    archive: Path, *, called: str | None = None, limits: ArchiveLimits | None = None
) -> list[Member]:
    """The files inside an archive, without folders, links and devices.

    A zip's directory is read alone; a tar is read to its end (a tar.gz inflated, which takes a
    few seconds for each gigabyte). A member's size is checked when it is read.

    Args:
        archive: its file.
        called: how messages call it; its file name if None.
        limits: ``ArchiveLimits()`` if None.

    Raises:
        InputError: ``bad-archive``, ``truncated-file`` or ``corrupt-gzip`` where it is damaged,
            ``unsafe-archive`` for names that lead out of it, ``duplicate-member``, ``too-large``
            for too many of them.
        OSError: the file cannot be opened.
    """
    with _lock, _opened(archive, called or archive.name, limits or ArchiveLimits()) as opened:
        return opened.members()


def read_member(archive: Path, name: str, *, limits: ArchiveLimits | None = None) -> bytes:
    """The content of one file inside an archive.

    Raises:
        InputError: as ``members``; ``missing-file`` if there is no such file,
            ``encrypted-archive``, ``unsupported-archive``, ``too-large``.
    """
    found = read_members(archive, [[name]], limits=limits)
    if name not in found:
        raise no_such_member(archive.name, name)
    return found[name]


def read_members(
    archive: Path,
    groups: Collection[Collection[str]],
    *,
    called: str | None = None,
    limits: ArchiveLimits | None = None,
) -> dict[str, bytes]:
    """Contents of one existing name of each group (alternatives for one file), by name.

    Args:
        archive: its file.
        groups: names to look for; those that do not exist are missing in the result.
        called, limits: as for ``members``.

    Raises:
        InputError: as ``read_member``, except for names that do not exist.
    """
    with _lock, _opened(archive, called or archive.name, limits or ArchiveLimits()) as opened:
        return opened.read(groups)


def no_such_member(archive: str, name: str) -> InputError:
    """The error for a name that an archive does not hold."""
    return InputError(
        f"{archive}/{name}",
        "no such file inside the archive; expected an existing scan",
        "list the archive and check the name",
        code="missing-file",
    )


@contextmanager
def _opened(path: Path, name: str, limits: ArchiveLimits) -> Iterator[_Archive]:
    if not has_archive_name(path.name):
        raise damaged(name, "is no archive by its name")
    status = path.stat()
    key = (str(path.resolve()), status.st_size, status.st_mtime_ns, limits)
    if key not in _open:
        while len(_open) >= _MOST_OPEN:
            _open.popitem(last=False)[1].close()
        _open[key] = _of_kind(path, name, limits)
    _open.move_to_end(key)
    _open[key].name = name
    try:
        yield _open[key]
    except BaseException:
        _open.pop(key).close()  # a stream that stopped half-way is not where it believes to be
        raise


def _of_kind(path: Path, name: str, limits: ArchiveLimits) -> _Archive:
    kind = TarArchive if path.name.lower().endswith(TAR_EXTENSIONS) else ZipArchive
    return kind(path, name, limits)


__all__ = [
    "ArchiveLimits",
    "Member",
    "is_archive",
    "members",
    "read_member",
    "read_members",
]
