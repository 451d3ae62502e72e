"""What a file really is, told by its first bytes and not by its name."""

from __future__ import annotations

import struct
import zlib
from enum import Enum
from typing import BinaryIO

HEAD_BYTES = 1024
NIFTI1_HEADER_BYTES = 348
NIFTI2_HEADER_BYTES = 540


class FileKind(Enum):
    """Formats that turn up under a scan's name; the value is how messages call them."""

    EMPTY = "an empty file"
    NIFTI = "a NIfTI file"
    NIFTI_HEADER = "the header half of a NIfTI .hdr/.img pair"
    ANALYZE = "an Analyze 7.5 header"
    MGH = "a FreeSurfer MGH volume"
    DICOM = "a DICOM file"
    MINC = "an HDF5 or MINC file"
    NRRD = "an NRRD file"
    META_IMAGE = "a MetaImage file"
    HTML = "a web page (HTML), often a failed download"
    JSON = "a JSON text"
    TEXT = "a text file"
    ZIP = "a zip archive"
    PNG = "a PNG picture"
    JPEG = "a JPEG picture"
    PDF = "a PDF document"
    GZIP = "a gzip file"
    UNKNOWN = "binary data of an unknown kind"


_MAGIC: tuple[tuple[bytes, FileKind], ...] = (
    (b"\x1f\x8b", FileKind.GZIP),
    (b"PK\x03\x04", FileKind.ZIP),
    (b"PK\x05\x06", FileKind.ZIP),
    (b"\x89PNG\r\n\x1a\n", FileKind.PNG),
    (b"\xff\xd8\xff", FileKind.JPEG),
    (b"%PDF-", FileKind.PDF),
    (b"\x89HDF\r\n\x1a\n", FileKind.MINC),
    (b"CDF\x01", FileKind.MINC),
    (b"NRRD000", FileKind.NRRD),
    (b"ObjectType", FileKind.META_IMAGE),
)
_MGH_TYPES = (0, 1, 3, 4, 10)  # uint8, int32, float32, int16, uint16


def sniff(head: bytes) -> FileKind:
    """Tell the format from a file's first ``HEAD_BYTES`` bytes (fewer if the file is shorter)."""
    if not head:
        return FileKind.EMPTY
    if (nifti := _nifti_or_analyze(head)) is not None:
        return nifti
    if head[128:132] == b"DICM":
        return FileKind.DICOM
    for magic, kind in _MAGIC:
        if head.startswith(magic):
            return kind
    if _looks_like_mgh(head):
        return FileKind.MGH
    return _kind_of_text(head)


def first_inflated_bytes(head: bytes, count: int = HEAD_BYTES) -> bytes:
    """Up to ``count`` bytes inflated from the start of a gzip stream; empty if it is damaged."""
    try:
        return zlib.decompressobj(wbits=31).decompress(head, count)
    except zlib.error:
        return b""


def sniff_open_file(file: BinaryIO) -> tuple[FileKind, bool]:
    """Kind of an open file, looking inside gzip, and whether it is gzipped; rewinds the file."""
    head = file.read(64 * HEAD_BYTES)
    file.seek(0)
    kind = sniff(head[:HEAD_BYTES])
    if kind is not FileKind.GZIP:
        return kind, False
    inside = first_inflated_bytes(head)
    return (sniff(inside) if inside else FileKind.GZIP), True


def _nifti_or_analyze(head: bytes) -> FileKind | None:
    size = head[:4]
    if size in (struct.pack("<i", NIFTI1_HEADER_BYTES), struct.pack(">i", NIFTI1_HEADER_BYTES)):
        magic = head[344:348]
        if magic == b"n+1\0":
            return FileKind.NIFTI
        if magic == b"ni1\0":
            return FileKind.NIFTI_HEADER
        return FileKind.ANALYZE if len(head) >= NIFTI1_HEADER_BYTES else FileKind.NIFTI
    if size in (struct.pack("<i", NIFTI2_HEADER_BYTES), struct.pack(">i", NIFTI2_HEADER_BYTES)):
        return FileKind.NIFTI_HEADER if head[4:8] == b"ni2\0" else FileKind.NIFTI
    return None


def _looks_like_mgh(head: bytes) -> bool:
    if len(head) < 28:
        return False
    version, width, height, depth, frames, kind = struct.unpack(">6i", head[:24])
    return version == 1 and min(width, height, depth, frames) > 0 and kind in _MGH_TYPES


def _kind_of_text(head: bytes) -> FileKind:
    if b"\0" in head:
        return FileKind.UNKNOWN
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype html", b"<html", b"<head", b"<?xml")):
        return FileKind.HTML
    printable = sum(byte >= 32 or byte in b"\t\r\n\f" for byte in head)
    if printable < 0.95 * len(head):
        return FileKind.UNKNOWN
    return FileKind.JSON if text.startswith((b"{", b"[")) else FileKind.TEXT
