"""Curves with error bars in the style of the other figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from medblip.evaluation.figures import COLOURS, STYLE
from medblip.experiments.analyses.estimate import Estimate

# Told apart without colour too.
LOOKS = (("ours", "o", "-"), ("simple", "s", "--"), ("third", "^", "-."), ("control", "D", ":"))
APART = 0.04  # that curves are moved aside by, so that their error bars do not hide each other


@dataclass(frozen=True)
class Line:
    """A named curve; one estimate, as a fraction, at each place of the figure."""

    name: str
    values: Sequence[Estimate | None]


def line_figure(
    lines: Sequence[Line],
    places: Sequence[str],
    xlabel: str,
    level: tuple[str, float] | None = None,
) -> Figure:
    """Up to four curves over places that lie evenly.

    Args:
        places: what stands below each.
        level: name and height of a dashed line.
    """
    settings: Any = STYLE  # matplotlib types its keys as a literal of 300 names
    with mpl.rc_context(settings):
        figure = Figure(figsize=(5.6, 3.6), layout="constrained")
        axes = figure.subplots()
        for number, (line, look) in enumerate(zip(lines, LOOKS, strict=False)):
            _draw(axes, line, look, APART * (number - (len(lines) - 1) / 2))
        if level is not None:
            name, height = level
            axes.axhline(height, color=COLOURS["muted"], linewidth=0.8, linestyle=(0, (4, 3)))
            axes.annotate(
                name,
                (1, height),
                (-2, 3),
                xycoords=axes.get_yaxis_transform(),
                textcoords="offset points",
                ha="right",
                size=8,
                color=COLOURS["muted"],
            )
        axes.set_xticks(range(len(places)), places)
        axes.set(xlim=(-0.3, len(places) - 0.7), ylim=(0, 1.02), xlabel=xlabel, ylabel="Accuracy")
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        figure.legend(loc="outside upper left", fontsize=8, ncols=2)
    return figure


def _draw(axes: Any, line: Line, look: tuple[str, str, str], aside: float) -> None:
    role, marker, style = look
    there = [(x + aside, e) for x, e in enumerate(line.values) if e is not None]
    places = [x for x, _ in there]
    intervals = [estimate.interval for _, estimate in there]
    colour = COLOURS[role]
    axes.vlines(
        places, [i.low for i in intervals], [i.high for i in intervals], color=colour, alpha=0.5
    )
    axes.plot(
        places,
        [i.value for i in intervals],
        color=colour,
        marker=marker,
        markersize=4,
        linestyle=style,
        linewidth=1.4,
        label=line.name,
    )
