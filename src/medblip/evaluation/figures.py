"""The report's figures, drawn once and coloured by the page.

``to_svg`` writes each colour as a CSS variable with the light page's colour behind it, so one
drawing suits light, dark and paper. ``to_png`` is for everything that is not a page.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from html import escape
from itertools import groupby
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from scipy.stats import binomtest

from medblip.evaluation.metrics import Interval, ReliabilityBin

Role = Literal["ours", "control", "simple"]

# Roles, not colours, are what the drawing functions choose; the page has the same names in CSS.
COLOURS = {
    "ink": "#1c2329",
    "muted": "#65717c",
    "rule": "#d6dce1",
    "paper": "#fdfcf9",
    "ours": "#0b6b80",
    "control": "#8e9aa6",
    "simple": "#b8731d",
    "third": "#7a4a93",
}
GROUP_TITLES: dict[Role, str] = {
    "ours": "MedBLIP",
    "control": "The same model, inputs withheld",
    "simple": "Simple models on the same inputs",
}
LOSS_PARTS = {
    "itc_record": ("Image and record (ITC)", "ours"),
    "itc_answer": ("Image and answer (ITC)", "third"),
    "itc_choices": ("Image and choices (ITC)", "control"),
    "language": ("Answer tokens (language)", "simple"),
}
STYLE: dict[str, Any] = {
    "font.size": 9,
    "axes.edgecolor": COLOURS["rule"],
    "axes.labelcolor": COLOURS["muted"],
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": COLOURS["ink"],
    "axes.titlelocation": "left",
    "axes.titlesize": 9.5,
    "legend.frameon": False,
    "text.color": COLOURS["ink"],
    "xtick.color": COLOURS["rule"],
    "ytick.color": COLOURS["rule"],
    "xtick.labelcolor": COLOURS["muted"],
    "ytick.labelcolor": COLOURS["muted"],
    "text.parse_math": False,  # a dollar sign in a name is a dollar sign
    "svg.fonttype": "none",  # text stays text: selectable, and set in the page's typeface
}
# The page's colour behind a heading keeps the dashed line out of its letters.
BEHIND: dict[str, Any] = {
    "color": COLOURS["muted"],
    "bbox": {"facecolor": COLOURS["paper"], "edgecolor": "none", "pad": 1.5},
    "zorder": 4,
}
FONT_FAMILY = re.compile(r"'DejaVu Sans'[^;\"]*")


@dataclass(frozen=True)
class Bar:
    """One row of the comparison: a name, its accuracy as a fraction, and whose it is."""

    label: str
    accuracy: Interval
    role: Role


def accuracy_bars(bars: Sequence[Bar], baseline: float | None = None) -> Figure:
    """Accuracies with intervals, grouped by role; ``baseline`` (fraction) is a dashed line."""
    groups = [(role, list(members)) for role, members in groupby(bars, lambda bar: bar.role)]
    height = 0.3 * len(bars) + 0.42 * len(groups) + 0.65
    with _style():
        figure = Figure(figsize=(7.6, height), layout="constrained")
        axes = figure.subplots()
        y = 0.0
        for role, members in groups:
            axes.text(0, y, GROUP_TITLES[role], va="center", size=8.5, **BEHIND)
            for bar in members:
                y += 1
                _bar(axes, y, bar)
            y += 1.4
        if baseline is not None:
            axes.axvline(baseline, color=COLOURS["ink"], linewidth=0.8, linestyle=(0, (4, 3)))
            note = f"commonest label {baseline:.1%}"
            axes.text(baseline + 0.008, -0.75, note, va="center", size=8, color=COLOURS["ink"])
        axes.set(xlim=(0, 1), ylim=(y - 0.6, -1.1), xlabel="Accuracy, with 95% interval")
        axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.spines["left"].set_visible(False)
        axes.set_yticks([])
    return figure


def _bar(axes: Axes, y: float, bar: Bar) -> None:
    value, low, high = bar.accuracy.value, bar.accuracy.low, bar.accuracy.high
    strong = "bold" if bar.role == "ours" else "normal"
    axes.barh(y, value, height=0.62, color=COLOURS[bar.role], alpha=0.9)
    span = "no interval"
    if not math.isnan(low):
        axes.plot([low, high], [y, y], color=COLOURS["ink"], linewidth=1.4)
        span = f"{low * 100:.1f} to {high * 100:.1f}"
    beside = axes.get_yaxis_transform()
    axes.text(-0.015, y, bar.label, transform=beside, ha="right", va="center", weight=strong)
    axes.text(1.11, y, f"{value:.1%}", transform=beside, ha="right", va="center", weight=strong)
    axes.text(1.13, y, span, transform=beside, va="center", size=8, color=COLOURS["muted"])


def confusion_matrix(confusion: Sequence[Sequence[int]], classes: Sequence[str]) -> Figure:
    """Counts by true class (rows) and answer (columns), shaded by the share of the row."""
    counts = np.asarray(confusion)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    k = len(classes)
    with _style():
        figure = Figure(figsize=(0.95 * k + 1.1, 0.8 * k + 0.8), layout="constrained")
        axes = figure.subplots()
        for (true, answer), count in np.ndenumerate(counts):
            share = shares[true, answer]
            role = "ours" if true == answer else "simple"
            box = (answer - 0.48, true - 0.48)
            axes.add_patch(
                mpl.patches.Rectangle(
                    box, 0.96, 0.96, facecolor=COLOURS[role], alpha=0.05 + 0.9 * share, linewidth=0
                )
            )
            ink = COLOURS["paper" if share > 0.55 else "ink"]
            axes.text(answer, true - 0.08, f"{count}", ha="center", va="center", size=13, color=ink)
            axes.text(
                answer,
                true + 0.25,
                f"{share:.0%}",
                ha="center",
                va="center",
                size=8,
                color=ink,
            )
        axes.set(
            xlim=(-0.52, k - 0.48), ylim=(k - 0.48, -0.52), xlabel="Answer", ylabel="True label"
        )
        axes.set_xticks(range(k), classes)
        axes.set_yticks(range(k), classes)
        axes.tick_params(length=0, labelcolor=COLOURS["ink"], labelsize=9.5)
        axes.spines[:].set_visible(False)
    return figure


def reliability_diagram(
    calibrated: Sequence[ReliabilityBin], raw: Sequence[ReliabilityBin] = ()
) -> Figure:
    """How often answers of each confidence are right; ``raw`` is before temperature scaling."""
    with _style():
        figure = Figure(figsize=(4.1, 3.7), layout="constrained")
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], color=COLOURS["muted"], linewidth=0.8, linestyle=(0, (4, 3)))
        if raw:
            _reliability(axes, raw, COLOURS["control"], "before calibration", filled=False)
        name = "calibrated, 95% Wilson interval" if raw else "observed, 95% Wilson interval"
        _reliability(axes, calibrated, COLOURS["ours"], name, filled=True)
        axes.set(
            xlim=(0, 1),
            ylim=(0, 1.02),
            xlabel="Confidence in the answer given",
            ylabel="Share right",
        )
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(PercentFormatter(1, decimals=0))
        figure.legend(loc="outside upper left", fontsize=8, ncols=2)
    return figure


def _reliability(
    axes: Axes, bins: Sequence[ReliabilityBin], colour: str, name: str, *, filled: bool
) -> None:
    x, y = [b.confidence for b in bins], [b.accuracy for b in bins]
    if filled:  # how far the few rows of a bin let its share wander
        spans = [
            binomtest(round(b.accuracy * b.rows), b.rows).proportion_ci(method="wilson")
            for b in bins
        ]
        lows, highs = [s.low for s in spans], [s.high for s in spans]
        axes.vlines(x, lows, highs, color=colour, linewidth=1.0, alpha=0.45)
    face = colour if filled else "none"
    axes.scatter(x, y, s=26, facecolor=face, edgecolor=colour, label=name, zorder=3, clip_on=False)


def training_curves(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Loss by part and validation accuracy over steps.

    ``rows`` are lines of ``metrics.jsonl``: ``step`` and any of ``itc_record``, ``itc_answer``,
    ``language`` (losses), ``validation_accuracy`` (fraction), ``stage`` (name).
    """
    table = pd.DataFrame(list(rows))
    with _style():
        figure = Figure(figsize=(7.6, 2.9), layout="constrained")
        losses, accuracy = figure.subplots(1, 2)
        for part, (name, role) in LOSS_PARTS.items():
            if part in table:
                _curve(losses, table["step"], table[part], COLOURS[role], name)
        losses.set(title="Training loss by part", xlabel="Step", ylim=(0, None))
        if losses.lines:
            losses.legend(fontsize=8, loc="upper right")
        if "validation_accuracy" in table:
            seen = table.dropna(subset=["validation_accuracy"])
            accuracy.plot(
                seen["step"],
                seen["validation_accuracy"],
                color=COLOURS["ours"],
                marker="o",
                markersize=3,
                linewidth=1.2,
            )
        accuracy.set(title="Validation accuracy", xlabel="Step", ylim=(0, 1))
        accuracy.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        first, last = table["step"].min(), table["step"].max()
        for axes in (losses, accuracy):
            axes.grid(axis="y", color=COLOURS["rule"], linewidth=0.5)
            axes.set_xlim(first, max(last, first + 1))
        _mark_stages(losses, accuracy, table)
    return figure


def _curve(axes: Axes, steps: Any, values: Any, colour: str, name: str) -> None:
    known = values.notna()
    steps, values = steps[known], values[known]
    smooth = values.rolling(max(1, len(values) // 25), min_periods=1, center=True).mean()
    axes.plot(steps, values, color=colour, linewidth=0.6, alpha=0.3)
    axes.plot(steps, smooth, color=colour, linewidth=1.5, label=name)


def _mark_stages(losses: Axes, accuracy: Axes, table: pd.DataFrame) -> None:
    """A dotted line where a stage starts; named in the emptier drawing."""
    if "stage" not in table:
        return
    stages = table.dropna(subset=["stage"])
    starts = stages[stages["stage"] != stages["stage"].shift()][["step", "stage"]]
    for number, (step, stage) in enumerate(starts.itertuples(index=False)):
        for axes in (losses, accuracy) if number else ():
            axes.axvline(step, color=COLOURS["muted"], linewidth=0.8, linestyle=(0, (2, 2)))
        accuracy.annotate(
            str(stage), (step, 0.03), (4, 0), textcoords="offset points", size=8, **BEHIND
        )


def _style(**more: str) -> AbstractContextManager[None]:
    settings: Any = {**STYLE, **more}  # matplotlib types its keys as a literal of 300 names
    return mpl.rc_context(settings)


def to_png(figure: Figure, dpi: int = 150) -> bytes:
    """The figure as a PNG on the light page's colour."""
    buffer = io.BytesIO()
    with _style():
        figure.savefig(buffer, format="png", dpi=dpi, facecolor=COLOURS["paper"])
    return buffer.getvalue()


def to_svg(figure: Figure, name: str, alt: str) -> str:
    """The figure as one ``<svg>`` element for an HTML page.

    Args:
        name: unique on the page; keeps the element ids of two figures apart.
        alt: what the figure says, for those who do not see it.
    """
    buffer = io.StringIO()
    # No date and a fixed salt: the same numbers give the same page, byte for byte.
    with _style(**{"svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"\s*<(metadata|style)\b.*?</\1>", "", text, flags=re.DOTALL)
    text = re.sub(r'<g id="[^"]*"', "<g", text)  # two figures would share them
    text = FONT_FAMILY.sub("var(--sans)", text)
    for role, colour in COLOURS.items():
        text = text.replace(colour, f"var(--{role}, {colour})")
    return text.replace("<svg", f'<svg role="img" aria-label="{escape(alt)}"', 1)
