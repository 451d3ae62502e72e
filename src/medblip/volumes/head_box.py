"""The head's box in the world, from its mask; the neck does not count."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from medblip.volumes.memory_layout import Layout

Mask = NDArray[np.bool_]

_BYTE = 255
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
    by_xz, by_yz = _summed(mask, 1), _summed(mask, 0)
    bottom, top = _ends(by_xz.sum(axis=0) * float(sizes[0] * sizes[1]))
    bottom = max(bottom, top - int(max_height_mm / sizes[2]) + 1)
    ends = np.array(
        [
            _ends(by_xz[:, bottom : top + 1].sum(axis=1) * float(sizes[1] * sizes[2])),
            _ends(by_yz[:, bottom : top + 1].sum(axis=1) * float(sizes[0] * sizes[2])),
            (bottom, top),
        ],
        dtype=float,
    ).T
    return (ends + np.array([[-0.5], [0.5]])) * sizes + affine[:3, 3]


def _summed(mask: Mask, axis: int) -> NDArray[np.int64]:
    """How many voxels of the mask lie along one axis."""
    layout = Layout.of(mask)
    stored, along = layout.stored(mask).view(np.uint8), layout.order.index(axis)
    # Sums of up to 255 voxels fit into bytes, which are added many at a time.
    starts = range(0, mask.shape[axis], _BYTE)
    parts = [stored[(slice(None),) * along + (slice(start, start + _BYTE),)] for start in starts]
    total = sum(np.add.reduce(part, axis=along, dtype=np.uint8).astype(np.int64) for part in parts)
    whole = np.expand_dims(np.asarray(total), along)
    return layout.restored(whole).squeeze(axis)


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
