"""The volumes of M3D: ``.npy`` arrays of CT slices, checked before a byte of them is taken in.

M3D-Cap's own preparation writes float32 ``(1, D, H, W)``, usually ``(1, 32, 256, 256)``, scaled to
0..1 after a crop to the foreground. Voxel sizes and orientation are lost by then.
"""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from medblip.errors import InputError
from medblip.volumes import ReadLimits
from medblip.volumes.locating import locate

MAX_HEADER_BYTES = 4096
LIMITS = ReadLimits()
TOLERANCE = 1e-3  # beyond 0 and 1, for what was rounded


def read_m3d_volume(path: str, root: Path, limits: ReadLimits = LIMITS) -> NDArray[np.float32]:
    """The voxels of one volume.

    Args:
        path: as in the CSV, relative to ``root``.

    Returns:
        float32 ``(D, H, W)``, 0 to 1: slices, rows and columns of unknown size and direction.

    Raises:
        InputError: it is not there or leads out of ``root``; it is no NumPy file of floats of
            that shape; it is larger than the limits or than its header says; values are not
            finite, not within 0..1 or all the same.
    """
    file = locate(root / path, root)
    with file.path.open("rb") as handle:
        shape, dtype = _header(handle, file.name)
        count = _check_shape(shape, dtype, limits, file.name)
        announced = count * dtype.itemsize
        found = file.size - handle.tell()
        if found != announced:
            problem = f"the header announces {announced} bytes of data, the file has {found}"
            raise InputError(file.name, problem, "fetch it again", code="truncated-file")
        flat = np.fromfile(handle, dtype=dtype, count=count)
    return _checked(flat.astype(np.float32, copy=False).reshape(shape[1:]), file.name)


def _header(handle: BinaryIO, name: str) -> tuple[tuple[int, ...], np.dtype[np.generic]]:
    readers = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    try:
        version = np.lib.format.read_magic(handle)
        if version not in readers:
            raise ValueError(f"version {version} of the format")
        shape, fortran, dtype = readers[version](handle, max_header_size=MAX_HEADER_BYTES)
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError) as error:
        problem = f"is no NumPy array file: {str(error)[:120]}"
        raise InputError(name, problem, "expected a .npy file of M3D", code="not-npy") from None
    if dtype.kind != "f" or dtype.itemsize > 8:
        problem = f"holds {dtype}, expected floats"
        raise InputError(name, problem, "prepare it as M3D-Cap does", code="wrong-dtype")
    if fortran:
        problem = "its axes are in Fortran order, expected C order"
        raise InputError(name, problem, "save it by numpy.ascontiguousarray", code="wrong-layout")
    return shape, dtype


def _check_shape(
    shape: tuple[int, ...], dtype: np.dtype[np.generic], limits: ReadLimits, name: str
) -> int:
    """Number of voxels of a shape ``(1, D, H, W)`` within the limits."""
    if len(shape) != 4 or shape[0] != 1 or min(shape) < 1:
        problem = f"has the shape {shape}, expected (1, D, H, W)"
        raise InputError(name, problem, "prepare it as M3D-Cap does", code="wrong-shape")
    count = int(np.prod([int(n) for n in shape], dtype=object))
    if count > limits.max_voxels or count * dtype.itemsize > limits.max_inflated_bytes:
        problem = f"has {count} voxels, expected at most {limits.max_voxels}"
        raise InputError(name, problem, "raise the limit if this is right", code="too-large")
    return count


def _checked(array: NDArray[np.float32], name: str) -> NDArray[np.float32]:
    if not np.isfinite(array).all():
        raise InputError(name, "holds NaN or infinity", "prepare it again", code="nonfinite")
    low, high = float(array.min()), float(array.max())
    if low < -TOLERANCE or high > 1 + TOLERANCE:
        problem = f"intensities are {low:g} to {high:g}, expected 0 to 1"
        raise InputError(name, problem, "prepare it as M3D-Cap does", code="not-scaled")
    if low == high:
        problem = f"all intensities are {low:g}"
        raise InputError(name, problem, "prepare it again", code="flat-volume")
    return array.clip(0.0, 1.0, out=array)
