"""FreeSurfer's MGH and MGZ: big-endian, voxels from byte 284 on."""

from __future__ import annotations

import struct
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from medblip.findings import Finding
from medblip.volumes.assumed_orientation import assumed_affine, parse_assumption, unused_assumption
from medblip.volumes.header_affine import check_affine
from medblip.volumes.header_checks import VoxelLayout, check_size, checked_dtype, checked_shape
from medblip.volumes.limits import ReadLimits

HEADER_BYTES = 284
_TYPES: dict[int, str] = {0: "u1", 1: "i4", 3: "f4", 4: "i2", 10: "u2"}


def mgh_layout(block: bytes, name: str, limits: ReadLimits) -> VoxelLayout:
    """Check dimensions and data type.

    Raises:
        InputError: ``bad-dimensions``, ``too-large`` or ``unsupported-datatype``.
    """
    # Python integers: in the format's own 32 bits a product of sizes may overflow.
    *sizes, code = struct.unpack(">5i", block[4:24])
    shape, volumes = checked_shape([4, *sizes], name)
    dtype = checked_dtype(code, _TYPES, name).newbyteorder(">")
    layout = VoxelLayout(shape, volumes, dtype, HEADER_BYTES, 1.0, 0.0, footer=True)
    check_size(layout, name, limits)
    return layout


def mgh_affine(
    block: bytes, shape: tuple[int, int, int], name: str, assume_orientation: str | None
) -> tuple[NDArray[np.float64], tuple[Finding, ...]]:
    """The voxel -> RAS+ mm matrix ``(4, 4)`` and what is doubtful about it.

    Raises:
        UsageError: ``bad-orientation``.
        InputError: ``bad-affine``, or ``left-right-unknown`` where the header's flag says that its
            directions are not to be used.
    """
    assumption = parse_assumption(assume_orientation)
    header: Any = nib.freesurfer.mghformat.MGHHeader(block, check=False)
    if struct.unpack(">h", block[28:30])[0] > 0 and not assumption.imposed:
        with np.errstate(all="ignore"):  # what is wrong with the numbers is checked afterwards
            affine = np.asarray(header.get_affine(), dtype=np.float64)
        check_affine(affine, name)
        return affine, unused_assumption(affine, assumption, name)
    lacking = "header field goodRASFlag is 0; expected 1"
    sizes = [float(size) for size in header["delta"]]
    affine, findings = assumed_affine(sizes, shape, assumption, name, lacking)
    check_affine(affine, name)
    return affine, findings
