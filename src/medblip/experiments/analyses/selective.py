"""How accuracy rises where the full model may decline to answer what it is least sure of."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from medblip.evaluation.intervals import Floats
from medblip.evaluation.selective import (
    COVERAGES,
    SelectiveAccuracy,
    SelectivePoint,
    selective_accuracy,
    selective_figure,
)
from medblip.experiments.analyses.answers import Answers, ColumnAnswers
from medblip.experiments.analyses.estimate import DIGITS, Estimate, Kept
from medblip.experiments.analyses.part import (
    Part,
    PartCell,
    PartFigure,
    PartRow,
    PartTable,
    counted,
)
from medblip.experiments.scoring import file_name

KEY, TITLE = "selective", "Accuracy where the model may decline"
VERSION = 2  # raised where its numbers change, so that kept ones are made again
SHOWN = (0.25, 0.5, 0.75, 1.0)  # coverages of the table


class Point(Kept):
    """The surest ``coverage`` of the answers, ``rows`` of them, and how many are right."""

    coverage: float
    rows: int
    accuracy: Estimate


class ColumnSelective(Kept):
    """A column; see `medblip.evaluation.selective.SelectiveAccuracy`."""

    column: str
    points: tuple[Point, ...]
    aurc: Estimate
    aurc_at_random: float
    aurc_at_best: float
    n_rows: int
    n_subjects: int


class Selective(Kept):
    """Every column: means over runs, intervals the means of the runs'."""

    seeds: tuple[int, ...]
    calibrated: bool
    columns: tuple[ColumnSelective, ...]


def selective(answers: Answers, n_resamples: int) -> Selective:
    """The risk-coverage curve of every column."""
    columns = tuple(_column(c, answers.confidences(c), n_resamples) for c in answers.columns)
    return Selective(seeds=answers.seeds, calibrated=answers.calibrated, columns=columns)


def _column(column: ColumnAnswers, runs: Floats, n_resamples: int) -> ColumnSelective:
    subjects = column.column.subjects
    curves = [
        selective_accuracy(
            given.max(axis=1),
            given.argmax(axis=1) == column.truth,
            subjects,
            COVERAGES,
            n_resamples=n_resamples,
        )
        for given in runs
    ]
    return ColumnSelective(
        column=column.column.name,
        points=tuple(
            _mean_point(points) for points in zip(*(c.points for c in curves), strict=True)
        ),
        aurc=Estimate.mean([curve.aurc for curve in curves]),
        aurc_at_random=round(fmean(curve.aurc_at_random for curve in curves), DIGITS),
        aurc_at_best=round(fmean(curve.aurc_at_best for curve in curves), DIGITS),
        n_rows=curves[0].n_rows,
        n_subjects=curves[0].n_subjects,
    )


def _mean_point(points: Sequence[SelectivePoint]) -> Point:
    accuracy = Estimate.mean([point.accuracy for point in points])
    return Point(coverage=points[0].coverage, rows=points[0].rows, accuracy=accuracy)


def part(found: Selective) -> Part:
    """A table at a few coverages, and a curve for each column."""
    scaled = "after temperature scaling" if found.calibrated else "as they come"
    return Part(
        KEY,
        TITLE,
        f"Answers are ranked by the probability of the answer given, {scaled}; means over "
        f"{counted(len(found.seeds), 'run')}, the interval is the mean of the runs' intervals. "
        "The area under the risk-coverage curve (AURC) is the mean share wrong over all "
        "coverages; beside it what it is where confidence says nothing, and at best.",
        (_table(found),),
        tuple(_figure(column) for column in found.columns),
        numbers=found.model_dump(mode="json"),
    )


def _table(found: Selective) -> PartTable:
    return PartTable(
        "Accuracy of the surest share of the answers",
        (*(f"{coverage:.0%} answered" for coverage in SHOWN), "AURC", "at random, at best"),
        tuple(PartRow(column.column, _cells(column), ours=True) for column in found.columns),
    )


def _cells(column: ColumnSelective) -> tuple[PartCell, ...]:
    by_coverage = {point.coverage: point.accuracy.percent for point in column.points}
    limits = f"{column.aurc_at_random:.3f}, {column.aurc_at_best:.3f}"
    return (*(by_coverage[c] for c in SHOWN), column.aurc.decimal, PartCell(limits))


def _figure(column: ColumnSelective) -> PartFigure:
    whole, half = column.points[-1], column.points[len(column.points) // 2 - 1]
    alt = (
        f"{column.column}: {whole.accuracy.percent.text} of all answers are right, "
        f"{half.accuracy.percent.text} of the surest {half.coverage:.0%}."
    )
    curve = selective_figure(_curve(column))
    return PartFigure.drawn(curve, f"selective-{file_name(column.column)}", alt, column.column)


def _curve(column: ColumnSelective) -> SelectiveAccuracy:
    points = tuple(
        SelectivePoint(p.coverage, float("nan"), p.rows, p.accuracy.interval) for p in column.points
    )
    limits = (column.aurc_at_random, column.aurc_at_best)
    sizes = (column.n_rows, column.n_subjects)
    return SelectiveAccuracy(points, column.aurc.interval, *limits, *sizes)
