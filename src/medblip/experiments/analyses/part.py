"""What an analysis shows on the page: tables, figures and sentences, ready to be set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from markupsafe import Markup
from matplotlib.figure import Figure

from medblip.evaluation.figures import to_svg
from medblip.experiments.figure_case import FigureCase

NOTHING = "\N{EN DASH}"


def counted(number: int, name: str) -> str:
    """``1 run``, ``3 runs``."""
    return f"{number:,} {name}" if number == 1 else f"{number:,} {name}s"


@dataclass(frozen=True)
class PartCell:
    """A cell: what is said, and in small letters below it an interval."""

    text: str = NOTHING
    detail: str = ""


@dataclass(frozen=True)
class PartRow:
    """A row of a table; ``ours`` sets that of the full model apart."""

    title: str
    cells: tuple[PartCell, ...]
    note: str = ""
    ours: bool = False


@dataclass(frozen=True)
class PartTable:
    """A table with one cell a row and column."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[PartRow, ...]


@dataclass(frozen=True)
class PartFigure:
    """A drawing that loads nothing, with what it says for those who do not see it."""

    svg: Markup
    caption: str

    @classmethod
    def drawn(cls, figure: Figure, name: str, alt: str, caption: str) -> PartFigure:
        """Args: see `medblip.evaluation.figures.to_svg`."""
        return cls(Markup(to_svg(figure, name, alt)), caption)  # noqa: S704 - our own drawing


@dataclass(frozen=True)
class Part:
    """A section of the page.

    Attributes:
        key: of the analysis.
        title: of the section.
        said: what was done, in a sentence or two.
        tables, figures, cases, notes: in order.
        numbers: the same as data, for ``results.json``; empty where it was not done.
    """

    key: str
    title: str
    said: str
    tables: tuple[PartTable, ...] = ()
    figures: tuple[PartFigure, ...] = ()
    cases: tuple[FigureCase, ...] = ()
    notes: tuple[str, ...] = ()
    numbers: Mapping[str, Any] = field(default_factory=dict)
