"""The head's box in the world, from its mask; the neck does not count."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]

MIN_PLANE_MM2 = 100.0  # a plane with less head than this is a stray voxel, not the head's end


def head_box(
    mask: Mask, affine: NDArray[np.float64], max_height_mm: float, *, parallel: bool
) -> NDArray[np.float64]:
    """The head's box in the world, cut off ``max_height_mm`` below the top of the head.

    Args:
        mask: bool ``(x, y, z)`` of a volume in RAS order.
        affine: its voxel -> RAS+ mm matrix ``(4, 4)``.
        max_height_mm: what lies lower (neck, shoulders) does not count.
        parallel: whether the voxel axes run along the world's.

    Returns:
        float64 ``(2, 3)``: lowest and highest x, y, z of the voxels' outer faces in mm.
    """
    if not parallel:
        return _oblique_box(mask, affine, max_height_mm)
    sizes = np.diag(affine)[:3]
    bottom, top = _end_planes(mask, 2, float(sizes[0] * sizes[1]))
    bottom = max(bottom, top - int(max_height_mm / sizes[2]) + 1)
    kept = mask[:, :, bottom : top + 1]
    ends = np.array(
        [
            _end_planes(kept, 0, float(sizes[1] * sizes[2])),
            _end_planes(kept, 1, float(sizes[0] * sizes[2])),
            (bottom, top),
        ],
        dtype=float,
    ).T
    return (ends + np.array([[-0.5], [0.5]])) * sizes + affine[:3, 3]


def _end_planes(mask: Mask, axis: int, voxel_mm2: float) -> tuple[int, int]:
    others = tuple(other for other in range(3) if other != axis)
    return _ends(np.count_nonzero(mask, axis=others) * voxel_mm2)


def _ends(areas: NDArray[np.float64]) -> tuple[int, int]:
    """First and last plane that holds a real part of the head."""
    planes = np.flatnonzero(areas >= min(MIN_PLANE_MM2, 0.5 * float(areas.max())))
    return int(planes[0]), int(planes[-1])


def _oblique_box(
    mask: Mask, affine: NDArray[np.float64], max_height_mm: float
) -> NDArray[np.float64]:
    """The same from a sample of the voxels, counted in slabs of 1 mm across each world axis."""
    stride = 2 if mask.size > 1_000_000 else 1
    voxels = np.argwhere(mask[::stride, ::stride, ::stride]) * stride
    world = voxels @ affine[:3, :3].T + affine[:3, 3]  # (voxels, 3)
    volume_mm3 = stride**3 * abs(np.linalg.det(affine[:3, :3]))
    low, high = _slab_ends(world[:, 2], volume_mm3)
    low = max(low, high - max_height_mm)
    world = world[world[:, 2] >= low]
    ends = [_slab_ends(world[:, axis], volume_mm3) for axis in (0, 1)]
    return np.array([*ends, (low, high)]).T


def _slab_ends(positions: NDArray[np.float64], volume_mm3: float) -> tuple[float, float]:
    origin = np.floor(positions.min())
    counts = np.bincount((positions - origin).astype(int))
    first, last = _ends((counts * volume_mm3).astype(np.float64))
    return float(origin + first), float(origin + last + 1)
