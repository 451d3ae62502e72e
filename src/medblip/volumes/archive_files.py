"""Files inside an archive, as the readers of scans see them: bytes in memory, never on disk."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from medblip.errors import InputError
from medblip.volumes.archive_names import has_archive_name
from medblip.volumes.archives import members, no_such_member, read_members
from medblip.volumes.file_names import SCAN_EXTENSIONS, extension, partner_names
from medblip.volumes.locating import LocatedFile, Place

_SINGLE_FILES = tuple(end for end in SCAN_EXTENSIONS if not end.startswith(".hdr"))
_SLICES = (".dcm", ".ima", "")
_LISTED = 4  # scans that a message names


@dataclass(frozen=True)
class MemberFile:
    """A file inside an archive; its bytes are read when they are first needed, and kept.

    Attributes:
        archive: the archive's file on disk.
        archive_name: what messages call it.
        member: path inside the archive.
        read: contents that were looked for so far, shared by the halves of a pair, by path inside
            the archive; None for what does not exist.
    """

    archive: Path
    archive_name: str
    member: str
    read: dict[str, bytes | None] = field(default_factory=dict, repr=False)

    @property
    def name(self) -> str:
        return f"{self.archive_name}/{self.member}"

    @property
    def file_name(self) -> str:
        return self.member.rpartition("/")[2]

    @property
    def content(self) -> bytes:
        content = self._content(self.member)
        if content is None:
            raise no_such_member(self.archive_name, self.member)
        return content

    @property
    def size(self) -> int:
        return len(self.content)

    def open(self) -> BinaryIO:
        return io.BytesIO(self.content)

    def sibling(self, file_name: str) -> MemberFile | None:
        member = self._beside(file_name)
        if self._content(member) is None:
            return None
        return MemberFile(self.archive, self.archive_name, member, self.read)

    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    def _content(self, member: str) -> bytes | None:
        if member not in self.read:
            # Both halves of a pair come from one pass, which counts in a large tar.gz.
            partners = [self._beside(name) for name in partner_names(member.rpartition("/")[2])]
            groups = [[member], partners] if partners else [[member]]
            found = read_members(self.archive, groups, called=self.archive_name)
            self.read.update({name: found.get(name) for group in groups for name in group})
        return self.read[member]

    def _beside(self, file_name: str) -> str:
        folder, slash, _ = self.member.rpartition("/")
        return f"{folder}{slash}{file_name}"


def archive_scan(place: Place) -> LocatedFile | list[LocatedFile]:
    """What a path through an archive names: a file, or the files directly inside a folder.

    A path that ends at the archive means its only scan.

    Raises:
        InputError: ``missing-file``, ``nested-archive``, ``needs-member``, ``not-a-volume``, or as
            ``archives.members`` and ``archives.read_members`` do.
        OSError: the archive cannot be opened.
    """
    if not place.member:
        chosen = _only_scan(place)
        is_file = extension(chosen) in SCAN_EXTENSIONS
        return _file(place, chosen) if is_file else _folder(place, chosen)
    _refuse_nested(place)
    if extension(place.member) in SCAN_EXTENSIONS:
        return _file(place, place.member)  # a tar need not be listed for it
    names = {member.name for member in members(place.path, called=place.name)}
    if place.member in names:
        return _file(place, place.member)
    if found := _folder(place, place.member):
        return found
    raise no_such_member(place.name, place.member)


def _file(place: Place, member: str) -> MemberFile:
    return MemberFile(place.path, place.name, member)


def _folder(place: Place, folder: str) -> list[LocatedFile]:
    names = [member.name for member in members(place.path, called=place.name)]
    return [_file(place, name) for name in names if name.rpartition("/")[0] == folder]


def _refuse_nested(place: Place) -> None:
    parts = place.member.split("/")
    inner_paths = ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]
    named = [inner for inner in inner_paths if has_archive_name(inner)]
    names = {member.name for member in members(place.path, called=place.name)} if named else set()
    for inner in named:
        if inner in names:
            raise InputError(
                f"{place.name}/{inner}",
                "is an archive inside an archive, which is not opened; expected a scan",
                "unpack the outer archive",
                code="nested-archive",
            )


def _only_scan(place: Place) -> str:
    names = [member.name for member in members(place.path, called=place.name)]
    named = [name for name in names if not _is_clutter(name)]
    scans = sorted(name for name in named if extension(name) in _SINGLE_FILES)
    if not scans:
        scans = sorted({name.rpartition("/")[0] for name in named if _may_be_slice(name)})
    if len(scans) == 1:
        return scans[0]
    if not scans:
        raise InputError(
            place.name,
            f"holds no scan among its {len(names)} file(s); expected NIfTI, Analyze, MGH or DICOM",
            "give an archive of scans",
            code="not-a-volume",
        )
    listed = ", ".join(scan or "." for scan in scans[:_LISTED])
    raise InputError(
        place.name,
        f"holds {len(scans)} scans: {listed}{', ...' if len(scans) > _LISTED else ''}",
        f"name one of them, as in {place.name}/{scans[0]}",
        code="needs-member",
    )


def _may_be_slice(name: str) -> bool:
    """DICOM files are named anyhow, also by a UID, whose last number then looks an extension."""
    own = extension(name)
    return own in _SLICES or own[1:].isdigit()


def _is_clutter(name: str) -> bool:
    """What macOS adds to an archive, and hidden files."""
    return any(part.startswith(".") or part == "__MACOSX" for part in name.split("/"))
