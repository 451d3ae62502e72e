"""Walk a download once, without following a link out of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from medblip.errors import InputError
from medblip.findings import Finding

_LEFT_BY_SYSTEMS = frozenset({".DS_Store", "Thumbs.db", "desktop.ini", "__MACOSX"})


@dataclass(frozen=True, slots=True)
class Folder:
    """One folder of a download.

    Attributes:
        relative: to the download, with ``/``; empty for itself.
        names: of its files, sorted; hidden files and what file managers leave are not listed.
    """

    relative: str
    names: tuple[str, ...]

    def path_of(self, name: str) -> str:
        """Path of a file of this folder, relative to the download."""
        return f"{self.relative}/{name}" if self.relative else name


def walk(root: Path, findings: list[Finding]) -> Iterator[Folder]:
    """Every folder of ``root`` in sorted order.

    A folder that is a link or cannot be listed is an error in ``findings``: what lies in it is
    not known. Links to files are listed; whoever opens them checks where they lead.

    Raises:
        InputError: there is no such folder.
    """
    if not root.is_dir():
        fix = "point to the folder of the download; unpack it if it is one archive"
        raise InputError(str(root), "there is no such folder", fix, code="no-data-set")

    def unreadable(error: OSError) -> None:
        where = _relative(Path(error.filename), root)
        problem = f"the folder cannot be listed: {error.strerror or type(error).__name__}"
        findings.append(Finding("unreadable-folder", "error", where, problem, "check permissions"))

    for top, below, names in os.walk(root, onerror=unreadable):
        below[:] = sorted(name for name in below if not is_hidden(name))
        for name in (name for name in below if Path(top, name).is_symlink()):  # never walked into
            problem = "the folder is a link, which is not followed: its files are not read"
            fix = "replace the link by the folder itself"
            where = _relative(Path(top, name), root)
            findings.append(Finding("link-not-followed", "error", where, problem, fix))
        shown = tuple(sorted(name for name in names if not is_hidden(name)))
        yield Folder(_relative(Path(top), root), shown)


def is_hidden(name: str) -> bool:
    """Whether a file or folder is hidden or left by a file manager."""
    return name.startswith(".") or name in _LEFT_BY_SYSTEMS


def _relative(path: Path, root: Path) -> str:
    relative = path.relative_to(root).as_posix()
    return "" if relative == "." else relative
