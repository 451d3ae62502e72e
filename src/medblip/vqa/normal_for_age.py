"""What is expected at an age, and where one grade ends: fitted on training scans alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from medblip.errors import InputError
from medblip.vqa.ground_truth import REGIONS, Scan

GRADES = ("none", "mild", "moderate", "severe")
SIZES = ("small", "medium", "large")
MIN_NORMALS = 20
DEVIATION_SD = 0.5  # beyond so many standard deviations of the normals, a size is unexpected
MARGIN_SD = 0.1  # so near a cut point, a scan is not asked about


@dataclass(frozen=True, slots=True)
class Line:
    """Expected displacement at an age: ``intercept + slope * age``, and its scatter.

    Attributes:
        intercept: mm.
        slope: mm a year.
        sd: standard deviation of normals around the line, mm.
    """

    intercept: float
    slope: float
    sd: float

    def at(self, age: float) -> float:
        return self.intercept + self.slope * age


@dataclass(frozen=True)
class Norms:
    """What the training scans say.

    Attributes:
        lines: by region, fitted on cognitively normal training scans (least squares).
        grade_cuts: by region, the quartiles of all training scans, mm.
        size_cuts: by region, their thirds, mm.
        spread: by region, the standard deviation of all training scans, mm.
        age_cuts: the fifths of the ages of all training scans, years.
        side_spread: by region, the standard deviation of left less right over all training
            scans, mm; empty where their sides are alike.
    """

    lines: Mapping[str, Line]
    grade_cuts: Mapping[str, tuple[float, ...]]
    size_cuts: Mapping[str, tuple[float, ...]]
    spread: Mapping[str, float]
    age_cuts: tuple[float, ...]
    side_spread: Mapping[str, float] = field(default_factory=dict)

    def deviation(self, scan: Scan, region: str) -> float:
        """Standard deviations of normals above what is expected at the scan's age."""
        line = self.lines[region]
        return (scan.mean_mm[region] - line.at(scan.age)) / line.sd

    def side_difference(self, scan: Scan, region: str) -> float | None:
        """Left less right in `side_spread`; None where the scan's sides are alike or unknown."""
        if region not in scan.sides_mm or region not in self.side_spread:
            return None
        sides = scan.sides_mm[region]
        return (sides.left - sides.right) / self.side_spread[region]

    def age_band(self, scan: Scan) -> int:
        return int(np.searchsorted(self.age_cuts, scan.age, side="right"))


def fit_norms(training: Sequence[Scan]) -> Norms:
    """Fit the norms of the training scans.

    Raises:
        InputError: fewer than 20 are of cognitively normal people, or all are alike.
    """
    normals = [scan for scan in training if scan.diagnosis == "CN"]
    if len(normals) < MIN_NORMALS:
        problem = f"{len(normals)} training scans are cognitively normal, expected {MIN_NORMALS}"
        raise InputError("training scans", problem, "simulate more", code="too-few-normals")
    values = {region: [scan.mean_mm[region] for scan in training] for region in REGIONS}
    return Norms(
        lines={region: _line(normals, region) for region in REGIONS},
        grade_cuts={region: _quantiles(values[region], len(GRADES)) for region in REGIONS},
        size_cuts={region: _quantiles(values[region], len(SIZES)) for region in REGIONS},
        spread={region: float(np.std(values[region])) for region in REGIONS},
        age_cuts=_quantiles([scan.age for scan in training], 5),
        side_spread=_side_spread(training),
    )


def class_of(value: float, cuts: Sequence[float], margin: float) -> int | None:
    """Position among the cut points; None within ``margin`` of one."""
    if any(abs(value - cut) < margin for cut in cuts):
        return None
    return sum(value > cut for cut in cuts)


def _line(normals: Sequence[Scan], region: str) -> Line:
    ages = np.array([scan.age for scan in normals])
    values = np.array([scan.mean_mm[region] for scan in normals])
    slope, intercept = np.polyfit(ages, values, 1)
    sd = float(np.std(values - (intercept + slope * ages)))
    if sd == 0:
        problem = f"the {region} of all normal training scans follow one line exactly"
        raise InputError("training scans", problem, "simulate others", code="no-spread")
    return Line(float(intercept), float(slope), sd)


def _side_spread(training: Sequence[Scan]) -> dict[str, float]:
    known = [scan.sides_mm for scan in training if scan.sides_mm]
    if not known:
        return {}
    spread = {r: float(np.std([s[r].left - s[r].right for s in known])) for r in REGIONS}
    return {region: sd for region, sd in spread.items() if sd > 0}


def _quantiles(values: Iterable[float], parts: int) -> tuple[float, ...]:
    shares = np.arange(1, parts) / parts
    return tuple(float(cut) for cut in np.quantile(list(values), shares))
