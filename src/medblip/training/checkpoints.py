"""Checkpoints that are whole or absent, and which of them to go on from."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

COMPLETE = "COMPLETE"


def mark_complete(folder: Path) -> None:
    """Flush a checkpoint to the disk, then put its marker."""
    sync_folder(folder)
    marker = folder / COMPLETE
    marker.touch()
    sync_folder(folder)


def sync_folder(folder: Path) -> None:
    """Flush every file of a folder, and the folder, to the disk."""
    for path in (*(p for p in folder.rglob("*") if p.is_file()), folder):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def newest_complete(folder: Path) -> Path | None:
    """The latest checkpoint whose marker was written, or None."""
    found = [p.parent for p in folder.glob(f"checkpoint-*/{COMPLETE}")]
    return max(found, key=lambda p: int(p.name.split("-")[1]), default=None)


def drop_incomplete(folder: Path) -> None:
    complete = newest_complete(folder)
    for path in folder.glob("checkpoint-*"):
        if complete is None or int(path.name.split("-")[1]) > int(complete.name.split("-")[1]):
            shutil.rmtree(path)
