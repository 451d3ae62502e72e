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

VolumeInput = Any  # a path, Volume, Cube, nibabel image, or a pair (array, affine)
IMAGE, PAIR = "nibabel image", "(array, affine)"


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

    @property
    def size(self) -> int:
        """Voxels along an edge of the model's cube."""
        return Preprocessing(**self.preprocessing).size

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
        elif is_pair(volume):
            volume = _from_pair(*volume)
        if not isinstance(volume, Volume):
            raise InputError(
                "volumes",
                f"{type(volume).__name__} is not a path, Volume, Cube, nibabel image or "
                "(array, affine)",
                "give an array together with its 4x4 affine: without one left and right are "
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
        cubes = np.stack([self.cube(v).array for v in as_list(volumes)])[:, None]
        pixel_values = torch.from_numpy(cubes).float() / 255.0
        return BatchFeature({"pixel_values": pixel_values}, tensor_type=return_tensors)


def is_pair(value: Any) -> bool:
    """Whether ``value`` is ``(array, affine)`` and not a tuple of two volumes."""
    if not isinstance(value, tuple) or len(value) != 2:
        return False
    affine = value[1]
    return isinstance(affine, np.ndarray | torch.Tensor | list) and np.shape(affine) == (4, 4)


def as_list(volumes: VolumeInput | Sequence[VolumeInput] | None) -> list[VolumeInput]:
    """One volume, several, or none, as a list."""
    if volumes is None:
        return []
    several = isinstance(volumes, list | tuple) and not is_pair(volumes)
    return list(volumes) if several else [volumes]


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
    shape = _shape_3d(image.shape, image.get_data_dtype(), IMAGE)
    affine, findings = _affine_of(image, shape)
    _check_world(shape, affine, IMAGE)
    array = np.array(image.get_fdata(dtype=np.float32, caching="unchanged")).reshape(shape)
    return _checked(array, affine, IMAGE, findings)


def _from_pair(array: Any, affine: Any) -> Volume:
    """An array and its affine, checked in the same way."""
    values, matrix = _numpy(array), _numpy(affine).astype(np.float64)
    shape = _shape_3d(values.shape, values.dtype, PAIR)
    _check_world(shape, matrix, PAIR)
    return _checked(values.astype(np.float32).reshape(shape), matrix, PAIR)


def _numpy(values: Any) -> NDArray[Any]:
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu()
        if values.dtype == torch.bfloat16:  # which numpy does not have
            values = values.float()
    return np.asarray(values)


def _shape_3d(shape: tuple[int, ...], kind: np.dtype[Any], where: str) -> tuple[int, int, int]:
    """The three axes of one volume of real numbers; a fourth axis of length one may follow."""
    axes = shape[:3] + tuple(n for n in shape[3:] if n != 1)
    if len(axes) != 3 or kind.kind not in "iuf":
        raise InputError(
            where,
            f"holds {kind} values of shape {shape}; expected one 3D volume of real numbers",
            "take one volume of it, for example with `image.slicer[..., 0]`",
            code="bad-volume",
        )
    return axes


def _check_world(shape: tuple[int, int, int], affine: NDArray[np.float64], where: str) -> None:
    check_affine(affine, where)
    check_extent(shape, affine, where, ReadLimits())


def _checked(
    array: NDArray[np.float32],
    affine: NDArray[np.float64],
    where: str,
    findings: tuple[Finding, ...] = (),
) -> Volume:
    array, more = checked_voxels(array, where, ReadLimits().max_nonfinite_fraction)
    return Volume(array, affine, where, (*findings, *more))


def _affine_of(
    image: nib.spatialimages.SpatialImage, shape: tuple[int, int, int]
) -> tuple[NDArray[np.float64], tuple[Finding, ...]]:
    if isinstance(image.header, nib.Nifti1Header):
        return world_affine(image.header, shape, IMAGE)  # without a code nibabel would guess
    return np.asarray(image.affine, dtype=np.float64), ()
