"""From a path to a regular file inside its data set, and the name that messages use for it."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from medblip.errors import InputError


@dataclass(frozen=True, slots=True)
class LocatedFile:
    """A regular file that exists.

    Attributes:
        path: where to open it.
        name: what messages say: relative to the root if there is one, else the bare file name,
            since folder names of a full path may identify a person.
        root: folder that the file and its partners must stay in, resolved; or None.
    """

    path: Path
    name: str
    root: Path | None

    @property
    def size(self) -> int:
        return self.path.stat().st_size

    def sibling(self, file_name: str) -> LocatedFile | None:
        """The file of that name in the same folder, or None if there is none."""
        path = self.path.with_name(file_name)
        if not path.exists():
            return None
        return locate(path, self.root)


def locate(path: str | os.PathLike[str], root: str | os.PathLike[str] | None = None) -> LocatedFile:
    """Find a scan's file.

    Args:
        path: the file; relative paths are taken from the working directory.
        root: if given, the file with all symlinks and ``..`` resolved must lie inside it.

    Raises:
        InputError: ``outside-root``, ``missing-file``, ``is-a-folder``, ``not-a-regular-file``,
            ``unreadable-file``.
    """
    path = Path(path)
    resolved_root = Path(root).resolve() if root is not None else None
    name = _display_name(path, resolved_root)
    if resolved_root is not None:
        _check_inside(path, resolved_root, name)
    _check_regular(path, name)
    return LocatedFile(path, name, resolved_root)


def unreadable(name: str, error: OSError) -> InputError:
    """The error for a file that the system would not give; the system's text holds no path."""
    return InputError(
        name,
        f"cannot be read ({error.strerror or type(error).__name__}); expected a readable file",
        "check the file's permissions and the disk",
        code="unreadable-file",
    )


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
        raise InputError(
            name,
            "leads outside the data set's folder through '..' or a symbolic link; "
            "expected a file inside it",
            "copy the file into the data set",
            code="outside-root",
        )


def _check_regular(path: Path, name: str) -> None:
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
    if stat.S_ISDIR(mode):
        raise InputError(
            name,
            "is a folder; expected one .nii or .nii.gz file",
            "for a folder of DICOM slices run: dcm2niix -z y FOLDER",
            code="is-a-folder",
        )
    if not stat.S_ISREG(mode):
        raise InputError(
            name,
            "is a device or pipe; expected a regular file",
            "save the scan to a file first",
            code="not-a-regular-file",
        )
