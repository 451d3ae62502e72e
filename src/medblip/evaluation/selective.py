"""Accuracy where the model may decline: of the answers it is surest of, how many are right?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from numpy.typing import ArrayLike, NDArray

from medblip.evaluation.figures import COLOURS, STYLE
from medblip.evaluation.intervals import (
    Floats,
    Interval,
    Subjects,
    bad_predictions,
    percentile_interval,
    weights_over_subjects,
)

COVERAGES = tuple(round(0.05 * step, 2) for step in range(1, 21))
FEWEST = 10  # answers that a point of the figure stands for


@dataclass(frozen=True, slots=True)
class SelectivePoint:
    """The surest share of the answers.

    Attributes:
        coverage: that share.
        threshold: confidence of the last answer among them.
        rows: how many they are.
        accuracy: share of them that is right, with its interval over subjects.
    """

    coverage: float
    threshold: float
    rows: int
    accuracy: Interval


@dataclass(frozen=True)
class SelectiveAccuracy:
    """Accuracy against coverage, and its summary.

    Attributes:
        points: by rising coverage; the last is all answers.
        aurc: area under the risk-coverage curve: mean share wrong over all coverages, 0 is best.
        aurc_at_random: the same where confidence says nothing: the share wrong of all.
        aurc_at_best: the same where every wrong answer is less sure than every right one.
        n_rows, n_subjects: size of the set.
    """

    points: tuple[SelectivePoint, ...]
    aurc: Interval
    aurc_at_random: float
    aurc_at_best: float
    n_rows: int
    n_subjects: int

    def as_dict(self) -> dict[str, Any]:
        return {
            "points": [
                {
                    "coverage": p.coverage,
                    "threshold": p.threshold,
                    "rows": p.rows,
                    "accuracy": p.accuracy.as_dict(),
                }
                for p in self.points
            ],
            "aurc": self.aurc.as_dict(),
            "aurc_at_random": self.aurc_at_random,
            "aurc_at_best": self.aurc_at_best,
            "n_rows": self.n_rows,
            "n_subjects": self.n_subjects,
        }


def selective_accuracy(
    confidence: ArrayLike,
    correct: ArrayLike,
    subjects: Subjects,
    coverages: Sequence[float] = COVERAGES,
    *,
    n_resamples: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> SelectiveAccuracy:
    """The risk-coverage curve (El-Yaniv & Wiener 2010), with answers ranked anew in each resample.

    Equal confidences are taken in by equal parts, as if in random order.

    Args:
        confidence: ``(rows,)``, of the answer given.
        correct: bool ``(rows,)``.
        subjects: ``(rows,)``.
        coverages: each above 0 and at most 1.

    Raises:
        InputError: arrays of different lengths, or a coverage out of range.
    """
    sure, right = np.asarray(confidence, dtype=float), np.asarray(correct, dtype=float)
    n = len(sure)
    if not 0 < n == len(right) == len(subjects) or not np.isfinite(sure).all():
        raise bad_predictions(
            f"found {n}, {len(right)} and {len(subjects)} rows; expected one number > 0, "
            "and finite confidences"
        )
    if not coverages or min(coverages) <= 0 or max(coverages) > 1:
        raise bad_predictions(f"found coverages {tuple(coverages)}; expected above 0, at most 1")
    order = np.argsort(-sure, kind="stable")
    sure, right, who = sure[order], right[order], np.asarray(subjects)[order]
    asked, every = np.sort(np.asarray(coverages)), np.arange(1, n + 1) / n
    ends = np.flatnonzero(np.diff(sure, append=-np.inf))  # the last of equal confidences
    accuracies, areas = [], []
    for chunk in weights_over_subjects(who, n_resamples, seed):
        for weights in chunk:
            accuracies.append(_accuracy_at(asked, weights, right, ends))
            areas.append(1 - _accuracy_at(every, weights, right, ends).mean())
    ones, drawn = np.ones(n), np.stack(accuracies)
    values = _accuracy_at(asked, ones, right, ends)
    wrong, best = int(n - right.sum()), np.sort(right)[::-1]
    return SelectiveAccuracy(
        points=tuple(
            SelectivePoint(
                float(coverage),
                float(sure[max(int(np.ceil(coverage * n - 1e-9)), 1) - 1]),
                max(round(coverage * n), 1),
                percentile_interval(value, drawn[:, i], level),
            )
            for i, (coverage, value) in enumerate(zip(asked, values, strict=True))
        ),
        aurc=percentile_interval(
            float(1 - _accuracy_at(every, ones, right, ends).mean()), np.asarray(areas), level
        ),
        aurc_at_random=wrong / n,
        aurc_at_best=float(1 - (np.cumsum(best) / np.arange(1, n + 1)).mean()),
        n_rows=n,
        n_subjects=len(np.unique(who)),
    )


def _accuracy_at(
    coverages: Floats, weights: Floats, right: Floats, ends: NDArray[np.int64]
) -> Floats:
    """Share right ``(coverages,)`` of the surest weight; rows are sorted, the surest first."""
    taken = np.concatenate([[0.0], np.cumsum(weights)[ends]])
    found = np.concatenate([[0.0], np.cumsum(weights * right)[ends]])
    wanted = coverages * taken[-1]
    share: Floats = np.interp(wanted, taken, found) / wanted
    return share


def selective_figure(curve: SelectiveAccuracy) -> Figure:
    """Accuracy against coverage with its band; dashed is what it is without declining."""
    points = [p for p in curve.points if p.rows >= min(FEWEST, curve.n_rows)]
    coverage = [p.coverage for p in points]
    settings: Any = STYLE  # matplotlib types its keys as a literal of 300 names
    with mpl.rc_context(settings):
        figure = Figure(figsize=(4.6, 3.4), layout="constrained")
        axes = figure.subplots()
        axes.axhline(
            1 - curve.aurc_at_random,
            color=COLOURS["muted"],
            linewidth=0.8,
            linestyle=(0, (4, 3)),
            label="all answers",
        )
        axes.fill_between(
            coverage,
            [p.accuracy.low for p in points],
            [p.accuracy.high for p in points],
            color=COLOURS["ours"],
            alpha=0.15,
            linewidth=0,
        )
        axes.plot(
            coverage,
            [p.accuracy.value for p in points],
            color=COLOURS["ours"],
            marker="o",
            markersize=3,
            linewidth=1.4,
            label="the surest, with 95% interval",
        )
        lowest = min(p.accuracy.low for p in points)
        # A common scale of fifths: what is alike on every test set looks alike.
        floor = min(0.8, math.floor(lowest * 5) / 5)
        axes.set(xlim=(0, 1.02), ylim=(floor, 1.02), xlabel="Share answered", ylabel="Share right")
        axes.set_yticks([tick / 5 for tick in range(round(floor * 5), 6)])
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(PercentFormatter(1, decimals=0))
        figure.legend(loc="outside upper left", fontsize=8, ncols=2)
    return figure
