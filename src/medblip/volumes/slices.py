"""A small picture of a cube: three planes through the head, with left and right named."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from medblip.notice import RESEARCH_USE
from medblip.storage import replacing
from medblip.volumes.cube import Cube

Convention = Literal["radiological", "neurological"]

_INCHES = (7.2, 2.95)
_DPI = 100
_INK = "#e8e8e8"


def three_planes_png(
    cube: Cube,
    path: Path | None = None,
    title: str = "",
    *,
    convention: Convention = "radiological",
) -> bytes:
    """Draw the axial, coronal and sagittal planes through the middle of the head.

    Args:
        cube: what the model sees.
        path: where to write the picture too, atomically; or None.
        title: one line above it; keep identifiers out.
        convention: ``radiological`` shows the patient's right on the picture's left,
            ``neurological`` the patient's left on the picture's left. The picture says which.

    Returns:
        The PNG file's bytes. The research-use sentence stands at its foot.
    """
    canvas = FigureCanvasAgg(three_planes_figure(cube, title, convention))
    buffer = io.BytesIO()
    canvas.print_png(buffer, metadata={"Software": None})
    png = buffer.getvalue()
    if path is not None:
        with replacing(path) as temporary:
            temporary.write_bytes(png)
    return png


def three_planes_figure(
    cube: Cube, title: str = "", convention: Convention = "radiological"
) -> Figure:
    """The same picture as a matplotlib figure, to be put into a page or saved as SVG."""
    figure = Figure(figsize=_INCHES, dpi=_DPI, facecolor="black")
    panels = figure.subplots(1, 3)
    figure.subplots_adjust(left=0.01, right=0.99, top=0.86, bottom=0.15, wspace=0.03)
    for axes, (name, image, ends) in zip(panels, _planes(cube, convention), strict=True):
        _draw(axes, name, image, ends)
    shown_left = "right" if convention == "radiological" else "left"
    figure.text(0.5, 0.95, title, color=_INK, size=9, ha="center", va="center")
    figure.text(
        0.5,
        0.035,
        f"{convention.capitalize()} convention: the patient's {shown_left} is on the picture's "
        f"left.\n{RESEARCH_USE}",
        color=_INK,
        size=6.5,
        ha="center",
        va="bottom",
    )
    return figure


def _planes(
    cube: Cube, convention: Convention
) -> list[tuple[str, NDArray[np.uint8], tuple[str, str]]]:
    """Name, image ``(row, column)`` seen with top row up, and the letters of its two sides."""
    x, y, z = (min((low + high) // 2, cube.size - 1) for low, high in cube.bounds)
    flip = -1 if convention == "radiological" else 1
    sides = ("R", "L") if convention == "radiological" else ("L", "R")
    return [
        ("axial", cube.array[::flip, ::-1, z].T, sides),
        ("coronal", cube.array[::flip, y, ::-1].T, sides),
        ("sagittal", cube.array[x, ::-1, ::-1].T, ("A", "P")),
    ]


def _draw(axes: Axes, name: str, image: NDArray[np.uint8], ends: tuple[str, str]) -> None:
    axes.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation="bilinear")
    axes.set_axis_off()
    axes.set_title(name, color=_INK, size=8, pad=2)
    for x, side, letter in ((0.02, "left", ends[0]), (0.98, "right", ends[1])):
        axes.text(
            x, 0.5, letter, color="#ffd75f", size=11, weight="bold",
            ha=side, va="center", transform=axes.transAxes,
        )  # fmt: skip
