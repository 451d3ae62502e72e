"""Voxels that are no intensities, and volumes without contrast."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from medblip.errors import InputError
from medblip.findings import Finding
from medblip.volumes.volume import StoredVolume


def checked_voxels(
    array: NDArray[np.float32], name: str, max_nonfinite_fraction: float
) -> tuple[NDArray[np.float32], tuple[Finding, ...]]:
    """The array without NaN and infinity; a few are filled with background, many refuse the file.

    Args:
        array: float32 ``(i, j, k)``; changed in place where voxels are filled.
        name: file name for messages.
        max_nonfinite_fraction: largest share that is filled.

    Raises:
        InputError: ``nonfinite-voxels`` or ``no-contrast``.
    """
    low, high = float(array.min()), float(array.max())  # both are NaN if one voxel is
    findings: tuple[Finding, ...] = ()
    if not np.isfinite(low) or not np.isfinite(high):
        findings = (_fill_nonfinite(array, name, max_nonfinite_fraction),)
        low, high = float(array.min()), float(array.max())
    if low == high:
        raise _no_contrast(name, low)
    return array, findings


def check_whole_numbers(stored: StoredVolume) -> None:
    """The same check for whole numbers, which are finite.

    Raises:
        InputError: ``no-contrast``.
    """
    array = stored.unscaled.array
    few = array[:: max(1, array.shape[0] // 8)]  # enough to see that there are several values
    if few.min() == few.max() and array.min() == array.max():
        raise _no_contrast(
            stored.unscaled.source, float(few.min()) * stored.slope + stored.intercept
        )


def _no_contrast(name: str, value: float) -> InputError:
    return InputError(
        name,
        f"no contrast: every voxel is {value:g}; expected a scan",
        "export the scan again",
        code="no-contrast",
    )


def _fill_nonfinite(array: NDArray[np.float32], name: str, max_fraction: float) -> Finding:
    finite = np.isfinite(array)
    bad = int(finite.size - np.count_nonzero(finite))
    found = f"{bad:,} of {finite.size:,} voxels ({bad / finite.size:.2%}) are NaN or infinite"
    if bad > max_fraction * finite.size:
        raise InputError(
            name,
            f"{found}; expected at most {max_fraction:.0%}",
            "write the scan again with 0 outside the head",
            code="nonfinite-voxels",
        )
    background = _background(array)
    array[~finite] = background
    return Finding(
        "nonfinite-voxels",
        "warning",
        name,
        f"{found}; they are set to the background value {background:g}",
        "check that the scan is whole",
    )


def _background(array: NDArray[np.float32]) -> np.float32:
    """Median of the eight corner voxels: air in a head scan."""
    corners = array[np.ix_([0, -1], [0, -1], [0, -1])]
    corners = corners[np.isfinite(corners)]
    values = corners if corners.size else array[np.isfinite(array)][:1]
    return np.float32(np.median(values))
