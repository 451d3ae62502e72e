"""Folders that are whole or absent: flushed, then renamed into place."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path


def sync_tree(folder: Path) -> None:
    """Flush every file of a folder and of those below, then their names, to the disk."""
    below = sorted(folder.rglob("*"), reverse=True)
    for path in (p for p in below if p.is_file()):
        _sync(path)
    for path in (*(p for p in below if p.is_dir()), folder):
        sync_names(path)


def sync_names(folder: Path) -> None:
    """Flush the names in a folder, where the file system can."""
    with suppress(OSError):  # some network file systems and Windows know no such thing
        _sync(folder)


def replace_folder(fresh: Path, folder: Path) -> None:
    """Put ``fresh`` into the place of ``folder``.

    No instant is without a whole one: if this is cut short, `settle` finds the earlier folder.
    """
    sync_tree(fresh)
    earlier = _earlier(folder)
    if folder.exists():
        shutil.rmtree(earlier, ignore_errors=True)
        folder.rename(earlier)
    fresh.rename(folder)
    sync_names(folder.parent)
    shutil.rmtree(earlier, ignore_errors=True)


def settle(folder: Path) -> None:
    """Put back what a killed `replace_folder` had moved aside; remove what it left behind."""
    earlier = _earlier(folder)
    if earlier.exists() and not folder.exists():
        earlier.rename(folder)
    for leftover in (earlier, beside(folder)):
        shutil.rmtree(leftover, ignore_errors=True)


def beside(folder: Path) -> Path:
    """Where a new version of ``folder`` is written."""
    return folder.with_name(f".{folder.name}.new")


def size_of(folder: Path) -> int:
    """Bytes of all files of a folder and of those below."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _earlier(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.old")


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
