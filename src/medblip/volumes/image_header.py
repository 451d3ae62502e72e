"""The header of an image file of any format: where its voxels lie, in the file and in the world."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medblip.errors import InputError
from medblip.findings import Finding
from medblip.volumes import analyze_header, mgh_header
from medblip.volumes.assumed_orientation import assumed_affine, parse_assumption
from medblip.volumes.byte_streams import ByteStream
from medblip.volumes.file_kinds import ScanFiles
from medblip.volumes.header_affine import check_affine, world_affine
from medblip.volumes.header_checks import VoxelLayout, header_length, parse_header, voxel_layout
from medblip.volumes.limits import ReadLimits
from medblip.volumes.sniffing import NIFTI1_HEADER_BYTES, FileKind


@dataclass(frozen=True)
class ImageHeader:
    """What a header says, checked.

    Attributes:
        length: bytes of the header, read from its stream.
        layout: where the voxels lie in the file.
        affine: float64 ``(4, 4)``, voxel index to RAS+ mm.
        findings: doubts about either.
    """

    length: int
    layout: VoxelLayout
    affine: NDArray[np.float64]
    findings: tuple[Finding, ...]


def read_header(
    stream: ByteStream, files: ScanFiles, assume_orientation: str | None, limits: ReadLimits
) -> ImageHeader:
    """Read and check the header of a NIfTI, Analyze or MGH file.

    Raises:
        InputError: ``truncated-file``, or as ``voxel_layout`` and ``world_affine`` do.
        UsageError: ``bad-orientation``.
    """
    name = files.header.name
    if files.kind is FileKind.MGH:
        block = _block(stream, b"", mgh_header.HEADER_BYTES, name)
        layout = mgh_header.mgh_layout(block, name, limits)
        affine, doubts = mgh_header.mgh_affine(block, layout.shape, name, assume_orientation)
    elif files.kind is FileKind.ANALYZE:
        block = _block(stream, b"", analyze_header.HEADER_BYTES, name)
        analyze = analyze_header.parse_analyze(block)
        layout = analyze_header.analyze_layout(analyze, name, limits)
        lacking = "the Analyze format has no place for it; expected to be told"
        assumption = parse_assumption(assume_orientation)
        affine, doubts = assumed_affine(
            analyze["pixdim"][1:4], layout.shape, assumption, name, lacking
        )
        check_affine(affine, name)
    else:
        first = stream.read(4)
        length = header_length(first) if len(first) == 4 else NIFTI1_HEADER_BYTES
        block = _block(stream, first, length, name)
        header = parse_header(block)
        layout = voxel_layout(header, name, limits, single_file=files.voxels is None)
        affine, doubts = world_affine(header, layout.shape, name, assume_orientation)
    return ImageHeader(len(block), layout, affine, (*layout.findings, *doubts))


def truncated(name: str, expected: int, got: int, problem: str) -> InputError:
    """The error for a file with fewer bytes than its header announces."""
    return InputError(
        name,
        f"{problem}: got {got:,} bytes, expected {expected:,}",
        "copy or download the file again",
        code="truncated-file",
    )


def _block(stream: ByteStream, first: bytes, length: int, name: str) -> bytes:
    block = first + stream.read(length - len(first))
    if len(block) < length:
        raise truncated(name, length, len(block), "the header ends early")
    return block
