"""A volume is an array, its affine, and what was noticed while reading it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

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
