"""The anatomy that simulated subjects are made from: a template head and its atrophy directions.

Everything is derived once from the ICBM152 2009a template and the neuromorphometrics atlas (both
fetched by :mod:`medblip.model.pretrained`), on one padded 1 mm RAS+ grid, and kept as one file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from scipy import ndimage

from medblip.storage import replacing, sha256_of_file

VERSION = 1

# Labels of the neuromorphometrics atlas.
VENTRICLES = (51, 52, 4, 49, 50)
MEDIAL_TEMPORAL = (47, 48, 31, 32, 116, 117)  # hippocampus, amygdala, entorhinal area

PADDING_MM = 24  # room for skull and scalp round the skull-stripped template
FIELD_STEP_MM = 3  # displacement fields are smooth, so a coarser grid carries them
BLUR_MM = 4.0

# Thickness in mm and T1 intensity (0 to 1) of the tissues round the brain, from inside out.
SHELLS = (("csf", 2.5, 0.12), ("skull", 6.0, 0.06), ("marrow", 2.0, 0.35), ("scalp", 7.0, 0.75))


@dataclass(frozen=True)
class Anatomy:
    """Template images and unit displacement fields in template space.

    Attributes:
        brain: float32 ``(x, y, z)`` at 1 mm, T1 intensity 0 to 1, 0 outside the brain.
        head: the same grid with cerebrospinal fluid, skull and scalp added.
        origin: world mm of voxel (0, 0, 0) of both.
        fields: by name (``ventricles``, ``medial_temporal``, ``cortex``) float32
            ``(3, x, y, z)`` at :data:`FIELD_STEP_MM`, same origin; unit displacement, RAS+
            direction, largest norm 1. Positive amounts mean atrophy.
        regions: by name, boolean mask on the field's grid, for the ground truth.
    """

    brain: NDArray[np.float32]
    head: NDArray[np.float32]
    origin: NDArray[np.float64]
    fields: Mapping[str, NDArray[np.float32]]
    regions: Mapping[str, NDArray[np.bool_]]


FIELD_NAMES = ("ventricles", "medial_temporal", "cortex")


def build_anatomy(template: Path) -> Anatomy:
    """Derive the anatomy from ``template``, a folder with ``t1``, ``gm`` and ``atlas`` images."""
    t1_image = nib.nifti1.load(template / "t1.nii.gz")
    pad = PADDING_MM
    brain = np.pad(np.asarray(t1_image.dataobj, dtype=np.float32) / 255.0, pad)
    gray_image = nib.nifti1.load(template / "gm.nii.gz")
    gray = np.pad(np.asarray(gray_image.dataobj, dtype=np.float32) / 255.0, pad)
    origin = t1_image.affine[:3, 3] - pad
    atlas = _resample_labels(nib.nifti1.load(template / "atlas.nii.gz"), origin, brain.shape)

    ventricles = np.isin(atlas, VENTRICLES)
    medial_temporal = np.isin(atlas, MEDIAL_TEMPORAL)
    mask = ndimage.binary_fill_holes(brain > 0.05)
    soft_gray: NDArray[np.float32] = ndimage.gaussian_filter(gray, BLUR_MM).astype(np.float32)
    fields = {
        # Sampling is a pull-back: to let a region grow, read from nearer its centre.
        "ventricles": _towards(ventricles, BLUR_MM),
        "medial_temporal": -_towards(medial_temporal, BLUR_MM),
        # Thinner cortex: the surface recedes, so read from further out near the surface.
        "cortex": -_towards(mask, BLUR_MM) * _coarse(soft_gray),
    }
    fields["cortex"] = _unit(fields["cortex"])
    step = FIELD_STEP_MM
    regions = {
        "ventricles": ventricles[::step, ::step, ::step],
        "medial_temporal": medial_temporal[::step, ::step, ::step],
        "cortex": (gray > 0.5)[::step, ::step, ::step],
    }
    return Anatomy(brain, _add_head(brain, mask), origin, fields, regions)


def load_anatomy(template: Path, cache: Path) -> Anatomy:
    """The anatomy from ``cache``, or built from ``template`` and kept there."""
    file = anatomy_file(template, cache)
    if not file.exists():
        save_anatomy(build_anatomy(template), file)
    return read_anatomy(file)


def anatomy_file(template: Path, cache: Path) -> Path:
    """Where the derived anatomy of this template lies; the name changes with its content."""
    key = sha256_of_file(template / "t1.nii.gz")[:12]
    return cache / f"anatomy-{VERSION}-{key}.safetensors"


def save_anatomy(anatomy: Anatomy, file: Path) -> None:
    tensors: dict[str, NDArray[np.generic]] = {
        "brain": anatomy.brain,
        "head": anatomy.head,
        "origin": anatomy.origin,
    }
    tensors |= {f"field.{name}": field for name, field in anatomy.fields.items()}
    tensors |= {f"region.{n}": r.astype(np.uint8) for n, r in anatomy.regions.items()}
    with replacing(file) as temporary:
        save_file({name: np.ascontiguousarray(t) for name, t in tensors.items()}, temporary)


def read_anatomy(file: Path) -> Anatomy:
    tensors = load_file(file)
    return Anatomy(
        brain=tensors["brain"],
        head=tensors["head"],
        origin=tensors["origin"],
        fields={name: tensors[f"field.{name}"] for name in FIELD_NAMES},
        regions={name: tensors[f"region.{name}"].astype(bool) for name in FIELD_NAMES},
    )


def _resample_labels(
    image: nib.nifti1.Nifti1Image, origin: NDArray[np.float64], shape: tuple[int, ...]
) -> NDArray[np.uint8]:
    grid_to_world = np.eye(4)
    grid_to_world[:3, 3] = origin
    grid_to_atlas = np.linalg.inv(image.affine) @ grid_to_world
    labels = np.asarray(image.dataobj, dtype=np.uint8)
    return ndimage.affine_transform(
        labels, grid_to_atlas[:3, :3], grid_to_atlas[:3, 3], output_shape=shape, order=0
    )


def _coarse(image: NDArray[Any]) -> NDArray[np.float32]:
    step = FIELD_STEP_MM
    return image[::step, ::step, ::step].astype(np.float32)


def _towards(region: NDArray[np.bool_], blur_mm: float) -> NDArray[np.float32]:
    """Unit field that points into ``region``, strongest at its border."""
    soft = ndimage.gaussian_filter(region.astype(np.float32), blur_mm)
    gradient = np.stack([_coarse(np.asarray(g)) for g in np.gradient(soft)])
    return _unit(gradient)


def _unit(field: NDArray[np.float32]) -> NDArray[np.float32]:
    largest = float(np.sqrt((field**2).sum(axis=0)).max())
    scaled: NDArray[np.float32] = (field / largest).astype(np.float32)
    return scaled


def _add_head(brain: NDArray[np.float32], mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Wrap shells of tissue round the brain, each of its own thickness and intensity."""
    # Half resolution is enough for smooth shells and ten times quicker.
    distance = ndimage.distance_transform_edt(~mask[::2, ::2, ::2]).astype(np.float32) * 2.0
    distance = ndimage.zoom(distance, 2, order=1)
    distance = np.pad(
        distance,
        [(0, max(0, n - d)) for n, d in zip(mask.shape, distance.shape, strict=True)],
        "edge",
    )[: mask.shape[0], : mask.shape[1], : mask.shape[2]]
    head = brain.copy()
    inner = 0.0
    for _, thickness, intensity in SHELLS:
        shell = ~mask & (distance > inner) & (distance <= inner + thickness)
        head[shell] = intensity
        inner += thickness
    softened: NDArray[np.float32] = ndimage.gaussian_filter(head, 0.7)
    softened[mask] = brain[mask]
    return softened
