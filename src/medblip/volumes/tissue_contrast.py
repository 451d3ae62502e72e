"""What an aligned template tells: whether a brain's pattern is there, and how bright each tissue is."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from medblip.volumes.reference import Floats, Reference, block_average
from medblip.volumes.registration import Alignment
from medblip.volumes.tissue_fit import UNIT_MM, TissueFit, least_squares, quadratic
from medblip.volumes.volume import Volume

FINE_MM = 2.0
PURE = 0.95  # fraction of white matter at a point that counts as pure
INNER_MM = 6.0  # deeper than dura, sinuses and what an inexact alignment takes in of the scalp
BRIGHT = 1.4  # times white matter; noise of 12 % and a bias of 40 % stay below it
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
    """Share (0 to 1) of the inner brain that is far brighter than white matter.

    Vessels that carry contrast agent are; they are thin, so this looks at finer blocks.
    """
    image, affine = block_average(volume.array, volume.affine, FINE_MM)
    fit = TissueFit.on(image, affine, reference).evened(alignment.affine)
    values = replace(fit, ceiling=np.inf).read(alignment.affine)[0]
    white = float(np.median(values[reference.white > PURE]))
    inner = values[reference.depth > INNER_MM]
    return float((inner > BRIGHT * white).mean())


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
