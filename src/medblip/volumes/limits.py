"""How much a file may claim, and how little is still a head."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ReadLimits:
    """Bounds that ``read_volume`` enforces; raise or lower one to override a refusal.

    Attributes:
        max_inflated_bytes: largest data a header may announce, all volumes of a 4D file together.
        max_voxels: largest single 3D volume.
        max_trailing_bytes: inflated bytes tolerated, with a warning, after the announced data.
        min_extent_mm: smallest field of view along any axis; 0 accepts a slab of any thickness.
        max_extent_mm: largest field of view along any axis; beyond it the units are doubtful.
        min_voxels_per_axis: fewest slices along any axis.
        max_nonfinite_fraction: share of NaN and infinite voxels that is filled with background.
    """

    max_inflated_bytes: int = 4 << 30
    max_voxels: int = 512**3
    max_trailing_bytes: int = 1 << 20
    min_extent_mm: float = 80.0
    max_extent_mm: float = 1000.0
    min_voxels_per_axis: int = 16
    max_nonfinite_fraction: float = 0.01
