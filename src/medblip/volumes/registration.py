"""Lay a brain template over a scan, whatever the contrast: a quick affine fit.

A grid of starts (where the brain may lie, how the head may be turned) is scored on few template
points; the best are improved, the distinct winners improved on more points, the best of those on
all. A scan that fits badly is tried once more with its brightness evened out, since a coil close
to the head can make its side ten times brighter. Nothing is random.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation

from medblip.volumes.interpolation import trilinear
from medblip.volumes.reference import Floats, Reference, block_average
from medblip.volumes.tissue_fit import UNIT_MM, TissueFit, explained_share
from medblip.volumes.volume import Volume

SPACING_MM = 4.0  # coarse enough that folding, which differs between people, matters little
BLUR_MM = 3.0  # widens the reach of the first steps
EVEN_MM = 40.0  # brightness is evened over this distance in the second try
GOOD_SCORE = 0.45  # no second try above it

CROWN_TO_CENTRE_MM = 80.0  # from the top of the scalp down to the middle of the brain
CROWN_TO_BASE_MM = 140.0  # from the top of the scalp down to the lower end of the brain
FORWARD_MM = (-12.0, 0.0, 12.0)
UPWARD_MM = (-20.0, -10.0, 0.0, 10.0, 20.0)
PITCH_DEGREES = (-24.0, -12.0, 0.0, 12.0, 24.0)
YAW_ROLL_DEGREES = ((0.0, 0.0), (20.0, 0.0), (-20.0, 0.0), (0.0, 20.0), (0.0, -20.0))
ZOOM = 0.92  # the template is larger than most brains

STARTS_KEPT, FIRST_KEPT, SECOND_KEPT = 24, 6, 3
FIRST_STEPS = 6
MOST_GROWTH = 1.15  # a brain that is cut is not squeezed by more
APART = 8.0  # trials whose entries differ by less (mm at 60 mm from the centre) are one


@dataclass(frozen=True)
class Alignment:
    """Where a template lies in a scan.

    Attributes:
        affine: float64 ``(3, 4)``, the template's centred coordinates in units of ``UNIT_MM`` to
            scan world mm.
        score: R² of the tissue mixture over the covered points, 0 to 1.
        values: float64 ``(points,)``, scan intensities at the reference's points, with smooth
            brightness trends taken out and very bright ones cut.
        covered: bool ``(points,)``, False where a point lies outside the field of view.
    """

    affine: Floats
    score: float
    values: Floats
    covered: NDArray[np.bool_]

    @property
    def zoom(self) -> float:
        """Edge length of the scan's brain relative to the template, mean of the axes."""
        return float(np.cbrt(abs(np.linalg.det(self.affine[:, :3]))) / UNIT_MM)


def align(volume: Volume, reference: Reference) -> Alignment:
    """Fit the reference to the scan.

    Args:
        volume: any axis order; intensities on any scale with the background darkest.
        reference: the template.

    Returns:
        The best alignment found; its score tells whether it is one.
    """
    image, affine = block_average(volume.array, volume.affine, SPACING_MM)
    first = _search(image, affine, reference)
    if first.score >= GOOD_SCORE:
        return first
    second = _search(_evened(image, affine), affine, reference)
    return max(first, second, key=lambda alignment: alignment.score)


def foreground_threshold(image: NDArray[np.floating[Any]]) -> float:
    """Otsu's threshold between air and head, lowered so that dark tissue counts as head."""
    low, high = np.percentile(image, (0.5, 99.8))
    counts, edges = np.histogram(np.clip(image, low, high), 128)
    middles = (edges[1:] + edges[:-1]) / 2
    below = np.cumsum(counts)[:-1].astype(np.float64)
    above = counts.sum() - below
    sums = np.cumsum(counts * middles)
    gap = sums[-1] * below / counts.sum() - sums[:-1]
    between = gap**2 / np.maximum(below * above, 1.0)
    return float(low + 0.7 * (middles[int(np.argmax(between))] - low))


def _search(image: NDArray[np.floating[Any]], affine: Floats, reference: Reference) -> Alignment:
    foreground = image > foreground_threshold(image)
    if foreground.any():
        image = np.minimum(image, np.percentile(image[foreground], 98.0))
    voxel_mm = np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
    blurred = ndimage.gaussian_filter(image, BLUR_MM / voxel_mm)

    few = TissueFit.on(blurred, affine, reference, every=64)
    starts = _best_starts(few, _starts(_centres(foreground, affine)))
    some = TissueFit.on(blurred, affine, reference, every=8)
    trials = _distinct([few.climb(start, FIRST_STEPS) for start in starts], some, FIRST_KEPT)
    trials = _distinct([some.climb(trial) for trial in trials], some, SECOND_KEPT)
    evened = [(some.evened(trial), trial) for trial in trials]
    climbed = [(fit, fit.climb(trial)) for fit, trial in evened]
    best = max(climbed, key=lambda pair: pair[0].score(pair[1]))[1]

    every = TissueFit.on(image, affine, reference).evened(best)
    best = every.climb(best)
    best = _unsqueezed(every, best)
    return _alignment(every.evened(best), best)


def _unsqueezed(fit: TissueFit, trial: Floats) -> Floats:
    """Undo what a field of view that cuts the brain did to the trial."""
    if fit.covered(fit.voxels(trial))[fit.mixture[:, 0] < 0.5].all():
        return trial
    free = replace(fit, covered_only=True).climb(trial)
    growth = np.cbrt(abs(np.linalg.det(free[:, :3]) / np.linalg.det(trial[:, :3])))
    return free if 1 / MOST_GROWTH < growth < MOST_GROWTH else trial


def _alignment(fit: TissueFit, trial: Floats) -> Alignment:
    values = fit.read(trial)[0]
    covered = fit.covered(fit.voxels(trial))
    score = explained_share(values[covered], fit.mixture[covered]) if covered.any() else 0.0
    return Alignment(trial, score, values, covered)


def _evened(image: NDArray[np.floating[Any]], affine: Floats) -> NDArray[np.floating[Any]]:
    """Divide by the mean of the surroundings, background left out."""
    sigma = EVEN_MM / np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
    head = (image > 0).astype(np.float32)
    weight = ndimage.gaussian_filter(head, sigma, truncate=3.0)
    mean = ndimage.gaussian_filter(image * head, sigma, truncate=3.0) / np.maximum(weight, 1e-3)
    floor = 0.02 * np.percentile(mean, 99.0)
    return image * head / np.maximum(mean, max(float(floor), 1e-12))


def _centres(foreground: NDArray[np.bool_], affine: Floats) -> list[Floats]:
    """Where the middle of the brain may lie, world mm."""
    field = affine[:3, :3] @ (np.array(foreground.shape) - 1) / 2 + affine[:3, 3]
    if not foreground.any():
        return [field]
    points = np.argwhere(foreground) @ affine[:3, :3].T + affine[:3, 3]
    low, high = np.percentile(points, (1.0, 99.0), axis=0)
    head = points[points[:, 2] > high[2] - CROWN_TO_BASE_MM]
    below_crown = np.percentile(head, (2.0, 98.0), axis=0).mean(axis=0)
    below_crown[2] = high[2] - CROWN_TO_CENTRE_MM
    bare_brain = points.mean(axis=0)
    return [bare_brain, below_crown, (low + high) / 2, field]


def _starts(centres: list[Floats]) -> Floats:
    """Trial affines ``(starts, 3, 4)`` around each centre."""
    turns = [
        Rotation.from_euler("xzy", (pitch, yaw, roll), degrees=True).as_matrix()
        for pitch, (yaw, roll) in product(PITCH_DEGREES, YAW_ROLL_DEGREES)
    ]
    starts = []
    for centre, forward, upward, turn in product(centres, FORWARD_MM, UPWARD_MM, turns):
        position = centre + np.array([0.0, forward, upward])
        starts.append(np.concatenate([ZOOM * UNIT_MM * turn, position[:, None]], axis=1))
    return np.stack(starts)


def _best_starts(fit: TissueFit, starts: Floats) -> list[Floats]:
    """The starts of highest score that are not close to a better one."""
    world = np.einsum("pk,sjk->spj", fit.points, starts)  # (starts, points, 3)
    voxels = world @ fit.inverse[:3, :3].T + fit.inverse[:3, 3]
    values = trilinear(fit.image, voxels.reshape(-1, 3) + 1)[0].reshape(len(starts), -1)
    values = values - values.mean(axis=1, keepdims=True)
    basis = np.linalg.qr(fit.mixture)[0]
    total = np.maximum((values**2).sum(axis=1), 1e-12)
    scores = ((values @ basis) ** 2).sum(axis=1) / total
    order = np.argsort(-scores, kind="stable")
    return _apart([starts[index] for index in order], STARTS_KEPT)


def _distinct(trials: list[Floats], fit: TissueFit, count: int) -> list[Floats]:
    return _apart(sorted(trials, key=fit.score, reverse=True), count)


def _apart(trials: list[Floats], count: int) -> list[Floats]:
    """The first few of ``trials``, without near copies."""
    kept: list[Floats] = []
    for trial in trials:
        if len(kept) == count:
            break
        if all(np.abs(trial - other).max() > APART for other in kept):
            kept.append(trial)
    return kept
