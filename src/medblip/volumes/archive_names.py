"""Names of archives and of what lies inside them; nothing here opens a file."""

from __future__ import annotations

from dataclasses import dataclass

from medblip.errors import InputError

ZIP_EXTENSIONS = (".zip",)
TAR_EXTENSIONS = (".tar", ".tar.gz", ".tgz")
_LONGEST_NAME = 1024


@dataclass(frozen=True, slots=True)
class ArchiveLimits:
    """How much an archive may claim.

    Attributes:
        max_members: files and folders in one archive.
        max_member_bytes: inflated size of one member.
        max_ratio: inflated bytes for each packed byte of a member; a scan rarely reaches 20.
        ratio_free_bytes: members up to this size may have any ratio.
    """

    max_members: int = 1_000_000
    max_member_bytes: int = 1 << 30
    max_ratio: int = 300
    ratio_free_bytes: int = 1 << 20


@dataclass(frozen=True, slots=True)
class Member:
    """One file inside an archive.

    Attributes:
        name: its path inside the archive, with ``/``.
        size: bytes once inflated, as the archive announces them.
        compressed: bytes it takes inside the archive (its size in a tar, which packs all at once).
        crc32: checksum that a zip's directory keeps of the inflated bytes; None in a tar.
    """

    name: str
    size: int
    compressed: int
    crc32: int | None = None


def has_archive_name(name: str) -> bool:
    """Whether a file of that name should be an archive."""
    return name.lower().endswith(ZIP_EXTENSIONS + TAR_EXTENSIONS)


def checked_name(name: str, archive: str) -> str:
    """A member's name, relative and without ``.`` parts.

    Raises:
        InputError: ``unsafe-archive`` for an absolute name, one with ``..``, a drive, a backslash
            or a control character. Nothing is ever written to a path from an archive; an archive
            with such names is not what a vendor packed, so none of it is used.
    """
    parts = name.split("/")
    unsafe = (
        name.startswith("/")
        or ".." in parts
        or "\\" in name
        or (len(parts[0]) == 2 and parts[0][1] == ":")
        or not name.isprintable()
        or len(name) > _LONGEST_NAME
    )
    if unsafe:
        raise InputError(
            archive,
            "holds a file whose name leads out of the archive or has control characters; expected "
            "relative names",
            "do not unpack it: get it again from its source",
            code="unsafe-archive",
        )
    return "/".join(part for part in parts if part not in ("", "."))


def check_member_size(member: Member, where: str, limits: ArchiveLimits) -> None:
    """Refuse a member by what the archive says of it, before a byte of it is inflated.

    Raises:
        InputError: ``too-large``.
    """
    ratio = member.size / max(member.compressed, 1)
    packed_too_well = member.size > limits.ratio_free_bytes and ratio > limits.max_ratio
    if member.size > limits.max_member_bytes or packed_too_well:
        raise InputError(
            where,
            f"announces {member.size:,} bytes, {ratio:,.0f} times its {member.compressed:,} packed "
            f"ones; expected at most {limits.max_member_bytes:,} bytes and "
            f"{limits.max_ratio} times",
            "unpack this file by hand if you trust the archive",
            code="too-large",
        )


def damaged(where: str, problem: str) -> InputError:
    """The error for an archive that cannot be read to the end."""
    return InputError(
        where,
        f"{problem}; expected a whole zip, tar or tar.gz archive",
        "copy or download the archive again",
        code="bad-archive",
    )


def too_many_members(where: str, limits: ArchiveLimits) -> InputError:
    """The error for an archive with more entries than any data set has."""
    return InputError(
        where,
        f"holds more than {limits.max_members:,} files",
        "unpack it by hand if you trust it, or raise ArchiveLimits.max_members",
        code="too-large",
    )


def duplicate_member(where: str) -> InputError:
    """The error for an archive in which a name stands for two files."""
    return InputError(
        where,
        "holds two files of the same name; expected each name once",
        "unpack it by hand and keep the right one",
        code="duplicate-member",
    )
