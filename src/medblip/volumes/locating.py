"""From a path to a regular file inside its data set, and the name that messages use for it.

A component of the path may be a zip or tar archive; see ``archive_files``.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol, cast

from medblip.errors import InputError
from medblip.storage import sha256_of_file
from medblip.volumes.archive_names import has_archive_name


class LocatedFile(Protocol):
    """A file that exists, on disk or inside an archive."""

    @property
    def name(self) -> str:
        """What messages say: relative to the root if there is one, else the bare file name, since
        folder names of a full path may identify a person."""

    @property
    def file_name(self) -> str:
        """The last part of its path."""

    @property
    def size(self) -> int:
        """Bytes."""

    def open(self) -> BinaryIO:
        """Open it for reading from its first byte."""

    def sibling(self, file_name: str) -> LocatedFile | None:
        """The file of that name in the same folder, or None if there is none."""

    def sha256(self) -> str:
        """SHA-256 of its bytes."""


@dataclass(frozen=True, slots=True)
class DiskFile:
    """A regular file on disk.

    Attributes:
        path: where to open it.
        name: as for ``LocatedFile``.
        root: folder that the file and its partners must stay in, resolved; or None.
    """

    path: Path
    name: str
    root: Path | None

    @property
    def file_name(self) -> str:
        return self.path.name

    @property
    def size(self) -> int:
        return self.path.stat().st_size

    def open(self) -> BinaryIO:
        return cast(BinaryIO, self.path.open("rb", buffering=0))

    def sibling(self, file_name: str) -> LocatedFile | None:
        path = self.path.with_name(file_name)
        return locate(path, self.root) if path.exists() else None

    def sha256(self) -> str:
        return sha256_of_file(self.path)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a path leads, before anything is opened.

    Attributes:
        path: the file or folder on disk; for a path through an archive, the archive.
        name: as for ``LocatedFile``.
        root: as for ``DiskFile``.
        member: the rest of the path inside the archive; empty for the archive itself.
        kind: ``file``, ``folder`` or ``archive``.
    """

    path: Path
    name: str
    root: Path | None
    kind: str
    member: str = ""


def locate(path: str | os.PathLike[str], root: str | os.PathLike[str] | None = None) -> DiskFile:
    """Find a file on disk.

    Args:
        path: the file; relative paths are taken from the working directory.
        root: if given, the file with all symlinks and ``..`` resolved must lie inside it.

    Raises:
        InputError: ``outside-root``, ``missing-file``, ``is-a-folder``, ``not-a-regular-file``,
            ``unreadable-file``.
    """
    place = find_place(path, root)
    if place.kind == "folder":
        raise InputError(
            place.name,
            "is a folder; expected one file",
            "name a file inside it",
            code="is-a-folder",
        )
    return DiskFile(Path(path), place.name, place.root)


def find_place(path: str | os.PathLike[str], root: str | os.PathLike[str] | None = None) -> Place:
    """Tell a file, a folder and a place inside an archive apart.

    Raises:
        InputError: ``outside-root``, ``missing-file``, ``not-a-regular-file``, ``unreadable-file``.
    """
    path = Path(path)
    resolved_root = Path(root).resolve() if root is not None else None
    archive, member = _split(path)
    name = _display_name(archive, resolved_root)
    if resolved_root is not None:
        _check_inside(archive, resolved_root, name)
    is_folder = _checked_mode(archive, name)
    if is_folder:
        return Place(archive, name, resolved_root, "folder")
    if not has_archive_name(archive.name):
        return Place(archive, name, resolved_root, "file")
    if ".." in member.split("/"):
        raise _outside(f"{name}/{member}")
    return Place(archive, name, resolved_root, "archive", member)


def unreadable(name: str, error: OSError) -> InputError:
    """The error for a file that the system would not give; the system's text holds no path."""
    return InputError(
        name,
        f"cannot be read ({error.strerror or type(error).__name__}); expected a readable file",
        "check the file's permissions and the disk",
        code="unreadable-file",
    )


def _split(path: Path) -> tuple[Path, str]:
    """The archive on the way to ``path`` and the rest; the path itself and '' without one."""
    for ancestor in path.parents:
        try:
            if has_archive_name(ancestor.name) and ancestor.is_file():
                return ancestor, path.relative_to(ancestor).as_posix()
            if ancestor.exists():
                break
        except OSError:  # a name that is too long, or a folder that may not be entered
            break
    return path, ""


def _display_name(path: Path, root: Path | None) -> str:
    if root is not None:
        # The links are not followed here: the user knows the file by the name it was given.
        lexical = Path(os.path.normpath(path.absolute()))
        if lexical.is_relative_to(root):
            return lexical.relative_to(root).as_posix()
    return path.name or "."


def _check_inside(path: Path, root: Path, name: str) -> None:
    try:
        resolved = path.resolve()
    except (OSError, RuntimeError):  # a loop of links
        resolved = None
    if resolved is None or not resolved.is_relative_to(root):
        raise _outside(name)


def _outside(name: str) -> InputError:
    return InputError(
        name,
        "leads outside the data set's folder through '..' or a symbolic link; "
        "expected a file inside it",
        "copy the file into the data set",
        code="outside-root",
    )


def _checked_mode(path: Path, name: str) -> bool:
    """Whether it is a folder; anything but a folder or regular file is refused."""
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(
            name,
            "no such file; expected an existing scan",
            "check the name and the folder",
            code="missing-file",
        ) from None
    except OSError as error:
        raise unreadable(name, error) from None
    if not stat.S_ISDIR(mode) and not stat.S_ISREG(mode):
        raise InputError(
            name,
            "is a device or pipe; expected a regular file",
            "save the scan to a file first",
            code="not-a-regular-file",
        )
    return stat.S_ISDIR(mode)
