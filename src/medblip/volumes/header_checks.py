"""A header's claims about its voxels, each checked before one of them is allocated."""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import nibabel as nib
import numpy as np

from medblip.errors import InputError
from medblip.findings import Finding
from medblip.volumes.limits import ReadLimits
from medblip.volumes.sniffing import NIFTI1_HEADER_BYTES, NIFTI2_HEADER_BYTES

_REAL_TYPES: dict[int, str] = {
    2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8",
    256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8",
}  # fmt: skip
_COLOUR_TYPES = {128: "RGB24", 2304: "RGBA32"}
_COMPLEX_TYPES = {32: "complex64", 1792: "complex128", 2048: "complex256"}


@dataclass(frozen=True)
class VoxelLayout:
    """Where the voxels lie in the file and how their numbers become intensities.

    Attributes:
        shape: voxels along i, j, k.
        volumes: number of 3D volumes one after the other (1 for a plain 3D file).
        dtype: type on disk, with byte order.
        offset: first data byte in the file that holds the voxels.
        slope, intercept: intensity = stored * slope + intercept; (1, 0) where the header has none.
        findings: doubts met in the header.
        footer: the format keeps other things after the voxels.
    """

    shape: tuple[int, int, int]
    volumes: int
    dtype: np.dtype[Any]
    offset: int
    slope: float
    intercept: float
    findings: tuple[Finding, ...] = ()
    footer: bool = False

    @property
    def volume_voxels(self) -> int:
        return math.prod(self.shape)

    @property
    def volume_bytes(self) -> int:
        return self.volume_voxels * self.dtype.itemsize

    @property
    def end(self) -> int:
        """Bytes of the whole file once inflated, from its first byte to the last voxel."""
        return self.offset + self.volumes * self.volume_bytes


def header_length(first_bytes: bytes) -> int:
    """Bytes of the header that starts with ``first_bytes``: 540 for NIfTI-2, else 348."""
    sizes = (struct.unpack("<i", first_bytes[:4])[0], struct.unpack(">i", first_bytes[:4])[0])
    return NIFTI2_HEADER_BYTES if NIFTI2_HEADER_BYTES in sizes else NIFTI1_HEADER_BYTES


def parse_header(block: bytes) -> nib.Nifti1Header:
    """Parse 348 or 540 bytes as a NIfTI-1 or NIfTI-2 header; nothing in it is checked yet."""
    length = header_length(block)
    # The length field tells the byte order; left alone, nibabel would go by the dimensions, which
    # may be the broken part.
    endianness = "<" if struct.unpack("<i", block[:4])[0] == length else ">"
    kind = nib.Nifti2Header if length == NIFTI2_HEADER_BYTES else nib.Nifti1Header
    return kind(block, endianness=endianness, check=False)


def voxel_layout(
    header: nib.Nifti1Header, name: str, limits: ReadLimits, *, single_file: bool
) -> VoxelLayout:
    """Check dimensions, data type, offset and scaling.

    Raises:
        InputError: ``bad-dimensions``, ``too-large``, ``rgb-volume``, ``complex-volume``,
            ``unsupported-datatype``, ``bad-header``.
    """
    dtype = checked_dtype(int(header["datatype"]), _REAL_TYPES, name).newbyteorder(
        header.endianness
    )
    shape, volumes = checked_shape([int(value) for value in header["dim"]], name)
    slope, intercept, findings = _scaling(header, name)
    offset = _offset(header, name, single_file=single_file)
    layout = VoxelLayout(shape, volumes, dtype, offset, slope, intercept, findings)
    check_size(layout, name, limits)
    return layout


def checked_dtype(code: int, types: Mapping[int, str], name: str) -> np.dtype[Any]:
    """The voxels' type for a format's code, in this machine's byte order.

    Raises:
        InputError: ``rgb-volume``, ``complex-volume`` or ``unsupported-datatype``.
    """
    if code in _COLOUR_TYPES:
        raise InputError(
            name,
            f"holds colour voxels ({_COLOUR_TYPES[code]}); expected one intensity per voxel",
            "give the original scan, not a colour picture made of it",
            code="rgb-volume",
        )
    if code in _COMPLEX_TYPES:
        raise InputError(
            name,
            f"holds complex voxels ({_COMPLEX_TYPES[code]}); expected one real intensity per voxel",
            "give the magnitude image",
            code="complex-volume",
        )
    if code not in types:
        raise InputError(
            name,
            f"header field datatype is {code}; expected one of {sorted(types)}",
            "write the scan again as int16 or float32",
            code="unsupported-datatype",
        )
    return np.dtype(types[code])


def checked_shape(dims: Sequence[int], name: str) -> tuple[tuple[int, int, int], int]:
    """Voxels along i, j, k and the number of volumes.

    Args:
        dims: number of axes and the sizes along them, as Python integers, which cannot overflow.

    Raises:
        InputError: ``bad-dimensions``.
    """
    count = dims[0]
    if not 3 <= count <= 7:
        raise InputError(
            name,
            f"header field dim[0] announces {count} dimensions; expected 3 to 7",
            "give a 3D scan; copy the file again if it should be one",
            code="bad-dimensions",
        )
    sizes = dims[1 : count + 1]
    if min(sizes) < 1:
        raise InputError(
            name,
            f"header field dim announces the shape {tuple(sizes)}; expected sizes of 1 or more",
            "copy the file again or write it anew",
            code="bad-dimensions",
        )
    return (sizes[0], sizes[1], sizes[2]), math.prod(sizes[3:])


def _scaling(header: nib.Nifti1Header, name: str) -> tuple[float, float, tuple[Finding, ...]]:
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    if slope == 0 or not math.isfinite(slope):
        return 1.0, 0.0, ()  # the standard's way to say that there is no scaling
    if math.isfinite(intercept):
        return slope, intercept, ()
    finding = Finding(
        "bad-intercept",
        "warning",
        name,
        f"header field scl_inter is {intercept} beside slope {slope:g}; 0 is used",
        "write the scan again if its intensities matter",
    )
    return slope, 0.0, (finding,)


def _offset(header: nib.Nifti1Header, name: str, *, single_file: bool) -> int:
    value = float(header["vox_offset"])
    least = int(header.sizeof_hdr) + 4 if single_file else 0
    if value == 0:
        return least  # some writers leave it empty; there is only one place for the data then
    if not math.isfinite(value) or value < least or value != int(value):
        raise InputError(
            name,
            f"header field vox_offset is {value:g}; expected a whole number, {least} or more",
            "copy the file again or write it anew",
            code="bad-header",
        )
    return int(value)


def check_size(layout: VoxelLayout, name: str, limits: ReadLimits) -> None:
    """Refuse more voxels or bytes than the limits allow.

    Raises:
        InputError: ``too-large``.
    """
    too_many = layout.volume_voxels > limits.max_voxels
    if too_many or layout.end > limits.max_inflated_bytes:
        raise InputError(
            name,
            f"the header announces {layout.volumes} volume(s) of "
            f"{'x'.join(map(str, layout.shape))} voxels, {layout.end:,} bytes; expected at most "
            f"{limits.max_voxels:,} voxels and {limits.max_inflated_bytes:,} bytes",
            "check the file, or raise ReadLimits.max_voxels and max_inflated_bytes",
            code="too-large",
        )
