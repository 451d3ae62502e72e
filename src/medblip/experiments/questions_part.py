"""Lines about questions as a section of the page."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from medblip.evaluation.intervals import Interval
from medblip.evaluation.verdicts import percent, points, span
from medblip.experiments.analyses.part import Part, PartCell, PartRow, PartTable
from medblip.experiments.figure_case import FigureCase
from medblip.experiments.questions_kept import FULL, TITLES
from medblip.experiments.questions_lines import Line, LineTable

AGAINST = "Against the best without it, points"


def question_part(
    key: str,
    title: str,
    said: str,
    tables: Sequence[LineTable],
    cases: Sequence[FigureCase] = (),
    rule: str = "",
) -> Part:
    """A section of tables that are not empty, and of real answers chosen by a rule."""
    told = [table for table in tables if table.lines]
    return Part(
        key=key,
        title=title,
        said=said,
        tables=tuple(_table(table) for table in told),
        cases=tuple(cases),
        notes=(rule,) if cases else (),
        numbers={table.title: [line.as_dict() for line in table.lines] for table in told},
    )


def _table(table: LineTable) -> PartTable:
    heads = ["Questions", *(["Chance"] if table.has_chance else [])]
    for name, title in table.columns.items():
        heads += [title, AGAINST] if name == FULL and table.has_comparison else [title]
    rows = tuple(PartRow(line.title, tuple(_cells(table, line))) for line in table.lines)
    return PartTable(table.title, tuple(heads), rows)


def _cells(table: LineTable, line: Line) -> Iterator[PartCell]:
    yield PartCell(f"{line.n:,}", f"{line.n_subjects:,} subjects")
    if table.has_chance:
        yield PartCell() if line.chance is None else PartCell(percent(line.chance))
    for name in table.columns:
        yield _mean(line.means.get(name))
        if name == FULL and table.has_comparison:
            yield _against(line)


def _mean(mean: Interval | None) -> PartCell:
    if mean is None:
        return PartCell()
    return PartCell(percent(mean.value), "" if math.isnan(mean.low) else span(mean, 100, 1))


def _against(line: Line) -> PartCell:
    if line.against is None:
        return PartCell()
    found, blind = line.against.estimate, TITLES[line.best_blind]
    return PartCell(points(found.value), f"{span(found, 100, 1)}, to {blind}")
