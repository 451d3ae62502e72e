"""Disks that are full, read-only or limited: noticed before a write, or explained after it."""

from __future__ import annotations

import errno
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from safetensors import SafetensorError

from medblip.errors import MedBlipError, UsageError

MARGIN = 1.2  # of what the last save took
_TORCH = re.compile(r"iostream|StreamWriter|inline_container")  # torch.save gives no number
_OS_ERROR = re.compile(r"\(os error (\d+)\)")  # how safetensors quotes the system

FULL = (errno.ENOSPC, errno.EDQUOT)
LIMITED = (errno.EFBIG,)
FORBIDDEN = (errno.EROFS, errno.EACCES, errno.EPERM)


class CannotSaveError(MedBlipError):
    """A checkpoint, model or row could not be written (exit code 1)."""


def require_writable(folder: Path) -> None:
    """Make a folder, if need be, and prove that files can be written into it.

    Raises:
        UsageError: ``not-writable`` they cannot.
    """
    probe = folder / f".{uuid.uuid4().hex}.part"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"1")
        probe.unlink()
    except OSError as error:
        with suppress(OSError):
            probe.unlink()
        raise UsageError(
            str(folder),
            f"cannot be written to: {error.strerror}",
            "choose another folder, or make this one writable",
            code="not-writable",
        ) from error


def require_space(folder: Path, expected: int) -> None:
    """Refuse a save that is not going to fit.

    Args:
        folder: on the disk in question.
        expected: bytes that the save will take; a margin is added.

    Raises:
        CannotSaveError: ``disk-full``.
    """
    needed, free = int(expected * MARGIN), shutil.disk_usage(folder).free
    if free < needed:
        raise _full(folder, needed, free)


@contextmanager
def saving(folder: Path, expected: int = 0) -> Iterator[None]:
    """Say in one line why a write failed, in the words of :class:`CannotSaveError`.

    Args:
        folder: named where the error itself names no file.
        expected: bytes that the save takes, for libraries that do not say what was wrong.

    Raises:
        CannotSaveError: ``disk-full``, ``file-too-large``, ``not-writable`` or ``save-failed``.
    """
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        if isinstance(error, RuntimeError) and not _TORCH.search(str(error)):
            raise
        raise explain(error, folder, expected) from error


@contextmanager
def disk_errors_explained(folder: Path) -> Iterator[None]:
    """As `saving`, for all that a run writes; errors that may be of something else pass.

    Raises:
        CannotSaveError: a disk is full, read-only, or does not take a file of that size.
    """
    try:
        yield
    except (OSError, SafetensorError) as error:
        if _number(error) not in (*FULL, *LIMITED, errno.EROFS):
            raise
        file = getattr(error, "filename", None)
        raise explain(error, Path(file).parent if file else folder) from error


def explain(error: Exception, folder: Path, expected: int = 0) -> CannotSaveError:
    """What a failed write means to the user."""
    number = _number(error)
    if number in FULL:
        return _full(folder, int(expected * MARGIN), shutil.disk_usage(folder).free)
    if number in LIMITED or (number is None and _beyond_limit(expected)):
        problem = "a file is larger than this process may write or this disk can hold"
        fix = "raise the limit (`ulimit -f unlimited`) or choose another disk"
        return CannotSaveError(str(folder), problem, fix, code="file-too-large")
    if number in FORBIDDEN:
        problem = "cannot be written to any more: it is read-only or belongs to someone else"
        fix = "make it writable"
        return CannotSaveError(str(folder), problem, fix, code="not-writable")
    free = shutil.disk_usage(folder).free
    if number is None and free < expected:
        return _full(folder, int(expected * MARGIN), free)
    reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
    problem = f"saving failed: {reason}"
    return CannotSaveError(str(folder), problem, "look at this disk", code="save-failed")


def _full(folder: Path, needed: int, free: int) -> CannotSaveError:
    wanted = f", a save takes {needed:,} bytes" if needed else ""
    return CannotSaveError(
        str(folder),
        f"the disk is full: {free:,} bytes are free{wanted}",
        "free space, then the same command goes on from the last checkpoint",
        code="disk-full",
    )


def _number(error: Exception) -> int | None:
    """The system's number of an error; torch and safetensors hide it in text or not at all."""
    if isinstance(error, OSError):
        return error.errno
    quoted = _OS_ERROR.search(str(error))
    return int(quoted.group(1)) if quoted else None


def _beyond_limit(expected: int) -> bool:
    """Whether a limit on the size of files (`ulimit -f`) lies below what is written."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return False
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    return limit not in (resource.RLIM_INFINITY, -1) and limit < expected
