"""Read an image between its voxels, with the slope there."""

from __future__ import annotations

import numpy as np

from medblip.volumes.reference import Floats


def trilinear(image: Floats, voxels: Floats) -> tuple[Floats, Floats]:
    """Interpolate linearly along the three axes.

    Args:
        image: float64 ``(i, j, k)``, two voxels or more along each axis.
        voxels: float64 ``(points, 3)``; positions outside are moved to the border.

    Returns:
        values ``(points,)`` and their derivative per voxel ``(points, 3)``.
    """
    last = np.array(image.shape) - 1
    voxels = np.clip(voxels, 0.0, last)
    corner = np.minimum(voxels.astype(np.intp), last - 1)
    x, y, z = (voxels - corner).T
    row, plane = image.shape[2], image.shape[1] * image.shape[2]
    flat = image.ravel()
    first = corner @ np.array([plane, row, 1])
    edges = [first, first + row, first + plane, first + plane + row]
    low = [flat[edge] for edge in edges]
    by_z = [flat[edge + 1] - v for edge, v in zip(edges, low, strict=True)]
    v00, v01, v10, v11 = (v + slope * z for v, slope in zip(low, by_z, strict=True))
    v0, v1 = v00 + (v01 - v00) * y, v10 + (v11 - v10) * y
    slope_x = v1 - v0
    slope_y = (v01 - v00) * (1 - x) + (v11 - v10) * x
    z0, z1 = by_z[0] * (1 - y) + by_z[1] * y, by_z[2] * (1 - y) + by_z[3] * y
    slope_z = z0 * (1 - x) + z1 * x
    return v0 + slope_x * x, np.stack([slope_x, slope_y, slope_z], axis=1)
