"""One scan from disk: every claim of the file is checked before it is believed."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from medblip.errors import InputError
from medblip.findings import Finding
from medblip.volumes.byte_streams import ByteStream, GzipStream, PlainStream
from medblip.volumes.extent import check_extent
from medblip.volumes.file_kinds import ScanFiles, scan_files
from medblip.volumes.header_affine import world_affine
from medblip.volumes.header_checks import VoxelLayout, header_length, parse_header, voxel_layout
from medblip.volumes.limits import ReadLimits
from medblip.volumes.locating import LocatedFile, locate, unreadable
from medblip.volumes.volume import Volume
from medblip.volumes.voxel_checks import checked_voxels

if TYPE_CHECKING:
    from collections.abc import Iterator

    import nibabel as nib

_SKIP_BYTES = 1 << 20


def read_volume(
    path: str | os.PathLike[str],
    *,
    volume_index: int | None = None,
    assume_orientation: str | None = None,
    root: str | os.PathLike[str] | None = None,
    limits: ReadLimits | None = None,
) -> Volume:
    """Read one 3D scan from a NIfTI file (.nii, .nii.gz or a .hdr/.img pair).

    Args:
        path: the file.
        volume_index: which volume of a 4D file to take, from 0; needed only there.
        assume_orientation: direction in which each voxel axis grows, e.g. ``"RAS"``; used, with a
            warning, only where the header holds no orientation.
        root: folder of the data set; a file that leads outside it is refused.
        limits: bounds on size, extent and broken voxels; ``ReadLimits()`` if None.

    Returns:
        A ``Volume`` in the file's own voxel order, float32, scaled, finite, with findings for
        what was put right on the way.

    Raises:
        InputError: with a stable code for each fault; the message holds the file's name (or its
            path within ``root``), what was found, what was expected and the way out.
        UsageError: for an ``assume_orientation`` that is no orientation.
    """
    limits = limits or ReadLimits()
    located = locate(path, root)
    try:
        return _read(scan_files(located), volume_index, assume_orientation, limits)
    except OSError as error:
        raise unreadable(located.name, error) from None


def _read(
    files: ScanFiles, volume_index: int | None, assume_orientation: str | None, limits: ReadLimits
) -> Volume:
    name = files.header.name
    with _stream(files.header) as stream:
        block, header = _read_header(stream, name)
        layout = voxel_layout(header, name, limits, single_file=files.voxels is None)
        index = _checked_index(layout, volume_index, name)
        affine, affine_findings = world_affine(header, layout.shape, name, assume_orientation)
        check_extent(layout.shape, affine, name, limits)
        if files.voxels is None:
            stored, tail_findings = _read_voxels(stream, len(block), layout, index, name, limits)
        else:
            with _stream(files.voxels) as voxel_stream:
                stored, tail_findings = _read_voxels(
                    voxel_stream, 0, layout, index, files.voxels.name, limits
                )
    array, voxel_findings = checked_voxels(
        _intensities(stored, layout), name, limits.max_nonfinite_fraction
    )
    findings = (*layout.findings, *affine_findings, *tail_findings, *voxel_findings)
    return Volume(array, affine, name, findings)


@contextmanager
def _stream(located: LocatedFile) -> Iterator[ByteStream]:
    with located.path.open("rb", buffering=0) as file:
        yield _inflating(file, located)


def _inflating(file: BinaryIO | Any, located: LocatedFile) -> ByteStream:
    gzipped = file.read(2) == b"\x1f\x8b"
    file.seek(0)
    if gzipped:
        return GzipStream(file, located.size, located.name)
    return PlainStream(file, located.size)


def _read_header(stream: ByteStream, name: str) -> tuple[bytes, nib.Nifti1Header]:
    block = stream.read(4)
    length = header_length(block) if len(block) == 4 else 348
    block += stream.read(length - len(block))
    if len(block) < length:
        raise _truncated(name, length, len(block), "the header ends early")
    return block, parse_header(block)


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
    """The stored numbers ``(i, j, k)`` of one volume; the stream is read to its end."""
    if layout.end > stream.capacity():
        raise _truncated(name, layout.end, stream.capacity(), "the file can hold no more")
    stream.expect(layout.end)
    start = layout.offset + index * layout.volume_bytes
    position += _skip(stream, start - position)
    data = stream.read(layout.volume_bytes)
    position += len(data)
    position += _skip(stream, layout.end - position)
    if position < layout.end:
        raise _truncated(name, layout.end, position, "the data end early")
    findings = _read_to_end(stream, name, limits)
    array = np.frombuffer(data, dtype=layout.dtype).reshape(layout.shape, order="F")
    return array, findings


def _skip(stream: ByteStream, count: int) -> int:
    """Read and forget up to ``count`` bytes; how many there were."""
    skipped = 0
    while skipped < count:
        piece = stream.read(min(_SKIP_BYTES, count - skipped))
        if not piece:
            break
        skipped += len(piece)
    return skipped


def _read_to_end(stream: ByteStream, name: str, limits: ReadLimits) -> tuple[Finding, ...]:
    rest = stream.read(limits.max_trailing_bytes + 1)
    if len(rest) > limits.max_trailing_bytes:
        raise InputError(
            name,
            f"goes on for more than {limits.max_trailing_bytes:,} bytes after the data that its "
            "header announces; expected it to end there",
            "do not trust this file: get it again from its source",
            code="too-much-data",
        )
    if not rest.strip(b"\0") and not stream.trailing_garbage:
        return ()  # zero padding, as tapes and some archives leave it
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


def _truncated(name: str, expected: int, got: int, problem: str) -> InputError:
    return InputError(
        name,
        f"{problem}: got {got:,} bytes, expected {expected:,}",
        "copy or download the file again",
        code="truncated-file",
    )
