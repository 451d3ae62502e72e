"""A head of ellipsoids with folded cortex: which tissue is where, and how a sequence shows it.

Coordinates are RAS+ world mm. Tissues are painted from the outside in, on one fine grid; scans are
resampled from it, which also mixes the tissues at their borders.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation

from medblip.volumes.reference import Reference
from medblip.volumes.volume import Volume

Floats = NDArray[np.float64]

AIR, SCALP, BONE, FLUID, GRAY, WHITE = range(6)
# Intensity of air, scalp, bone, fluid, gray and white matter.
T1 = (0.0, 180.0, 15.0, 35.0, 105.0, 140.0)
SEQUENCES: Mapping[str, tuple[float, ...]] = {
    "t2": (0.0, 80.0, 15.0, 220.0, 110.0, 75.0),
    "flair": (0.0, 90.0, 15.0, 25.0, 130.0, 100.0),
    "proton-density": (0.0, 120.0, 15.0, 130.0, 140.0, 110.0),
    "angiogram": (0.0, 90.0, 10.0, 70.0, 97.0, 100.0),
    "functional": (0.0, 20.0, 5.0, 150.0, 112.0, 100.0),
    "anisotropy": (0.0, 5.0, 0.0, 8.0, 25.0, 90.0),
    "perfusion": (0.0, 10.0, 0.0, 15.0, 120.0, 40.0),
}
CT_HU = (-1000.0, 40.0, 1100.0, 8.0, 38.0, 30.0)
BOX_MM, CENTRE = (176.0, 216.0, 196.0), (0.0, -18.0, -4.0)
STEP_MM = (2.0, 2.0, 2.0)


def tissue_at(points: Floats, *, skull: bool = True, atrophy: float = 0.0) -> NDArray[np.int64]:
    """Tissue number at world points ``(..., 3)``; ``atrophy`` 1 is a marked one."""
    x, y, z = np.moveaxis(points, -1, 0)
    tissue = np.zeros(points.shape[:-1], dtype=np.int64)

    def radius(centre: Sequence[float], radii: Sequence[float]) -> NDArray[np.float32]:
        """1 on the surface of an ellipsoid."""
        terms = [((a - c) / r) ** 2 for a, c, r in zip((x, y, z), centre, radii, strict=True)]
        return np.sqrt(terms[0] + terms[1] + terms[2])

    if skull:
        tissue[(radius((0, -20, 0), (52, 60, 1e6)) < 1) & (z < -40)] = SCALP
        tissue[radius((0, -15, 5), (82, 99, 80)) < 1] = SCALP
        tissue[radius((0, -15, 5), (75, 92, 73)) < 1] = BONE
    # Narrow in front and flat below, so that no two directions can be taken for each other.
    wide_x = x / (1 - 0.003 * (y + 15))
    cerebrum = np.sqrt((wide_x / 68) ** 2 + ((y + 15) / 85) ** 2 + ((z - 8) / 64) ** 2)
    cerebrum = np.maximum(cerebrum, 1 + (-28 - 0.25 * (y + 15) - z) / 60)
    cerebellum = radius((0, -58, -38), (46, 30, 24))
    tissue[(cerebrum < 1) | (cerebellum < 1)] = FLUID

    azimuth, height = np.arctan2(y + 15, x), np.arctan2(z - 8, np.hypot(x, y + 15))
    folds = np.sin(9 * azimuth + 2 * np.sin(3 * height)) * np.cos(8 * height)
    shrunk = 0.97 - 0.03 * atrophy
    tissue[cerebrum < shrunk - 0.03 * (folds > 0.6)] = GRAY
    tissue[cerebrum < shrunk - 0.17 + 0.06 * folds] = WHITE
    tissue[cerebellum < 0.96] = GRAY
    tissue[cerebellum < 0.6] = WHITE
    for side in (-1.0, 1.0):
        tissue[radius((side * 14, -18, 4), (9, 15, 10)) < 1] = GRAY  # thalamus
        tissue[radius((side * 26, 2, 2), (8, 18, 10)) < 1] = GRAY  # putamen
        tissue[radius((side * 58, -2, 0), (16, 30, 4)) < 1] = FLUID  # Sylvian fissure
        wide = 1 + 0.6 * atrophy
        tissue[radius((side * 12, -10, 20), (6 * wide, 32, 8 * wide)) < 1] = FLUID  # ventricle
        tissue[radius((side * 24, -45, 8), (6 * wide, 20, 7 * wide)) < 1] = FLUID
    tissue[(np.abs(x) < 2) & (z > 30) & (cerebrum < 1)] = FLUID  # between the hemispheres
    tissue[radius((0, -30, -40), (12, 11, 30)) < 1] = WHITE  # brain stem
    return tissue


@cache
def tissue_map(*, skull: bool = True, atrophy: float = 0.0) -> NDArray[np.int64]:
    """Tissue numbers on the grid that every scan is resampled from."""
    shape, affine = grid(STEP_MM)
    index = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), axis=-1)
    points = (index * STEP_MM + affine[:3, 3]).astype(np.float32)
    return tissue_at(points, skull=skull, atrophy=atrophy)


def grid(voxel_mm: Sequence[float]) -> tuple[tuple[int, ...], Floats]:
    """Shape and RAS affine of a grid over the whole head."""
    shape = tuple(round(box / edge) for box, edge in zip(BOX_MM, voxel_mm, strict=True))
    affine = np.diag([*voxel_mm, 1.0])
    affine[:3, 3] = np.asarray(CENTRE) - np.asarray(voxel_mm) * (np.asarray(shape) - 1) / 2
    return shape, affine


def turned(
    degrees: tuple[float, float, float] = (0.0, 0.0, 0.0),
    zoom: float = 1.0,
    shift_mm: tuple[float, float, float] = (0.0, 0.0, 0.0),
) -> Floats:
    """Head mm to scan mm for a head turned about x, y, z, enlarged and moved."""
    pose = np.eye(4)
    pose[:3, :3] = zoom * Rotation.from_euler("xyz", degrees, degrees=True).as_matrix()
    pose[:3, 3] = shift_mm
    return pose


def scan(
    intensities: Sequence[float] = T1,
    *,
    voxel_mm: tuple[float, float, float] = (2.4, 2.4, 2.4),
    pose: Floats | None = None,
    noise: float = 3.0,
    bias: float = 0.0,
    skull: bool = True,
    atrophy: float = 0.0,
    seed: int = 0,
) -> Volume:
    """The head as one sequence shows it; ``noise`` is the Rician sigma, ``bias`` its strength."""
    exact = np.asarray(intensities)[tissue_map(skull=skull, atrophy=atrophy)]
    blurred = ndimage.gaussian_filter(exact, np.asarray(voxel_mm) / np.asarray(STEP_MM) / 2.5)
    shape, affine = grid(voxel_mm)
    base = grid(STEP_MM)[1]
    back = np.linalg.inv(base) @ np.linalg.inv(np.eye(4) if pose is None else pose) @ affine
    values = ndimage.affine_transform(
        blurred, back[:3, :3], back[:3, 3], shape, order=1, cval=intensities[0]
    )
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij", sparse=True)
    values = values * np.exp(bias * (0.8 * y - 0.6 * z + 0.5 * x * x - 0.4 * x * y))
    real, imaginary = np.random.default_rng(seed).normal(0, noise, (2, *shape))
    signed = min(intensities) < 0
    noisy = values + real if signed else np.hypot(values + real, imaginary)
    if not skull:
        noisy = np.where(values > 1, noisy, 0.0)
    return Volume(noisy.astype(np.float32), affine, "scan.nii.gz")


def reference_maps() -> tuple[Floats, Floats, Floats, Floats]:
    """Gray, white and brain maps ``(x, y, z)`` and their affine, as a template has them."""
    tissue = tissue_map(skull=False)
    soft = [ndimage.gaussian_filter((tissue == number) * 1.0, 0.5) for number in (GRAY, WHITE)]
    return soft[0], soft[1], (tissue != AIR) * 1.0, grid(STEP_MM)[1]


@cache
def head_reference() -> Reference:
    """The head's own maps as the template to compare with."""
    return Reference.from_maps(*reference_maps())
