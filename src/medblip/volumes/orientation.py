"""Axes put in the order and direction of the world, by the affine and never by array order."""

from __future__ import annotations

from dataclasses import replace

import nibabel as nib
import numpy as np

from medblip.volumes.volume import Volume


def to_ras(volume: Volume) -> Volume:
    """Permute and flip the voxel axes to the closest RAS+ order; no value is interpolated.

    Returns:
        A volume whose array ``(x, y, z)`` grows to the patient's right, front and top as nearly
        as its axes allow. The array is a view of the input's; the affine moves with it, so every
        voxel keeps its place in the world.
    """
    orientation = nib.orientations.io_orientation(volume.affine)
    back = nib.orientations.inv_ornt_aff(orientation, volume.shape)
    return replace(
        volume,
        array=nib.orientations.apply_orientation(volume.array, orientation),
        affine=np.asarray(volume.affine @ back, dtype=np.float64),
    )
