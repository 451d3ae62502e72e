"""Analyze 7.5: voxels as NIfTI has them, but no word on where left and right are."""

from __future__ import annotations

import math
import struct

import nibabel as nib

from medblip.volumes.header_checks import VoxelLayout, check_size, checked_dtype, checked_shape
from medblip.volumes.limits import ReadLimits

HEADER_BYTES = 348
# 130 to 136 and the scale factor are SPM's additions.
_TYPES: dict[int, str] = {
    2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8",
    130: "i1", 132: "u2", 136: "u4", 256: "i1", 512: "u2", 768: "u4",
}  # fmt: skip


def parse_analyze(block: bytes) -> nib.Spm99AnalyzeHeader:
    """Parse 348 bytes; nothing in them is checked yet."""
    # The length field tells the byte order, as in NIfTI.
    endianness = "<" if struct.unpack("<i", block[:4])[0] == HEADER_BYTES else ">"
    return nib.Spm99AnalyzeHeader(block, endianness=endianness, check=False)


def analyze_layout(header: nib.Spm99AnalyzeHeader, name: str, limits: ReadLimits) -> VoxelLayout:
    """Check dimensions, data type, offset and scaling.

    Raises:
        InputError: ``bad-dimensions``, ``too-large``, ``rgb-volume``, ``complex-volume`` or
            ``unsupported-datatype``.
    """
    dtype = checked_dtype(int(header["datatype"]), _TYPES, name).newbyteorder(header.endianness)
    dims = [int(value) for value in header["dim"]]
    # A fourth axis of size 0 means the same as one of size 1 in files of that age.
    shape, volumes = checked_shape(dims[:4] + [max(size, 1) for size in dims[4:]], name)
    slope = float(header["scl_slope"])
    if slope == 0 or not math.isfinite(slope):
        slope = 1.0
    offset = abs(float(header["vox_offset"]))  # a negative one means the same for each volume
    whole = int(offset) if math.isfinite(offset) else 0
    layout = VoxelLayout(shape, volumes, dtype, whole, slope, 0.0)
    check_size(layout, name, limits)
    return layout
