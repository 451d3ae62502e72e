"""Stored numbers of DICOM frames, as they lie in the file or unpacked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medblip.errors import InputError
from medblip.volumes.codestreams import announced_size
from medblip.volumes.dicom_decoding import unpack
from medblip.volumes.dicom_elements import BrokenDicomError, Element, find_items
from medblip.volumes.dicom_file import DicomFile
from medblip.volumes.dicom_format import PixelFormat
from medblip.volumes.dicom_frames import Frame
from medblip.volumes.dicom_values import broken


def stored_frames(frames: Sequence[Frame], pixels: PixelFormat) -> Iterator[NDArray[Any]]:
    """Stored numbers ``(rows, columns)`` of each frame, as integers.

    Raises:
        InputError: ``truncated-file`` where pixels are missing, ``broken-dicom``, or as
            ``unpack`` does for packed pixels.
    """
    syntax = frames[0].file.syntax
    if any(frame.file.syntax != syntax for frame in frames):
        raise broken(frames[0].file.name, "its transfer syntax differs from the other files'")
    if not frames[0].file.packed:
        yield from (_native(frame, pixels) for frame in frames)
        return
    streams: dict[str, list[bytes]] = {}
    pictures = []
    for frame in frames:
        if frame.file.sha256 not in streams:
            streams[frame.file.sha256] = _streams(frame.file)
        pictures.append(_checked_picture(streams[frame.file.sha256], frame, pixels))
    yield from unpack(pictures, [frame.file.name for frame in frames], syntax, pixels)


def _native(frame: Frame, pixels: PixelFormat) -> NDArray[Any]:
    element = _pixel_data(frame.file)
    start = element.start + frame.index * pixels.frame_bytes
    end = start + pixels.frame_bytes
    if element.undefined or end > element.end:
        raise InputError(
            frame.file.name,
            f"its pixel data are cut: {element.end - element.start:,} bytes, expected "
            f"{end - element.start:,}",
            "copy or download the file again",
            code="truncated-file",
        )
    count = pixels.rows * pixels.columns
    flat = np.frombuffer(frame.file.values.data, pixels.dtype, count, start)
    return flat.reshape(pixels.rows, pixels.columns)


def _pixel_data(file: DicomFile) -> Element:
    element = file.values.element("PixelData")
    if element is None:
        raise broken(file.name, "DICOM field PixelData is missing")
    return element


def _checked_picture(streams: list[bytes], frame: Frame, pixels: PixelFormat) -> bytes:
    name = frame.file.name
    if frame.index >= len(streams):
        raise broken(name, f"holds the pixels of {len(streams)} frame(s) only")
    picture = streams[frame.index]
    size = (pixels.rows, pixels.columns)
    # Twice the plain size is more than a packer writes that fails to pack.
    too_long = len(picture) > 2 * pixels.frame_bytes + 4096
    if too_long or (announced_size(picture) or size) != size:
        raise broken(name, "the packed picture has another size than the file announces")
    return picture


def _streams(file: DicomFile) -> list[bytes]:
    """The packed picture of each frame, its fragments joined."""
    element = _pixel_data(file)
    if not element.undefined:
        raise broken(file.name, "DICOM field PixelData is not packed as the syntax says")
    data = file.values.data
    try:
        table, *fragments = find_items(data, element, file.values.encoding)
    except (BrokenDicomError, ValueError):
        raise broken(file.name, "the packed pixels are no list of fragments") from None
    frames = (file.values.count("NumberOfFrames") or 1) if "NumberOfFrames" in file.values else 1
    pieces = [data[item.start : item.end] for item in fragments]
    if frames == 1:
        return [b"".join(pieces)]
    if len(pieces) == frames:
        return pieces
    return _by_offsets(data[table.start : table.end], fragments, pieces, frames, file)


def _by_offsets(
    table: bytes, fragments: list[Element], pieces: list[bytes], frames: int, file: DicomFile
) -> list[bytes]:
    """Fragments joined by the table of where each frame begins, counted from the first one."""
    offsets = np.frombuffer(table, "<u4", len(table) // 4).tolist()
    if len(offsets) != frames or not fragments:
        raise broken(file.name, f"{len(pieces)} fragments cannot be told apart into frames")
    first = fragments[0].start
    owners = np.searchsorted(offsets, [item.start - first for item in fragments], "right") - 1
    streams: list[list[bytes]] = [[] for _ in range(frames)]
    for owner, piece in zip(owners, pieces, strict=True):
        streams[max(int(owner), 0)].append(piece)
    return [b"".join(parts) for parts in streams]
