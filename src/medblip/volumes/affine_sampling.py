"""Linear interpolation in three dimensions at the voxels of a grid that is turned or sheared."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from medblip.volumes.grids import Grid

Floats = NDArray[np.float32]
Span = tuple[slice, slice]


def interpolated_planes(
    array: Floats, grid: Grid, spans: Sequence[Span]
) -> Iterator[tuple[int, Span, Floats]]:
    """Values of ``array`` ``(i, j, k)`` at the grid's voxels; voxels outside count as 0.

    Args:
        array: float32.
        grid: any.
        spans: for each plane across the grid's first axis, the part of it that is asked for.

    Yields:
        The plane's index, its span, and the values there.
    """
    import torch  # takes half of SciPy's time; loaded late, since an upright scan does without

    source = torch.from_numpy(np.ascontiguousarray(array))[None, None]
    # torch counts from -1 to 1 and names the last axis first.
    scale = 2 / np.maximum(np.array(array.shape, dtype=np.float64) - 1, 1)
    to_unit = (grid.to_source[:3] * scale[:, None])[::-1]
    _, ny, nz = grid.shape
    y, z = np.arange(ny) + grid.start[1], np.arange(nz) + grid.start[2]
    first = np.multiply.outer(y, to_unit[:, 1])[:, None] + np.multiply.outer(z, to_unit[:, 2])
    # Rows of x, y, z, x, y, z, ...: three numbers at a time would be added slowly.
    first = first.reshape(ny, 3 * nz).astype(np.float32)
    for index, (rows, columns) in enumerate(spans):
        if rows.start >= rows.stop or columns.start >= columns.stop:
            continue
        along_x = to_unit[:, 0] * (grid.start[0] + index) + to_unit[:, 3] - 1
        part = first[rows, 3 * columns.start : 3 * columns.stop]
        points = part + np.tile(along_x.astype(np.float32), part.shape[1] // 3)
        places = torch.from_numpy(points.reshape(1, 1, len(part), -1, 3))
        sampled = torch.nn.functional.grid_sample(source, places, align_corners=True)
        yield index, (rows, columns), sampled.numpy()[0, 0, 0]
