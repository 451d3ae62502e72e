"""The text of a table file: checked whole before its first line is read, never held whole."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from medblip.errors import InputError, UsageError
from medblip.storage import CHUNK_BYTES

_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
_SAMPLE_BYTES = 2000
_NOT_TEXT = {
    b"PK\x03\x04": "an Excel workbook or zip archive",
    b"\x1f\x8b": "a gzip archive",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook",
    b"%PDF": "a PDF document",
}


@contextmanager
def open_text(path: Path, encoding: str, where: str, max_bytes: int) -> Iterator[TextIO]:
    """Open a text file of which every byte is known to decode; line ends stay as they are.

    Args:
        encoding: what the bytes are; a byte-order mark is accepted and left out.
        where: how messages call the file.
        max_bytes: larger files are refused before they are read.

    Raises:
        InputError: it cannot be read, is empty, too large, or is not text of that encoding.
        UsageError: ``encoding`` is not known to Python.
    """
    try:
        _check_size(path.stat().st_size, max_bytes, where)
        with path.open("rb") as handle:
            _check_bytes(iter(lambda: handle.read(CHUNK_BYTES), b""), encoding, where)
        with path.open(encoding=encoding, newline="") as text:
            if text.read(1) != "\ufeff":
                text.seek(0)
            yield text
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise InputError(where, f"cannot be read: {reason}", code="unreadable-file") from error


def _check_size(size: int, max_bytes: int, where: str) -> None:
    if size > max_bytes:
        problem = f"the table has {size} bytes, expected at most {max_bytes}"
        raise InputError(
            where, problem, "check that this is the right file", code="table-too-large"
        )


def _check_bytes(chunks: Iterator[bytes], encoding: str, where: str) -> None:
    """Decode everything once, so that no fault comes up in the middle of a table."""
    decoder = _decoder(encoding)
    wide = encoding.lower().replace("_", "-").startswith(("utf-16", "utf-32"))
    offset, line, blank = 0, 1, True
    for chunk in chunks:
        if offset == 0:
            _refuse_other_kinds(chunk, where)
        if not wide:
            _refuse_nul(chunk, offset, line, where)
        _decode(decoder, chunk, offset, line, encoding, where)
        blank = blank and not chunk.strip()
        offset += len(chunk)
        line += chunk.count(b"\n")
    if blank:
        raise InputError(where, "the file is empty", "export it again", code="empty-table")
    _decode(decoder, b"", offset, line, encoding, where)


def _decoder(encoding: str) -> codecs.IncrementalDecoder:
    try:
        b"".decode(encoding)  # refuses codecs that are not of text, such as hex
        return codecs.getincrementaldecoder(encoding)("strict")
    except LookupError:
        fix = "use a name such as utf-8, latin-1, cp1252 or utf-16"
        problem = f"the encoding {encoding!r} is not known"
        raise UsageError("--encoding", problem, fix, code="unknown-encoding") from None


def _decode(
    decoder: codecs.IncrementalDecoder,
    chunk: bytes,
    offset: int,
    line: int,
    encoding: str,
    where: str,
) -> None:
    """Feed one chunk (none: the end of the file) that starts at byte ``offset``, in ``line``."""
    try:
        decoder.decode(chunk, final=not chunk)
    except UnicodeDecodeError as error:
        # The decoder may hold the first bytes of a character that began in the last chunk.
        start = error.start - (len(error.object) - len(chunk))
        bad_line = line + chunk.count(b"\n", 0, max(start, 0))
        raise InputError(
            f"{where} line {bad_line}",
            f"byte {offset + start} is 0x{error.object[error.start]:02X}, "
            f"which is not {encoding} text",
            "save the table as UTF-8 or name its encoding, e.g. --encoding latin-1",
            code="wrong-encoding",
        ) from None
    except UnicodeError as error:  # e.g. utf-16 without a byte-order mark
        fix = "name the encoding exactly, e.g. --encoding utf-16-le"
        raise InputError(f"{where} line 1", str(error), fix, code="wrong-encoding") from None


def _refuse_other_kinds(start: bytes, where: str) -> None:
    for magic, kind in _NOT_TEXT.items():
        if start.startswith(magic):
            fix = "save it as UTF-8 CSV or TSV"
            raise InputError(where, f"this is {kind}, not a text table", fix, code="not-a-table")


def _refuse_nul(chunk: bytes, offset: int, line: int, where: str) -> None:
    """NUL bytes mean UTF-16 when they are every second byte, else damage."""
    nul = chunk.find(b"\x00")
    marked = offset == 0 and chunk.startswith(_UTF16_MARKS)
    if nul < 0 and not marked:
        return
    sample = chunk[:_SAMPLE_BYTES]
    if offset == 0 and (marked or 3 * sample.count(b"\x00") > len(sample)):
        raise InputError(
            f"{where} line 1",
            f"byte {0 if marked else nul} shows UTF-16 text, expected UTF-8",
            "save the table as UTF-8 or pass --encoding utf-16",
            code="wrong-encoding",
        )
    line += chunk.count(b"\n", 0, nul)
    raise InputError(
        f"{where} line {line}",
        f"byte {offset + nul} is NUL, expected text only",
        "the file is damaged; export it again",
        code="nul-byte",
    )
