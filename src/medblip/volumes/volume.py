"""A volume is an array, its affine, and what was noticed while reading it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from medblip.findings import Finding


@dataclass(frozen=True)
class Volume:
    """One 3D scan.

    Attributes:
        array: float32 ``(i, j, k)`` in the file's own voxel order, scaled by the header's slope
            and intercept; no NaN or infinity.
        affine: float64 ``(4, 4)``, voxel index to RAS+ world millimetres.
        source: name for messages (a file's name, never a full path with identifiers).
        findings: warnings and notes met on the way; errors were raised instead.
    """

    array: NDArray[np.float32]
    affine: NDArray[np.float64]
    source: str = "array"
    findings: tuple[Finding, ...] = field(default=())

    @property
    def shape(self) -> tuple[int, int, int]:
        i, j, k = self.array.shape
        return (i, j, k)

    @property
    def voxel_sizes(self) -> tuple[float, float, float]:
        """Edge lengths of one voxel in mm, in voxel order."""
        x, y, z = np.sqrt((self.affine[:3, :3] ** 2).sum(axis=0))
        return (float(x), float(y), float(z))

    @property
    def extent_mm(self) -> tuple[float, float, float]:
        """Field of view in mm, in voxel order."""
        x, y, z = (n * v for n, v in zip(self.shape, self.voxel_sizes, strict=True))
        return (x, y, z)

    @property
    def axcodes(self) -> str:
        """Nearest world direction of each voxel axis, e.g. ``RAS`` or ``LPI``."""
        return "".join(nib.orientations.aff2axcodes(self.affine))

    def with_findings(self, *findings: Finding) -> Volume:
        return replace(self, findings=(*self.findings, *findings))

    def __repr__(self) -> str:
        voxels = "x".join(f"{v:.2f}" for v in self.voxel_sizes)
        shape = "x".join(str(n) for n in self.shape)
        low, high = float(self.array.min()), float(self.array.max())
        return (
            f"Volume({self.source}: {shape} voxels of {voxels} mm, {self.axcodes}, "
            f"intensity {low:.4g} to {high:.4g}, {len(self.findings)} findings)"
        )


@dataclass(frozen=True)
class StoredVolume:
    """A scan with its intensities as the file stores them, which may be small whole numbers.

    A cube is the same up to a positive factor and an offset of the intensities, so that it is made
    of ``unscaled`` in half the memory; all else wants ``scaled``.

    Attributes:
        unscaled: the volume; its array ``(i, j, k)`` is int8, uint8, int16, uint16 or float32.
        slope, intercept: intensity = stored * slope + intercept, slope more than 0.
    """

    unscaled: Volume
    slope: float = 1.0
    intercept: float = 0.0

    def scaled(self) -> Volume:
        """The volume with float32 intensities."""
        array = self.unscaled.array.astype(np.float32, copy=False)
        if (self.slope, self.intercept) != (1.0, 0.0):
            array = array * np.float32(self.slope)
            array += np.float32(self.intercept)
        return replace(self.unscaled, array=array)


def keeps_whole_numbers(dtype: np.dtype[Any], slope: float, intercept: float) -> bool:
    """Whether stored numbers of that type may stay as they are until a cube is made of them.

    They do if scaling in float32 neither reverses them nor makes them overflow or run together.
    """
    return (
        dtype.kind in "iu"
        and dtype.itemsize <= 2
        and 1e-20 < slope < 1e20
        and abs(intercept) < slope * 2**22
    )
