"""What the model sees of a scan: a small cube of bytes that still knows its place in the world."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medblip.findings import Finding

Bounds = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]


@dataclass(frozen=True, slots=True)
class SourceFacts:
    """What the scan's header said, in RAS order; no name, so that a cache holds no identifier.

    Attributes:
        shape: voxels along x, y, z.
        voxel_sizes: mm along x, y, z.
        axcodes: direction of the file's own axes, e.g. ``LPI``.
    """

    shape: tuple[int, int, int]
    voxel_sizes: tuple[float, float, float]
    axcodes: str


@dataclass(frozen=True)
class Cube:
    """A scan after ``preprocess``.

    Attributes:
        array: uint8 ``(size, size, size)``, axes RAS+ ``(x, y, z)``; the head is 1 to 255, all
            else exactly 0.
        affine: float64 ``(4, 4)``, cube voxel index to RAS+ mm of the scan's own world.
        bounds: ``((x0, x1), (y0, y1), (z0, z1))``, the half-open ranges of cube voxels that hold
            every voxel other than 0.
        facts: grid of the scan that the cube was made from.
        findings: what was noticed about the scan.
        source: name of the scan for messages.
        source_sha256: SHA-256 of the scan's file; empty if it came from memory.
        cache_file: name of the cube's file in the cache; empty if it is in none.
    """

    array: NDArray[np.uint8]
    affine: NDArray[np.float64]
    bounds: Bounds
    facts: SourceFacts
    findings: tuple[Finding, ...] = ()
    source: str = "array"
    source_sha256: str = ""
    cache_file: str = ""

    @property
    def size(self) -> int:
        return self.array.shape[0]

    @property
    def voxel_mm(self) -> float:
        """Edge of one cube voxel in mm; the same along all axes."""
        return float(self.affine[0, 0])

    def __repr__(self) -> str:
        ranges = ", ".join(f"{low}:{high}" for low, high in self.bounds)
        return (
            f"Cube({self.source}: {self.size}^3 voxels of {self.voxel_mm:.3f} mm, RAS, "
            f"head in [{ranges}], {len(self.findings)} findings)"
        )


def bounds_of(array: NDArray[np.uint8]) -> Bounds:
    """Half-open range along each axis that holds every voxel of ``(x, y, z)`` other than 0."""
    y_z = np.bitwise_or.reduce(array, axis=0)
    along_x = np.flatnonzero([plane.any() for plane in array])
    along = (along_x, np.flatnonzero(y_z.any(axis=1)), np.flatnonzero(y_z.any(axis=0)))
    x, y, z = ((int(found[0]), int(found[-1]) + 1) if found.size else (0, 0) for found in along)
    return (x, y, z)
