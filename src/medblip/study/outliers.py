"""Scans unlike the others of their cohort: other intensities, another head size, turned about."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medblip.findings import Finding
from medblip.study.places import in_lines
from medblip.study.thumbnails import Thumbnail

MIN_IMAGES = 20  # fewer do not say what is usual
FAR = 6.0  # robust standard deviations
MIN_SHIFT = 0.18  # of the intensity range: less is a scanner's habit
MIN_SIZE_CHANGE = 0.35  # people differ by less
MIN_TURN = 0.01  # by how much another orientation must fit better, in cosine
MIN_FIT = 0.8  # what fits nowhere is no turned head
CLEAR = 4.0  # how sure a cohort must be of its own left and right before a scan can contradict it

_WHAT = {
    "odd-intensities": (
        "image(s) have intensities unlike the others of their cohort",
        "look at the pictures; another contrast or a failed preprocessing is best left out",
    ),
    "odd-head-size": (
        "image(s) show a head of another size than the others of their cohort",
        "check the voxel size in the header, and how much of the head is in the picture",
    ),
    "turned-image": (
        "image(s) fit their cohort better when turned or mirrored",
        "check the orientation in the header against the pictures",
    ),
}


@dataclass(frozen=True)
class Outlier:
    """One odd scan.

    Attributes:
        code: ``odd-intensities``, ``odd-head-size`` or ``turned-image``.
        line: its line of ``images.tsv``.
        cube: file name of its cube.
        measure: what is odd about it, in numbers.
    """

    code: str
    line: int
    cube: str
    measure: str


def outliers(images: pd.DataFrame, thumbnails: Mapping[str, Thumbnail]) -> list[Outlier]:
    """Compare each scan with those of its cohort and kind.

    Args:
        images: ``images.tsv`` with a column ``cohort``.
        thumbnails: by cube name; images without one are not looked at.
    """
    rows = images[images["cube"].isin(list(thumbnails))]
    found = []
    for _, group in rows.groupby(["cohort", "kind"], sort=True):
        if len(group) >= MIN_IMAGES:
            those = [thumbnails[name] for name in group["cube"]]
            odd = [*_intensities(those), *_sizes(those), *_turned(those)]
            lines, cubes = group.index.tolist(), group["cube"].tolist()
            found += [Outlier(code, int(lines[i]), cubes[i], told) for code, i, told in odd]
    return found


def check_outliers(found: Sequence[Outlier]) -> list[Finding]:
    """One warning for each kind of oddness."""
    findings = []
    for code, (problem, fix) in _WHAT.items():
        odd = [outlier for outlier in found if outlier.code == code]
        if odd:
            where = in_lines("images.tsv", (outlier.line for outlier in odd))
            findings.append(Finding(code, "warning", where, f"{len(odd)} {problem}", fix))
    return findings


_Odd = tuple[str, int, str]  # code, position, measure


def _intensities(those: Sequence[Thumbnail]) -> list[_Odd]:
    """By how far the head's intensities would have to move to be the cohort's (0 to 1)."""
    shares = np.stack([one.histogram for one in those])
    cumulated = np.cumsum(shares, axis=1)
    moved = np.abs(cumulated - np.median(cumulated, axis=0)).mean(axis=1)
    far = (_robust(moved) > FAR) & (moved > MIN_SHIFT)
    return [
        ("odd-intensities", int(i), f"intensities moved by {moved[i]:.0%} of their range")
        for i in np.flatnonzero(far)
    ]


def _sizes(those: Sequence[Thumbnail]) -> list[_Odd]:
    extents = np.stack([one.head_mm for one in those]).astype(np.float64)
    if not np.isfinite(extents).all():
        return []
    ratio = extents / np.median(extents, axis=0)
    distance = np.abs(np.column_stack([_robust(np.log(column)) for column in ratio.T]))
    far = ((distance > FAR) & (np.abs(ratio - 1) > MIN_SIZE_CHANGE)).any(axis=1)
    return [
        ("odd-head-size", int(i), "head of " + " x ".join(f"{mm:.0f}" for mm in extents[i]) + " mm")
        for i in np.flatnonzero(far)
    ]


def _turned(those: Sequence[Thumbnail]) -> list[_Odd]:
    """Scans that are closer to the cohort's mean in another orientation than in their own."""
    side = round(those[0].blocks.size ** (1 / 3))
    mean = np.zeros(side**3, np.float32)
    for one in those:
        mean += _unit(one.blocks)
    turns = _orientations(mean.reshape(side, side, side))
    fits = np.stack([turns @ _unit(one.blocks) for one in those]) / np.linalg.norm(mean)
    own, mirrored = fits[:, 0], fits[:, 1]
    best = fits[:, 2:].max(axis=1)
    better = (best > np.maximum(own, mirrored) + MIN_TURN) & (best > MIN_FIT)
    odd = [
        ("turned-image", int(i), f"fits {best[i]:.3f} when turned, {own[i]:.3f} as it is")
        for i in np.flatnonzero(better)
    ]
    # Left and right differ little: only a cohort that agrees about them can be contradicted.
    lead = own - mirrored
    middle, spread = np.median(lead), _spread(lead)
    if middle > CLEAR * spread:
        odd += [
            ("turned-image", int(i), f"fits {mirrored[i]:.4f} mirrored, {own[i]:.4f} as it is")
            for i in np.flatnonzero(lead < -middle / 2)
        ]
    return odd


def _orientations(mean: NDArray[np.float32]) -> NDArray[np.float32]:
    """The mean as it is, mirrored left-right, and in the 46 other ways: ``(48, voxels)``."""
    ways = [
        mean.transpose(order)[tuple(slice(None, None, sign) for sign in signs)]
        for order in itertools.permutations(range(3))
        for signs in itertools.product((1, -1), repeat=3)
    ]
    same, mirrored = 0, 4  # the identity comes first; -1 for x alone is the fifth
    rest = [way for i, way in enumerate(ways) if i not in (same, mirrored)]
    return np.stack([way.ravel() for way in (ways[same], ways[mirrored], *rest)])


def _unit(blocks: NDArray[np.float16]) -> NDArray[np.float32]:
    row = blocks.astype(np.float32)
    length = float(np.linalg.norm(row))
    return row / length if length else row


def _robust(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distance from the median in robust standard deviations."""
    distance: NDArray[np.float64] = (values - np.median(values)) / _spread(values)
    return distance


def _spread(values: NDArray[np.float64]) -> float:
    """Median absolute deviation, scaled to the standard deviation of a normal distribution."""
    return 1.4826 * float(np.median(np.abs(values - np.median(values)))) or np.finfo(float).tiny
