"""Width and height that a packed picture (JPEG, JPEG-LS, JPEG 2000) announces itself.

Decoders allocate what the picture says, not what the file around it says; both must agree.
"""

from __future__ import annotations

import struct

_JPEG_2000_SIZE = b"\xff\x4f\xff\x51"
# Markers that start a frame: baseline to lossless, and JPEG-LS; C4, C8 and CC are others.
_FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | {0xF7}
_BARE_MARKERS = frozenset(range(0xD0, 0xD9)) | {0x01}


def announced_size(stream: bytes) -> tuple[int, int] | None:
    """Rows and columns; None for anything but a bare JPEG, JPEG-LS or JPEG 2000 stream."""
    if stream.startswith(_JPEG_2000_SIZE):
        return _jpeg_2000(stream)
    if stream.startswith(b"\xff\xd8"):
        return _jpeg(stream)
    return None


def _jpeg_2000(stream: bytes) -> tuple[int, int] | None:
    if len(stream) < 24:
        return None
    right, bottom, left, top = struct.unpack_from(">4L", stream, 8)
    return bottom - top, right - left


def _jpeg(stream: bytes) -> tuple[int, int] | None:
    position = 2
    while position + 9 <= len(stream) and stream[position] == 0xFF:
        marker = stream[position + 1]
        if marker == 0xFF:  # fill byte
            position += 1
        elif marker in _BARE_MARKERS:
            position += 2
        elif marker in _FRAME_MARKERS:
            rows, columns = struct.unpack_from(">HH", stream, position + 5)
            return rows, columns
        else:
            position += 2 + int(struct.unpack_from(">H", stream, position + 2)[0])
    return None
