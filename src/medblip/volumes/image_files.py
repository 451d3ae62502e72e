"""One volume from a NIfTI, Analyze or MGH file, read to its end."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from medblip.errors import InputError
from medblip.findings import Finding
from medblip.volumes.byte_streams import ByteStream, GzipStream, PlainStream
from medblip.volumes.extent import check_extent
from medblip.volumes.file_kinds import ScanFiles
from medblip.volumes.header_checks import VoxelLayout
from medblip.volumes.image_header import read_header, truncated
from medblip.volumes.limits import ReadLimits
from medblip.volumes.locating import LocatedFile
from medblip.volumes.volume import StoredVolume, Volume, keeps_whole_numbers
from medblip.volumes.voxel_checks import check_whole_numbers, checked_voxels

if TYPE_CHECKING:
    from collections.abc import Iterator

_SKIP_BYTES = 1 << 20
_CHUNK_BYTES = 1 << 19  # inflated, scaled and rounded while it is in the processor's cache


def read_image_file(
    files: ScanFiles, volume_index: int | None, assume_orientation: str | None, limits: ReadLimits
) -> StoredVolume:
    """Read one volume of a NIfTI, Analyze or MGH file; see ``read_volume``.

    Whole numbers of one or two bytes stay as they are, all else is scaled.

    Raises:
        InputError: a code for each fault.
        UsageError: ``bad-orientation``.
        OSError: a file cannot be opened or read.
    """
    name = files.header.name
    with _stream(files.header) as stream:
        header = read_header(stream, files, assume_orientation, limits)
        layout = header.layout
        index = _checked_index(layout, volume_index, name)
        check_extent(layout.shape, header.affine, name, limits)
        if files.voxels is None:
            array, tail_findings = _read_voxels(stream, header.length, layout, index, name, limits)
        else:
            with _stream(files.voxels) as voxel_stream:
                array, tail_findings = _read_voxels(
                    voxel_stream, 0, layout, index, files.voxels.name, limits
                )
    findings = (*header.findings, *tail_findings)
    if array.dtype.kind in "iu":
        volume = Volume(array, header.affine, name, findings)
        stored = StoredVolume(volume, layout.slope, layout.intercept)
        check_whole_numbers(stored)
        return stored
    array, doubts = checked_voxels(array, name, limits.max_nonfinite_fraction)
    return StoredVolume(Volume(array, header.affine, name, (*findings, *doubts)))


@contextmanager
def _stream(located: LocatedFile) -> Iterator[ByteStream]:
    with located.open() as file:
        yield _inflating(file, located)


def _inflating(file: BinaryIO, located: LocatedFile) -> ByteStream:
    gzipped = file.read(2) == b"\x1f\x8b"
    file.seek(0)
    if gzipped:
        return GzipStream(file, located.size, located.name)
    return PlainStream(file, located.size)


def _checked_index(layout: VoxelLayout, volume_index: int | None, name: str) -> int:
    if layout.volumes > 1 and volume_index is None:
        raise InputError(
            name,
            f"holds {layout.volumes} volumes (4D); expected one",
            f"choose one with --volume-index 0 to {layout.volumes - 1} (volume_index=0)",
            code="needs-volume-index",
        )
    index = volume_index or 0
    if not 0 <= index < layout.volumes:
        raise InputError(
            name,
            f"volume index {index} was asked for; the file holds {layout.volumes} volume(s), "
            f"expected 0 to {layout.volumes - 1}",
            "choose another index",
            code="bad-volume-index",
        )
    return index


def _read_voxels(
    stream: ByteStream,
    position: int,
    layout: VoxelLayout,
    index: int,
    name: str,
    limits: ReadLimits,
) -> tuple[NDArray[Any], tuple[Finding, ...]]:
    """The voxels ``(i, j, k)`` of one volume; the stream is read to its end."""
    if layout.end > stream.capacity():
        raise truncated(name, layout.end, stream.capacity(), "the file can hold no more")
    stream.expect(layout.end)
    start = layout.offset + index * layout.volume_bytes
    position += _skip(stream, start - position)
    array, got = _read_intensities(stream, layout)
    position += got
    position += _skip(stream, layout.end - position)
    if position < layout.end:
        raise truncated(name, layout.end, position, "the data end early")
    findings = _read_to_end(stream, name, limits, footer=layout.footer)
    return array, findings


def _read_intensities(stream: ByteStream, layout: VoxelLayout) -> tuple[NDArray[Any], int]:
    """The next volume, and how many bytes of it there were; the rest of a cut one is undefined."""
    if keeps_whole_numbers(layout.dtype, layout.slope, layout.intercept):
        array = np.empty(layout.volume_voxels, dtype=layout.dtype)
        got = stream.fill(array.view(np.uint8).data)
        array = array.astype(layout.dtype.newbyteorder("="), copy=False)
    else:
        array, got = _read_scaled(stream, layout)
    return array.reshape(layout.shape, order="F"), got


def _read_scaled(stream: ByteStream, layout: VoxelLayout) -> tuple[NDArray[np.float32], int]:
    array = np.empty(layout.volume_voxels, dtype=np.float32)
    got = 0
    while got < layout.volume_bytes:
        piece = stream.read(min(_CHUNK_BYTES, layout.volume_bytes - got))
        whole = len(piece) // layout.dtype.itemsize
        start = got // layout.dtype.itemsize
        stored = np.frombuffer(piece, layout.dtype, whole)
        array[start : start + whole] = _intensities(stored, layout)
        got += len(piece)
        if len(piece) < _CHUNK_BYTES:
            break  # the last one, or the data end early
    return array, got


def _skip(stream: ByteStream, count: int) -> int:
    """Read and forget up to ``count`` bytes; how many there were."""
    skipped = 0
    while skipped < count:
        piece = stream.read(min(_SKIP_BYTES, count - skipped))
        if not piece:
            break
        skipped += len(piece)
    return skipped


def _read_to_end(
    stream: ByteStream, name: str, limits: ReadLimits, *, footer: bool
) -> tuple[Finding, ...]:
    rest = stream.read(limits.max_trailing_bytes + 1)
    if len(rest) > limits.max_trailing_bytes:
        raise InputError(
            name,
            f"goes on for more than {limits.max_trailing_bytes:,} bytes after the data that its "
            "header announces; expected it to end there",
            "do not trust this file: get it again from its source",
            code="too-much-data",
        )
    if (footer or not rest.strip(b"\0")) and not stream.trailing_garbage:
        return ()  # a footer, or zero padding, as tapes and some archives leave it
    count = len(rest) or stream.trailing_garbage
    finding = Finding(
        "trailing-bytes",
        "warning",
        name,
        f"{count:,} unexpected bytes after the end of the data; they are ignored",
        "copy or download the file again if the scan looks wrong",
    )
    return (finding,)


def _intensities(stored: NDArray[Any], layout: VoxelLayout) -> NDArray[np.float32]:
    """Stored numbers scaled by the header, as float32; overflow becomes infinity."""
    # Whole numbers beyond 2^24 and doubles lose less if they are scaled before they are rounded.
    wide = layout.dtype.itemsize > 4 or (layout.dtype.kind in "iu" and layout.dtype.itemsize == 4)
    with np.errstate(over="ignore", invalid="ignore"):
        scaled: NDArray[Any] = stored.astype(np.float64 if wide else np.float32)
        if (layout.slope, layout.intercept) != (1.0, 0.0):
            np.multiply(scaled, layout.slope, out=scaled)
            np.add(scaled, layout.intercept, out=scaled)
        return scaled.astype(np.float32, copy=False)
