"""Members of a tar or tar.gz archive, met in one pass from its beginning to its end.

A gzipped tar cannot be entered in the middle. The stream is therefore kept where the last read
left it, and what lies further on is found without starting over: scans that are asked for in the
archive's own order cost one pass for all of them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

from medblip.volumes.archive_names import (
    ArchiveLimits,
    Member,
    check_member_size,
    checked_name,
    duplicate_member,
    too_many_members,
)
from medblip.volumes.byte_streams import GzipStream, PlainStream
from medblip.volumes.tar_entries import PieceReader, TarEntry, next_entry


class TarArchive:
    """An open tar file; a member's name is checked when it is met.

    Raises:
        InputError: ``bad-archive``, ``unsafe-archive`` or ``too-large``; where the archive is
            gzipped and cut, ``truncated-file``, and ``corrupt-gzip`` where it is damaged.
        OSError: the file cannot be opened.
    """

    def __init__(self, path: Path, name: str, limits: ArchiveLimits) -> None:
        self._path = path
        self.name = name
        self._limits = limits
        self._listed: list[Member] | None = None
        self._file = path.open("rb", buffering=0)
        self._rewind()

    def close(self) -> None:
        self._file.close()

    def members(self) -> list[Member]:
        """All of them, in the archive's order.

        The first call reads the archive to its end and so checks the checksum of a gzipped one.
        """
        if self._listed is None:
            self._rewind()
            self._listed = [_member(entry) for entry in self._onward()]
            self._pieces.drain()
        return self._listed

    def read(self, groups: Collection[Collection[str]]) -> dict[str, bytes]:
        """Contents of one existing name of each group, by name; a name may be missing.

        Raises:
            InputError: as above, also ``too-large`` for a member or ``duplicate-member``.
        """
        wanted = [set(group) for group in groups]
        if any(names & self._passed for names in wanted):
            self._rewind()
        found: dict[str, bytes] = {}
        for entry in self._onward():
            group = next((names for names in wanted if entry.name in names), None)
            if group is None:
                continue
            check_member_size(_member(entry), f"{self.name}/{entry.name}", self._limits)
            found[entry.name] = self._pieces.take(entry.size)
            self._unread = 0
            wanted.remove(group)
            if not wanted:
                break
        return found

    def _rewind(self) -> None:
        self._file.seek(0)
        gzipped = self._file.read(2) == b"\x1f\x8b"
        self._file.seek(0)
        size = self._path.stat().st_size
        stream = (
            GzipStream(self._file, size, self.name) if gzipped else PlainStream(self._file, size)
        )
        most = max(size * self._limits.max_ratio, self._limits.ratio_free_bytes)
        self._pieces = PieceReader(stream, self.name, most)
        self._passed: set[str] = set()
        self._count = 0
        self._unread = 0
        self._ended = False

    def _onward(self) -> Iterator[TarEntry]:
        """Regular files from here on; each must be taken or left before the next is asked for."""
        while not self._ended:
            self._pieces.skip(self._unread)
            self._pieces.skip_padding()
            self._unread = 0
            entry = next_entry(self._pieces, self.name)
            if entry is None:
                self._ended = True
                return
            self._unread = entry.size
            self._count += 1
            if self._count > self._limits.max_members:
                raise too_many_members(self.name, self._limits)
            name = checked_name(entry.name, self.name)
            if not entry.is_file:
                continue
            if name in self._passed:
                raise duplicate_member(self.name)
            self._passed.add(name)
            yield TarEntry(name, entry.size, is_file=True)


def _member(entry: TarEntry) -> Member:
    return Member(entry.name, entry.size, entry.size)
