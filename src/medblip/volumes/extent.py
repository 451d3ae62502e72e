"""Whether a grid is large enough, and not too large, to hold a head in millimetres."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from medblip.errors import InputError
from medblip.volumes.limits import ReadLimits


def check_extent(
    shape: tuple[int, int, int], affine: NDArray[np.float64], name: str, limits: ReadLimits
) -> None:
    """Refuse slabs, single slices and fields of view that cannot be a head in millimetres.

    Raises:
        InputError: ``small-extent``, ``too-few-slices`` or ``huge-extent``.
    """
    voxel_sizes = np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
    extent = voxel_sizes * shape
    found = f"{'x'.join(map(str, shape))} voxels, {'x'.join(f'{mm:.3g}' for mm in extent)} mm"
    if min(shape) < limits.min_voxels_per_axis:
        raise InputError(
            name,
            f"has only {min(shape)} slices along one axis ({found}); "
            f"expected {limits.min_voxels_per_axis} or more",
            "give a whole-head scan, or lower ReadLimits.min_voxels_per_axis",
            code="too-few-slices",
        )
    if extent.min() < limits.min_extent_mm:
        raise InputError(
            name,
            f"covers too little of a head: {found}; expected {limits.min_extent_mm:g} mm or more "
            "along every axis",
            "give a whole-head scan, or lower ReadLimits.min_extent_mm",
            code="small-extent",
        )
    if extent.max() > limits.max_extent_mm:
        raise InputError(
            name,
            f"covers {found}; expected {limits.max_extent_mm:g} mm or less along every axis",
            "check that the header's units are millimetres, or raise ReadLimits.max_extent_mm",
            code="huge-extent",
        )
