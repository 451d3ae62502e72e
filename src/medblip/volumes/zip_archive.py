"""Members of a zip archive: listed from its directory, read one at a time into memory."""

from __future__ import annotations

import stat
import struct
import zipfile
import zlib
from collections.abc import Collection
from pathlib import Path

from medblip.errors import InputError
from medblip.volumes.archive_names import (
    ArchiveLimits,
    Member,
    check_member_size,
    checked_name,
    damaged,
    duplicate_member,
    too_many_members,
)

_ENCRYPTED = 0x1
# The others (bzip2, lzma) let a small file ask for gigabytes of working memory.
_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
_BROKEN = (
    zipfile.BadZipFile, NotImplementedError, ValueError, OverflowError, EOFError, struct.error,
    zlib.error,
)  # fmt: skip


class ZipArchive:
    """An open zip file; names are checked when it is opened.

    Raises:
        InputError: ``bad-archive``, ``unsafe-archive``, ``duplicate-member`` or ``too-large``.
        OSError: the file cannot be opened.
    """

    def __init__(self, path: Path, name: str, limits: ArchiveLimits) -> None:
        self.name = name
        self._limits = limits
        try:
            self._zip = zipfile.ZipFile(path)
        except _BROKEN:
            raise damaged(name, "is no zip archive, or is cut or damaged") from None
        try:
            self._entries = self._checked_entries()
            self._members = [_member(name, info) for name, info in self._entries.items()]
        except InputError:
            self._zip.close()
            raise

    def close(self) -> None:
        self._zip.close()

    def members(self) -> list[Member]:
        return self._members

    def read(self, groups: Collection[Collection[str]]) -> dict[str, bytes]:
        """Contents of the first existing name of each group, by name; a name may be missing.

        Raises:
            InputError: ``encrypted-archive``, ``unsupported-archive``, ``too-large`` or
                ``bad-archive`` for a member that is not what the directory says.
        """
        found = (next((n for n in group if n in self._entries), None) for group in groups)
        return {name: self._content(name) for name in found if name is not None}

    def _checked_entries(self) -> dict[str, zipfile.ZipInfo]:
        infos = self._zip.infolist()
        if len(infos) > self._limits.max_members:
            raise too_many_members(self.name, self._limits)
        entries: dict[str, zipfile.ZipInfo] = {}
        for info in infos:
            name = checked_name(info.orig_filename, self.name)
            if info.is_dir() or _is_special(info):
                continue
            if name in entries:
                raise duplicate_member(self.name)
            entries[name] = info
        return entries

    def _content(self, name: str) -> bytes:
        info, where = self._entries[name], f"{self.name}/{name}"
        _check_method(info, where)
        check_member_size(_member(name, info), where, self._limits)
        try:
            with self._zip.open(info) as stream:
                # One byte more than announced would show a size that lies; the checksum of a
                # longer member fails too, since only the announced part is taken into it.
                content = stream.read(info.file_size + 1)
        except _BROKEN:
            raise damaged(where, "is damaged inside the archive") from None
        if len(content) != info.file_size:
            found = f"holds {len(content):,} bytes where the archive announces {info.file_size:,}"
            raise damaged(where, found)
        return content


def _member(name: str, info: zipfile.ZipInfo) -> Member:
    return Member(name, info.file_size, info.compress_size, info.CRC)


def _is_special(info: zipfile.ZipInfo) -> bool:
    """A symbolic link or device, as zips from Unix may hold them."""
    kind = stat.S_IFMT(info.external_attr >> 16)
    return kind not in (0, stat.S_IFREG)


def _check_method(info: zipfile.ZipInfo, where: str) -> None:
    if info.flag_bits & _ENCRYPTED:
        raise InputError(
            where,
            "is encrypted inside the archive; expected an open one",
            "unpack it with its password",
            code="encrypted-archive",
        )
    if info.compress_type not in _METHODS:
        raise InputError(
            where,
            f"is packed by method {info.compress_type}; expected 8 (deflate) or 0 (none)",
            "unpack it by hand",
            code="unsupported-archive",
        )
