"""Inflated bytes of a plain or gzipped file, in one pass, never more than asked for."""

from __future__ import annotations

import zlib
from typing import Any, BinaryIO, Protocol

from medblip.errors import InputError

try:  # inflates about twice as fast and checks the same; its interface is zlib's
    from isal import isal_zlib
except ImportError:
    _inflate: Any = zlib
else:
    _inflate = isal_zlib

CHUNK_BYTES = 1 << 18
PIECE_BYTES = 1 << 19  # inflated at once, and copied while it is in the processor's cache
_GZIP_MAGIC = b"\x1f\x8b\x08"
# Deflate cannot do better than this, so a header that asks for more is refused unread.
MAX_DEFLATE_RATIO = 1032


class ByteStream(Protocol):
    """What the reader needs of a file."""

    def read(self, size: int) -> bytes:
        """The next ``size`` bytes; fewer only at the end of the data."""

    def fill(self, target: memoryview) -> int:
        """Read as many bytes as fit into ``target``; how many there were."""

    @property
    def trailing_garbage(self) -> int:
        """Bytes found after the end of the gzip stream that are not zero padding."""

    def capacity(self) -> int:
        """Most bytes that the whole file can hold once inflated."""

    def expect(self, size: int) -> None:
        """Tell how many bytes the header announces, for the message if there are fewer."""


class PlainStream:
    """Bytes of an uncompressed file."""

    trailing_garbage = 0

    def __init__(self, file: BinaryIO, file_size: int) -> None:
        self._file = file
        self._file_size = file_size

    def read(self, size: int) -> bytes:
        return self._file.read(size)

    def fill(self, target: memoryview) -> int:
        got = 0
        while got < len(target):
            count = self._file.readinto(target[got:])  # type: ignore[attr-defined]
            if not count:
                break
            got += count
        return got

    def capacity(self) -> int:
        return self._file_size

    def expect(self, size: int) -> None:
        pass  # a plain file's length is known beforehand


class GzipStream:
    """Bytes inflated from a gzip file, possibly of several members.

    Reading past the last byte of data checks the checksum; so does every member's end.

    Raises:
        InputError: ``truncated-file`` where the stream stops early, ``corrupt-gzip`` where its
            content or checksum is wrong; both from ``read``.
    """

    def __init__(self, file: BinaryIO, file_size: int, name: str) -> None:
        self._file = file
        self._file_size = file_size
        self._name = name
        self._inflater: Any = _inflate.decompressobj(wbits=31)
        self._pending = b""
        self._ended = False
        self._inflated = 0
        self.trailing_garbage = 0
        self._expected: int | None = None

    def capacity(self) -> int:
        return self._file_size * MAX_DEFLATE_RATIO

    def expect(self, size: int) -> None:
        self._expected = size

    def read(self, size: int) -> bytes:
        parts: list[bytes] = []
        wanted = size
        while wanted > 0 and not self._ended:
            piece = self._inflate(wanted)
            parts.append(piece)
            wanted -= len(piece)
            self._inflated += len(piece)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def fill(self, target: memoryview) -> int:
        got = 0
        while got < len(target) and not self._ended:
            piece = self._inflate(min(PIECE_BYTES, len(target) - got))
            target[got : got + len(piece)] = piece
            got += len(piece)
            self._inflated += len(piece)
        return got

    def _inflate(self, most: int) -> bytes:
        data = self._pending or self._file.read(CHUNK_BYTES)
        try:
            # With no data left this still hands out what the inflater holds back.
            piece = self._inflater.decompress(data, most)
        except _inflate.error as error:
            raise self._corrupt(error) from None
        self._pending = self._inflater.unconsumed_tail
        if self._inflater.eof:
            self._start_next_member(self._inflater.unused_data)
        elif not data and not piece:
            raise self._truncated()
        return piece

    def _start_next_member(self, rest: bytes) -> None:
        rest = rest.lstrip(b"\0")
        while len(rest) < len(_GZIP_MAGIC) and (more := self._file.read(CHUNK_BYTES)):
            rest = (rest + more).lstrip(b"\0")
        if rest.startswith(_GZIP_MAGIC):
            self._inflater = _inflate.decompressobj(wbits=31)
            self._pending = rest
        else:
            self._ended = True
            self.trailing_garbage = len(rest) + self._file_size - self._file.tell() if rest else 0

    def _truncated(self) -> InputError:
        expected = f"expected {self._expected:,}" if self._expected else "expected more"
        return InputError(
            self._name,
            f"the gzip stream stops early: got {self._inflated:,} bytes of data, {expected}",
            "copy or download the file again",
            code="truncated-file",
        )

    def _corrupt(self, error: Exception) -> InputError:
        return InputError(
            self._name,
            f"the gzip stream is damaged after {self._inflated:,} bytes of data ({error}); "
            "expected content that matches its checksum",
            "copy or download the file again",
            code="corrupt-gzip",
        )
