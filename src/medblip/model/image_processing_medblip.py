"""Volumes to ``pixel_values``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from numpy.typing import NDArray
from transformers.feature_extraction_utils import BatchFeature
from transformers.image_processing_utils import BaseImageProcessor

from medblip.errors import InputError
from medblip.findings import Finding
from medblip.volumes import Cube, Preprocessing, ReadLimits, Volume, preprocess, read_volume
from medblip.volumes.extent import check_extent
from medblip.volumes.header_affine import check_affine, world_affine
from medblip.volumes.voxel_checks import checked_voxels

VolumeInput = Any  # a path, a Volume, a Cube, or a nibabel image
IMAGE = "nibabel image"


class MedBlipImageProcessor(BaseImageProcessor):
    """Reads scans the safe way and brings them onto the model's cube.

    Args:
        preprocessing: fields of :class:`medblip.volumes.Preprocessing`; the same ones that the
            model was trained with.
    """

    model_input_names = ["pixel_values"]  # noqa: RUF012

    def __init__(self, preprocessing: dict[str, Any] | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.preprocessing = dict(preprocessing or {})

    def cube(self, volume: VolumeInput) -> Cube:
        """One input as a :class:`Cube`.

        Raises:
            InputError: it cannot be read or is not a kind of input that is known.
        """
        settings = Preprocessing(**self.preprocessing)
        if isinstance(volume, Cube):
            return _of_size(volume, settings.size)
        if isinstance(volume, str | Path):
            volume = read_volume(Path(volume))
        elif isinstance(volume, nib.spatialimages.SpatialImage):
            volume = _from_nibabel(volume)
        if not isinstance(volume, Volume):
            raise InputError(
                "volumes",
                f"{type(volume).__name__} is not a path, Volume, Cube or nibabel image",
                "wrap an array as Volume(array, affine): without an affine left and right are "
                "unknown",
                code="bad-volume",
            )
        return preprocess(volume, settings)

    def __call__(  # type: ignore[override]  # volumes, not 2D images
        self, volumes: VolumeInput | Sequence[VolumeInput], return_tensors: str = "pt"
    ) -> BatchFeature:
        """``pixel_values`` float32 ``(batch, 1, D, H, W)`` in [0, 1], RAS+ axes, background 0.

        Raises:
            InputError: one of the volumes cannot be used.
        """
        listed = volumes if isinstance(volumes, list | tuple) else [volumes]
        cubes = np.stack([self.cube(v).array for v in listed])[:, None]
        pixel_values = torch.from_numpy(cubes).float() / 255.0
        return BatchFeature({"pixel_values": pixel_values}, tensor_type=return_tensors)


def _of_size(cube: Cube, size: int) -> Cube:
    if cube.size != size:
        raise InputError(
            cube.source,
            f"is a cube of {cube.size} voxels; this model's are {size}",
            "preprocess the scan at the model's size",
            code="other-volume-size",
        )
    return cube


def _from_nibabel(image: nib.spatialimages.SpatialImage) -> Volume:
    """An image in memory, checked as ``read_volume`` checks a file."""
    limits = ReadLimits()
    shape = image.shape[:3] + tuple(n for n in image.shape[3:] if n != 1)
    kind = image.get_data_dtype()
    if len(shape) != 3 or kind.kind not in "iuf":
        raise InputError(
            IMAGE,
            f"holds {kind} values of shape {image.shape}; expected one 3D volume of real numbers",
            "take one volume of it, for example with `image.slicer[..., 0]`",
            code="bad-volume",
        )
    affine, findings = _affine_of(image, shape)
    check_affine(affine, IMAGE)
    check_extent(shape, affine, IMAGE, limits)
    array = np.array(image.get_fdata(dtype=np.float32, caching="unchanged")).reshape(shape)
    array, more = checked_voxels(array, IMAGE, limits.max_nonfinite_fraction)
    return Volume(array, affine, IMAGE, (*findings, *more))


def _affine_of(
    image: nib.spatialimages.SpatialImage, shape: tuple[int, int, int]
) -> tuple[NDArray[np.float64], tuple[Finding, ...]]:
    if isinstance(image.header, nib.Nifti1Header):
        return world_affine(image.header, shape, IMAGE)  # without a code nibabel would guess
    return np.asarray(image.affine, dtype=np.float64), ()
