"""Every n-th voxel of a mask, counted in the order of the indices, found in memory's order.

The obvious ``array[mask][::n]`` first copies all voxels of the mask, and for an array whose axes
are permuted it jumps through memory to do so.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from medblip.volumes.memory_layout import Layout

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]


def every_nth(array: Floats, mask: Mask, step: int) -> Floats:
    """The values of ``array[mask][::step]``, in any order.

    Args:
        array: ``(x, y, z)``.
        mask: of the same shape.
        step: 1 or more, less than 65,536.
    """
    if Layout.of(mask).order[0] == 2:
        return _across_planes(array, mask, step)
    if Layout.of(mask).order[0] != 0:
        mask = np.ascontiguousarray(mask)
    parts, skip = [], 0
    for values, chosen in zip(array, mask, strict=True):
        places = np.flatnonzero(chosen)
        parts.append(_at(values, places[skip::step]))
        skip = (skip - places.size) % step
    return np.concatenate(parts)


def _across_planes(array: Floats, mask: Mask, step: int) -> Floats:
    """The same, going through z, which counts fastest, on the outside.

    ``skip`` holds for each column how many of its voxels are passed over before the next is taken.
    """
    layout = Layout.of(mask)
    stored = layout.stored(mask)
    counts = np.add.reduce(stored.view(np.uint8), axis=0, dtype=np.uint16)
    plane = Layout(layout.order[1:], layout.flips[:2])
    before = plane.restored(counts).astype(np.int64)
    before = (np.cumsum(before) - before.ravel()).reshape(before.shape)
    skip = np.ascontiguousarray(plane.stored(-before % step), dtype=np.uint16)
    parts = []
    for z in range(mask.shape[2]):
        chosen, values = plane.stored(mask[:, :, z]), plane.stored(array[:, :, z])
        taken = np.flatnonzero(chosen & (skip == 0))
        skip -= chosen
        skip.ravel()[taken] = step - 1
        parts.append(_at(values, taken))
    return np.concatenate(parts)


def _at(plane: Floats, places: NDArray[np.intp]) -> Floats:
    """Values at flat indices, without the copy that ``ravel`` makes of a plane that is a view."""
    values: Floats = plane[np.divmod(places, plane.shape[1])]
    return values
