"""The headers of a tar stream, one after the other, each bounded before it is read.

``tarfile`` reads a long name of any announced size into memory and takes a damaged header for
the end of the archive, so that files would vanish without a word; its parser of one 512-byte
block serves here, the walk from block to block is our own.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass

from medblip.errors import InputError
from medblip.volumes.archive_names import damaged
from medblip.volumes.byte_streams import ByteStream

BLOCK_BYTES = 512
_PIECE_BYTES = 1 << 20
_LONGEST_TEXT = 1 << 16  # a long name, or the extended records of one file


@dataclass(frozen=True, slots=True)
class TarEntry:
    """A file, folder or link; ``size`` bytes of content follow its header."""

    name: str
    size: int
    is_file: bool


class PieceReader:
    """Exact numbers of bytes from a stream that may be inflated.

    Raises:
        InputError: ``bad-archive`` where the stream ends early, ``too-large`` where it inflates
            to more than ``most`` bytes.
    """

    def __init__(self, stream: ByteStream, name: str, most: int) -> None:
        self._stream = stream
        self._name = name
        self._left = most
        self._held = memoryview(b"")
        self.position = 0

    def take(self, size: int) -> bytes:
        """The next ``size`` bytes, which the caller has found small enough for memory."""
        return b"".join(self._parts(size))

    def skip(self, size: int) -> None:
        for _ in self._parts(size):
            pass

    def skip_padding(self) -> None:
        """Go on to the next block."""
        self.skip(-self.position % BLOCK_BYTES)

    def drain(self) -> None:
        """Read to the end of the stream, where gzip keeps the checksum of it all."""
        while self._fill():
            pass

    def _parts(self, size: int) -> Iterator[memoryview]:
        while size > 0:
            if not self._held and not self._fill():
                raise damaged(self._name, "ends early")
            part, self._held = self._held[:size], self._held[size:]
            size -= len(part)
            self.position += len(part)
            yield part

    def _fill(self) -> bool:
        self._held = memoryview(self._stream.read(_PIECE_BYTES))
        self._left -= len(self._held)
        if self._left < 0:
            raise InputError(
                self._name,
                "inflates to far more than its packed size; expected scans",
                "do not trust this archive: get it again from its source",
                code="too-large",
            )
        return bool(self._held)


def next_entry(pieces: PieceReader, name: str) -> TarEntry | None:
    """The next entry, with the long name and size that stand before its header; None at the end.

    Raises:
        InputError: ``bad-archive`` for a header that is damaged, cut or too long,
            ``unsupported-archive`` for files stored with holes.
    """
    records: dict[str, str] = {}
    while (info := _header(pieces, name)) is not None:
        if info.type == tarfile.GNUTYPE_LONGNAME:
            records["path"] = _text(pieces, info.size, name).rstrip("\0")
        elif info.type in (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE):
            records |= _records(_text(pieces, info.size, name), name)
        elif info.type in (tarfile.XGLTYPE, tarfile.GNUTYPE_LONGLINK):
            _text(pieces, info.size, name)
        else:
            return _entry(info, records, name)
    return None


def _header(pieces: PieceReader, name: str) -> tarfile.TarInfo | None:
    block = pieces.take(BLOCK_BYTES)
    if not any(block):
        return None
    try:
        return tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except (tarfile.TarError, ValueError):
        raise damaged(name, "has a damaged header") from None


def _entry(info: tarfile.TarInfo, records: dict[str, str], name: str) -> TarEntry:
    if info.type == tarfile.GNUTYPE_SPARSE or any(key.startswith("GNU.sparse") for key in records):
        raise InputError(
            name,
            "holds files that are stored with holes (sparse); expected whole ones",
            "unpack it by hand",
            code="unsupported-archive",
        )
    size_text = records.get("size", str(info.size))
    if not size_text.isdecimal() or info.size < 0:
        raise damaged(name, "announces a file of impossible size")
    # Links, folders and devices have no content, whatever size their header gives.
    has_content = info.isreg() or info.type not in tarfile.SUPPORTED_TYPES
    size = int(size_text) if has_content else 0
    return TarEntry(records.get("path", info.name), size, info.isreg())


def _text(pieces: PieceReader, size: int, name: str) -> str:
    if not 0 <= size <= _LONGEST_TEXT:
        raise damaged(name, f"has a header that announces {size:,} bytes")
    text = pieces.take(size)
    pieces.skip_padding()
    return text.decode("utf-8", "surrogateescape")


def _records(text: str, name: str) -> dict[str, str]:
    """Extended records, each ``LENGTH KEY=VALUE\\n`` with its own length in bytes."""
    rest = text.encode("utf-8", "surrogateescape")
    records = {}
    while rest.strip(b"\0"):
        digits, _, _ = rest.partition(b" ")
        length = int(digits) if digits.isdigit() and len(digits) < 8 else 0
        record, rest = rest[:length], rest[length:]
        key, found, value = record[len(digits) + 1 :].decode("utf-8", "replace").partition("=")
        if not found or not record.endswith(b"\n"):
            raise damaged(name, "has a damaged extended header")
        records[key] = value[:-1]
    return records
