"""Records of runs to a table in the paper's shape: ours, the paper's, and the best control."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from medblip.evaluation.intervals import Interval
from medblip.evaluation.over_seeds import Cell, Contrast, contrast, difference
from medblip.evaluation.paired_tests import holm
from medblip.evaluation.subgroups import FEWEST_SUBJECTS
from medblip.experiments.paper_tables import PAPER_TABLES, PaperTable
from medblip.experiments.records import Role, RunRecord, TableAnswers, answers_by_table
from medblip.experiments.simple_controls import ORACLES

# A p-value is at least 2 / RESAMPLES before Holm's correction over some fifty cells.
RESAMPLES = 10_000


@dataclass(frozen=True)
class AgainstControl:
    """A model minus the best control on the same subjects.

    Attributes:
        control: row key of the control with the highest accuracy here, `ORACLES` left out. It is
            chosen by the very numbers it is then compared on, which speaks for the control.
        difference: as fractions; its p stands alone.
        p: after Holm's correction over all cells of the table.
    """

    control: str
    difference: Contrast
    p: float


@dataclass(frozen=True)
class ResultCell:
    """One cell.

    Attributes:
        ours: mean accuracy over seeds as a fraction, its interval over subjects and seeds, which a
            test set under `FEWEST_SUBJECTS` subjects has not; None where nothing was run.
        by_seed: accuracy of each run, by seed.
        n_subjects, n_rows: of the test set.
        paper: percent; None where the paper has no number, or it is not known.
        against: the comparison with the best control; None for controls, without any, and
            with too few subjects.
    """

    ours: Interval | None
    by_seed: Mapping[int, float]
    n_subjects: int
    n_rows: int
    paper: float | None
    against: AgainstControl | None = None

    @property
    def too_few(self) -> str:
        """Why there is no interval and no comparison: ``too few subjects (4)``; else empty."""
        few = 0 < self.n_subjects < FEWEST_SUBJECTS
        return f"too few subjects ({self.n_subjects})" if few else ""


@dataclass(frozen=True)
class ResultRow:
    """One row: of the paper, of ours in its place or beside it, or a control.

    Attributes:
        paper_row: key of the row of the paper whose numbers stand in the cells; empty for none.
    """

    key: str
    title: str
    role: Role
    paper_row: str
    cells: tuple[ResultCell, ...]


@dataclass(frozen=True)
class ResultTable:
    """A table of the paper with our numbers.

    Attributes:
        paper: the table as published.
        columns: names: the paper's, then any others that were run.
        rows: the paper's that were run or have no stand-in, then other models, then controls.
        notes: what a reader should know about our part of it.
    """

    paper: PaperTable
    columns: tuple[str, ...]
    rows: tuple[ResultRow, ...]
    notes: tuple[str, ...] = ()

    @property
    def compared(self) -> tuple[ResultRow, ...]:
        """Rows with a comparison to a control."""
        return tuple(row for row in self.rows if any(cell.against for cell in row.cells))

    @property
    def subjects(self) -> tuple[int, ...]:
        """How many each column has; 0 where nothing was run."""
        by_column = zip(*(row.cells for row in self.rows), strict=True)
        return tuple(max(cell.n_subjects for cell in cells) for cells in by_column)

    @property
    def best_controls(self) -> tuple[str, ...]:
        """Key of each column's best control; empty where nothing was compared."""
        by_column = zip(*(row.cells for row in self.rows), strict=True)
        return tuple(
            next((cell.against.control for cell in cells if cell.against), "")
            for cells in by_column
        )

    def as_dict(self) -> dict[str, Any]:
        """JSON-able, for a results file; fractions, with the paper's percentages as printed."""
        return {
            "table": self.paper.number,
            "title": self.paper.title,
            "columns": list(self.columns),
            "notes": list(self.notes),
            "rows": [
                {
                    "key": row.key,
                    "title": row.title,
                    "role": row.role,
                    "paper_row": row.paper_row,
                    "cells": [_cell_as_dict(cell) for cell in row.cells],
                }
                for row in self.rows
            ],
        }


def result_tables(
    records: Iterable[RunRecord],
    titles: Mapping[str, str] | None = None,
    stand_ins: Mapping[str, str] | None = None,
    *,
    n_resamples: int = RESAMPLES,
    seed: int = 0,
) -> list[ResultTable]:
    """Every table of the paper that has a record, by number.

    Args:
        records: of any tables.
        titles: row key -> title, for rows that the paper has not.
        stand_ins: our row key -> row key of the paper that it is run in the place of, e.g. a small
            language model in that of a large one. The paper's numbers then stand beside it.

    Raises:
        InputError: see `answers_by_table`.
    """
    return [
        _result_table(number, given, titles or {}, stand_ins or {}, n_resamples, seed)
        for number, given in answers_by_table(records).items()
        if number in PAPER_TABLES
    ]


def _result_table(
    number: int,
    given: TableAnswers,
    titles: Mapping[str, str],
    stand_ins: Mapping[str, str],
    n_resamples: int,
    seed: int,
) -> ResultTable:
    paper = PAPER_TABLES[number]
    named = [row.key for row in paper.rows]
    replaced = {stand_ins[row] for row in given.models if row in stand_ins} - set(given.models)
    ours = [row for row in given.models if row not in named]
    keys = [*(key for key in named if key not in replaced), *ours, *given.controls]
    columns = tuple(dict.fromkeys([*(c.name for c in paper.columns), *given.columns_of()]))
    against = _against_controls(given, n_resamples, seed)

    def cell(key: str, column: str) -> ResultCell:
        at, told = Cell(key, column), paper.value(stand_ins.get(key, key), column)
        answers = given.answers.get(at)
        if answers is None:
            return ResultCell(None, {}, 0, 0, told)
        n_subjects = len(set(answers.subjects))
        found = contrast(given.answers, {at: 1.0}, n_resamples=n_resamples, seed=seed).estimate
        return ResultCell(
            found if n_subjects >= FEWEST_SUBJECTS else Interval(found.value, math.nan, math.nan),
            dict(zip(answers.seeds, answers.by_seed, strict=True)),
            n_subjects,
            len(answers.subjects),
            told,
            against.get(at),
        )

    rows = tuple(
        ResultRow(
            key,
            titles.get(key) or paper.title_of(key),
            "control" if key in given.controls else "model",
            key if key in named else stand_ins.get(key, ""),
            tuple(cell(key, column) for column in columns),
        )
        for key in keys
    )
    return ResultTable(paper, columns, rows)


def _against_controls(
    given: TableAnswers, n_resamples: int, seed: int
) -> dict[Cell, AgainstControl]:
    """Each model's cell against the best control of its column, corrected over all of them.

    Columns of too few subjects are not compared.
    """
    best = {column: _best_control(given, column) for column in given.columns_of()}
    alone = {
        cell: AgainstControl(control.row, found, found.p)
        for cell, answers in given.answers.items()
        if cell.row in given.models and len(set(answers.subjects)) >= FEWEST_SUBJECTS
        for control in [best[cell.column]]
        if control is not None
        for found in [
            contrast(given.answers, difference(cell, control), n_resamples=n_resamples, seed=seed)
        ]
    }
    corrected = holm({"\t".join(cell): found.p for cell, found in alone.items()})
    return {cell: replace(a, p=corrected["\t".join(cell)]) for cell, a in alone.items()}


def _best_control(given: TableAnswers, column: str) -> Cell | None:
    cells = [Cell(row, column) for row in given.controls if row not in ORACLES]
    scored = {c: float(given.answers[c].correct.mean()) for c in cells if c in given.answers}
    return max(scored, key=lambda c: scored[c]) if scored else None


def _cell_as_dict(cell: ResultCell) -> dict[str, Any]:
    against = cell.against
    return {
        "accuracy": None if cell.ours is None else cell.ours.as_dict(),
        "by_seed": {str(seed): value for seed, value in cell.by_seed.items()},
        "n_subjects": cell.n_subjects,
        "n_rows": cell.n_rows,
        "paper_percent": cell.paper,
        "against_best_control": None
        if against is None
        else {
            "control": against.control,
            "difference": against.difference.as_dict(),
            "p_holm": against.p,
        },
    }
