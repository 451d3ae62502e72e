"""Files that are whole or absent: atomic writes, hashes, and where caches live."""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import platformdirs
from filelock import FileLock

CHUNK_BYTES = 1 << 20
_LEFTOVER = re.compile(r"\.[0-9a-f]{32}\.part.*")  # the names that `replacing` gives


def cache_folder() -> Path:
    """The user's cache folder; the environment variable ``MEDBLIP_CACHE`` overrides it."""
    override = os.environ.get("MEDBLIP_CACHE")
    return Path(override).expanduser() if override else Path(platformdirs.user_cache_dir("medblip"))


def cubes_folder() -> Path:
    """Where cubes are kept unless another folder is named."""
    return cache_folder() / "cubes"


@contextmanager
def locked(file: Path, timeout: float = -1) -> Iterator[None]:
    """Hold a file's lock; whatever ends the process, kill -9 included, frees it.

    Where the file system has no locks it is not held, and nobody is kept out.

    Args:
        timeout: seconds to wait for it; below 0 without end.

    Raises:
        filelock.Timeout: another process holds it.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(file)
    with suppress(NotImplementedError):  # a file system without locks
        lock.acquire(timeout=timeout)
    try:
        yield
    finally:
        lock.release()


@contextmanager
def replacing(path: Path, *, sync: bool = True) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; on success sync it and rename it into place.

    A reader sees the old file or the new one, never a part. Safe for several writers: each has
    its own temporary name and the last rename wins. On an exception the temporary file is removed.
    Without ``sync`` a power failure, but no killed process, may leave an empty file: for thousands
    of small files that can be made again.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # The suffix is kept, since some writers choose the format by it.
    temporary = path.with_name(f".{uuid.uuid4().hex}.part{''.join(path.suffixes[-2:])}")
    try:
        yield temporary
        if sync:
            with temporary.open("rb+") as handle:
                os.fsync(handle.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def remove_leftovers(folder: Path, *, older_than_s: float = 0.0) -> None:
    """Delete the temporary files that killed writers left in a folder.

    Args:
        folder: looked at itself, not below; need not exist.
        older_than_s: seconds since the last change: where others may write at this moment, more
            than any write takes.
    """
    latest = time.time() - older_than_s
    for path in folder.glob(".*.part*"):
        if _LEFTOVER.fullmatch(path.name):
            with suppress(OSError):  # its writer lives and has just renamed it
                if path.stat().st_mtime <= latest:
                    path.unlink()


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as readable JSON atomically; NaN and infinity are errors."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def sha256_of_file(path: Path) -> str:
    """SHA-256 of a file's bytes, read in chunks."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
