"""A result folder that is whole or absent."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from safetensors import SafetensorError

from medblip.errors import InputError


@contextmanager
def whole_folder(out: Path) -> Iterator[Path]:
    """Yield a temporary folder beside ``out`` that takes its name once all went well.

    Raises:
        InputError: ``out`` is a file or a folder with something in it, or cannot be written.
    """
    out = out.absolute()
    refuse_used(out)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-", suffix=".part") as parent:
            folder = Path(parent) / out.name
            folder.mkdir()
            yield folder
            _finish(folder)
            if out.exists():
                out.rmdir()
            folder.replace(out)
    except (OSError, SafetensorError) as error:
        raise InputError(
            str(out),
            f"cannot be written ({error})",
            "free some space, or name a folder that you may write",
            code="cannot-write",
        ) from error


def refuse_used(out: Path) -> None:
    """Raise InputError if ``out`` is there and is not an empty folder."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(
            str(out),
            "is there already and is not empty",
            "name a new folder, or delete this one",
            code="folder-not-empty",
        )


def _finish(folder: Path) -> None:
    """Files on the disk, and as readable as the folder: safetensors writes for the owner alone."""
    for file in folder.rglob("*"):
        if file.is_file():
            file.chmod(folder.stat().st_mode & 0o666)
            with file.open("rb") as handle:
                os.fsync(handle.fileno())
