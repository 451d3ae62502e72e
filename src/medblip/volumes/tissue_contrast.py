"""What an aligned template tells: whether it is a brain, and how bright each tissue is."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medblip.volumes.interpolation import trilinear
from medblip.volumes.reference import Floats, Reference, block_average
from medblip.volumes.registration import SPACING_MM, Alignment
from medblip.volumes.tissue_fit import UNIT_MM, TissueFit, least_squares, quadratic
from medblip.volumes.volume import Volume

FINE_MM = 2.0
TISSUE_PERCENTILE = 90.0  # white matter, and where brightness is uneven the brighter part of it
INNER_MM = 6.0  # deeper than dura, sinuses and what an inexact alignment takes in of the scalp
INWARD, OUTWARD = (0.8, 0.86, 0.92), (1.1, 1.15, 1.2, 1.25, 1.3)  # of the way to the surface
BRIGHT = 1.4  # times that percentile
DARKEST_WHITE = 1e-3  # of the range of values: what white matter is at least taken to be


@dataclass(frozen=True)
class TissueContrast:
    """Brightness by tissue, in units of the white matter's.

    Attributes:
        pattern: share (0 to 1) of what brightness trends and depth below the surface leave
            unexplained that the gray and white matter maps explain. High for a brain in any
            contrast that tells gray from white; near 0 for whatever else has a brain's outline.
        gray, fluid, outside: mean intensity of gray matter, of fluid, and of the few millimetres
            around the brain, each divided by that of white matter.
        coverage: share (0 to 1) of the brain that lies within the field of view.
    """

    pattern: float
    gray: float
    fluid: float
    outside: float
    coverage: float


def tissue_contrast(alignment: Alignment, reference: Reference) -> TissueContrast:
    """Measure a scan through its alignment with the reference."""
    seen = alignment.covered
    coverage = float(reference.brain[seen].sum() / reference.brain.sum())
    if seen.sum() < 100:
        return TissueContrast(0.0, 1.0, 1.0, 1.0, coverage)
    values = alignment.values[seen]
    outside, gray, white, fluid = least_squares(reference.mixture[seen], values)
    white = max(white, DARKEST_WHITE * float(np.ptp(values)), 1e-12)
    pattern = _pattern(values, reference, seen)
    return TissueContrast(pattern, gray / white, fluid / white, outside / white, coverage)


def bright_share(volume: Volume, alignment: Alignment, reference: Reference) -> float:
    """Share (0 to 1) of the inner brain that is far brighter than its bright tissue.

    Vessels that carry contrast agent are; they are thin, so this looks at finer blocks.
    """
    image, affine = block_average(volume.array, volume.affine, FINE_MM)
    fit = TissueFit.on(image, affine, reference).evened(alignment.affine)
    values = replace(fit, ceiling=np.inf).read(alignment.affine)[0]
    inner = values[alignment.covered & (reference.depth > INNER_MM)]
    return float((inner > BRIGHT * np.percentile(inner, TISSUE_PERCENTILE)).mean())


def scalp_share(volume: Volume, alignment: Alignment, reference: Reference) -> float:
    """Brightness of what lies around the upper brain relative to the brain just inside.

    Near 0 where the skull was removed: the brightest value on the way out counts, which in a
    head is scalp or marrow. The median over directions, so a cut or defaced side does not matter.
    """
    image, affine = block_average(volume.array, volume.affine, SPACING_MM)
    points = reference.points - reference.centre
    above = (reference.brain < 0.5) & (points[:, 2] > 0)
    rays = points[above] / UNIT_MM
    inner = _along(image, affine, alignment, rays, INWARD).mean(axis=0)
    outer = _along(image, affine, alignment, rays, OUTWARD).max(axis=0)
    return float(np.median(outer / np.maximum(inner, 1e-12)))


def _along(
    image: NDArray[np.floating[Any]],
    affine: Floats,
    alignment: Alignment,
    rays: Floats,
    factors: tuple[float, ...],
) -> Floats:
    """Intensities ``(factors, rays)`` at multiples of the rays' length; 0 outside the scan."""
    places = np.concatenate([rays * factor for factor in factors])
    world = places @ alignment.affine[:, :3].T + alignment.affine[:, 3]
    inverse = np.linalg.inv(affine)
    voxels = world @ inverse[:3, :3].T + inverse[:3, 3]
    values = trilinear(np.pad(image.astype(np.float64), 1), voxels + 1)[0]
    return values.reshape(len(factors), -1)


def _pattern(values: Floats, reference: Reference, seen: NDArray[np.bool_]) -> float:
    brain, depth = reference.brain[seen], reference.depth[seen] / (UNIT_MM / 2)
    trend = quadratic((reference.points[seen] - reference.centre) / UNIT_MM)
    trend = np.concatenate([trend, depth[:, None], depth[:, None] ** 2], axis=1)
    shape = np.concatenate([1.0 - brain[:, None], brain[:, None] * trend], axis=1)
    tissue = np.stack([reference.gray[seen], reference.white[seen]], axis=1)
    without = _left(values, shape)
    return 1.0 - _left(values, np.concatenate([shape, tissue], axis=1)) / max(without, 1e-12)


def _left(values: Floats, columns: Floats) -> float:
    residual = values - columns @ least_squares(columns, values)
    return float(residual @ residual)
