"""A 3D patch filter and its positions from the reference's axis order into ours.

The reference feeds ``SimpleITK.GetArrayFromImage``: the voxels in the order of the file, last axis
first. A file whose voxel axes run (right, front, top), which is RAS, arrives as (top, front,
right): our (x, y, z) backwards. SimpleITK *describes* space in LPS, but it flips no voxel: where
the arrays of the reference point depends on how its files were stored and on nothing else. The
state dict does not record that, so it is asked for. A file stored as LPS arrives with its last two
axes running the other way, and its filter and its grid of positions have to be flipped along x
and y.

Patches tile the volume without a rest, so turning the volume, or turning each filter and the grid,
gives the same tokens: the conversion is exact.
"""

from __future__ import annotations

import nibabel as nib
import numpy as np
from torch import Tensor

from medblip.errors import UsageError


def to_ras(tensor: Tensor, stored_as: str) -> Tensor:
    """Turn the last three axes from the reference's order into RAS+ ``(x, y, z)``.

    Args:
        tensor: ``(..., k, j, i)``, as the reference orders a file with voxel axes i, j, k.
        stored_as: where i, j and k point, e.g. ``RAS``, ``LPS``, ``LIA`` (FreeSurfer's).

    Returns:
        ``(..., x, y, z)``, growing to the patient's right, front and top.

    Raises:
        UsageError: ``stored_as`` does not name three axes.
    """
    orientation = _orientation(stored_as)  # row n: axis of the world, direction, of file axis n
    order = np.argsort(orientation[:, 0])  # file axis of x, y, z
    lead = tensor.ndim - 3
    turned = tensor.permute(*range(lead), *(lead + 2 - int(axis) for axis in order))
    backwards = [lead + n for n, axis in enumerate(order) if orientation[axis, 1] < 0]
    return turned.flip(backwards)


def positions_to_ras(positions: Tensor, stored_as: str) -> Tensor:
    """The same for positions ``(1, 1 + grid ** 3, width)``, CLS first."""
    places, width = positions.shape[1] - 1, positions.shape[2]
    grid = round(places ** (1 / 3))
    volume = positions[0, 1:].T.reshape(width, grid, grid, grid)
    turned = positions.clone()
    turned[0, 1:] = to_ras(volume, stored_as).reshape(width, -1).T
    return turned


def _orientation(stored_as: str) -> np.ndarray:
    try:
        orientation = nib.orientations.axcodes2ornt(stored_as.upper())
        if sorted(orientation[:, 0]) != [0, 1, 2]:
            raise ValueError("an axis is named twice or not at all")
    except ValueError as error:
        raise UsageError(
            "--stored-as",
            f"is {stored_as!r} ({error})",
            "give one of R or L, one of A or P and one of S or I, in the order of the file's axes",
            code="bad-orientation",
        ) from error
    return orientation
