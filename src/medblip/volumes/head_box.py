"""The head's box in the world, from its mask; the neck does not count."""

from __future__ import annotations

from itertools import takewhile
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medblip.volumes.head_blocks import Mask
from medblip.volumes.head_mask import Head
from medblip.volumes.memory_layout import Layout
from medblip.volumes.volume import Volume

_BYTE = 255
MANY = 1_000_000  # sampled voxels of which every other one will do
MIN_PLANE_MM2 = 100.0  # a plane with less head than this is a stray voxel, not the head's end


def head_box(
    head: Head, volume: Volume, max_height_mm: float, *, parallel: bool
) -> NDArray[np.float64]:
    """The head's box in the world, cut off ``max_height_mm`` below the top of the head.

    Args:
        head: what was found in the volume.
        volume: in RAS order.
        max_height_mm: what lies lower (neck, shoulders) does not count.
        parallel: whether the voxel axes run along the world's.

    Returns:
        float64 ``(2, 3)``: lowest and highest x, y, z of the voxels' outer faces in mm.
    """
    if parallel:
        return _upright_box(head, volume, max_height_mm)
    affine, mask = volume.affine.copy(), head.mask
    affine[:3, :3] *= head.blocks.strides
    if mask.size > MANY:
        affine[:3, 2] *= 2
        mask = mask[:, :, ::2]
    return _oblique_box(mask, affine, max_height_mm)


def _upright_box(head: Head, volume: Volume, max_height_mm: float) -> NDArray[np.float64]:
    """From the sampled voxels, then plane by plane between the last of them and the next."""
    sizes = np.diag(volume.affine)[:3]
    x, y, z = (float(mm) for mm in sizes * head.blocks.strides)
    by_xz, by_yz = _summed(head.mask, 1), _summed(head.mask, 0)
    whole = slice(None)
    bottom, top = _exact_ends(by_xz.sum(axis=0), x * y, head, volume.array, 2, whole)
    bottom = max(bottom, top - int(max_height_mm / sizes[2]) + 1)
    stride = head.blocks.strides[2]
    rows = slice(-(-bottom // stride), top // stride + 1)
    ends = [
        _exact_ends(by_xz[:, rows].sum(axis=1), y * z, head, volume.array, 0, rows),
        _exact_ends(by_yz[:, rows].sum(axis=1), x * z, head, volume.array, 1, rows),
        (bottom, top),
    ]
    box = np.array(ends, dtype=np.float64).T
    return (box + np.array([[-0.5], [0.5]])) * sizes + volume.affine[:3, 3]


def _exact_ends(
    counts: NDArray[np.int64],
    sample_mm2: float,
    head: Head,
    array: NDArray[Any],
    axis: int,
    rows: slice,
) -> tuple[int, int]:
    """First and last plane of voxels that holds a real part of the head.

    Args:
        counts: sampled voxels of the head in each sampled plane.
        sample_mm2: what one of them stands for.
        rows: of the sampled voxels along the plane's second axis, those that count.
    """
    areas = np.asarray(counts * sample_mm2, dtype=np.float64)
    first, last = _ends(areas)
    least, stride = _least(areas), head.blocks.strides[axis]

    def holds_head(plane: int) -> bool:
        mask = head.sampled_plane(array, axis, plane)
        return bool(np.count_nonzero(mask[:, rows]) * sample_mm2 >= least)

    first, last = first * stride, last * stride
    before = range(first - 1, max(first - stride, -1), -1)
    behind = range(last + 1, min(last + stride, array.shape[axis]))
    first -= sum(1 for _ in takewhile(holds_head, before))
    last += sum(1 for _ in takewhile(holds_head, behind))
    return first, last


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
    planes = np.flatnonzero(areas >= _least(areas))
    return int(planes[0]), int(planes[-1])


def _least(areas: NDArray[np.float64]) -> float:
    return min(MIN_PLANE_MM2, 0.5 * float(areas.max()))


def _oblique_box(
    mask: Mask, affine: NDArray[np.float64], max_height_mm: float
) -> NDArray[np.float64]:
    """The same by counting sampled voxels in slabs of 1 mm across each world axis."""
    world = np.argwhere(mask) @ affine[:3, :3].T + affine[:3, 3]  # (voxels, 3)
    volume_mm3 = abs(float(np.linalg.det(affine[:3, :3])))
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
