"""What more training subjects bring: the full model on shares of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from medblip.errors import InputError
from medblip.evaluation.over_seeds import Cell, contrast, mean_difference
from medblip.experiments.analyses.estimate import Estimate, Kept, rounded
from medblip.experiments.analyses.lines import Line, line_figure
from medblip.experiments.analyses.part import (
    Part,
    PartCell,
    PartFigure,
    PartRow,
    PartTable,
    counted,
)
from medblip.experiments.claims import too_small
from medblip.experiments.matrix import SHARES, share_row
from medblip.experiments.paper_tables import LOW_DATA
from medblip.experiments.records import RunRecord, TableAnswers, answers_by_table
from medblip.experiments.simple_controls import ORACLES, SIMPLE_CONTROLS
from medblip.study.study import Example
from medblip.training.train_share import share_of_subjects

KEY, TITLE = "low_data", "With fewer training subjects"
VERSION = 2  # raised where its numbers change, so that kept ones are made again


class Share(Kept):
    """A point of the curve.

    Attributes:
        share: of the training subjects of each label.
        subjects: how many they are.
        by_column: accuracy, intervals over subjects and seeds; none under ten subjects.
        mean: over the columns that are not `LowData.left_out`.
        against_all: ``mean`` minus that of all training subjects, paired; None for all, where
            these were not run, or where no column has enough subjects.
        p: two-sided, of that difference.
    """

    share: float
    subjects: int
    seeds: int
    by_column: dict[str, Estimate]
    mean: Estimate
    against_all: Estimate | None
    p: float | None


class LowData(Kept):
    """The curve, and the best simple model on all training subjects as a level to pass.

    Attributes:
        left_out: columns of too few subjects to stand in a mean -> how many they have.
        best_simple: title, `ORACLES` left out.
        best_simple_mean: over the same columns as `Share.mean`.
    """

    shares: tuple[Share, ...]
    left_out: dict[str, int]
    best_simple: str
    best_simple_mean: float | None


def low_data(records: Sequence[RunRecord], train: Sequence[Example], n_resamples: int) -> LowData:
    """The curve over the shares that were run.

    Args:
        records: of `LOW_DATA`; others are left alone.
        train: all training sessions.

    Raises:
        InputError: no share was run, or see `answers_by_table`.
    """
    found = answers_by_table(r for r in records if r.table == LOW_DATA).get(LOW_DATA)
    run = [s for s in SHARES if found is not None and share_row(s) in found.models]
    if found is None or not run:
        raise InputError("low data", "no share was run to its end", "", code="no-shares")
    best, mean = _best_simple(found)
    return LowData(
        shares=tuple(_share(share, found, train, n_resamples) for share in run),
        left_out=too_small(found),
        best_simple=best,
        best_simple_mean=None if mean is None else rounded(mean),
    )


def _share(share: float, found: TableAnswers, train: Sequence[Example], n_resamples: int) -> Share:
    row, answers = share_row(share), found.answers
    columns, small = found.columns_of(row), too_small(found)
    meant = _meant(columns, small)

    def accuracy(over: Sequence[str]) -> Estimate:
        weights = {Cell(row, c): 1 / len(over) for c in over}
        given = Estimate.of(contrast(answers, weights, n_resamples=n_resamples).estimate)
        return Estimate(value=given.value) if small.keys() & set(over) else given

    against = None
    if share < 1 and share_row(1.0) in found.models and not small.keys() & set(meant):
        weights = mean_difference(row, share_row(1.0), meant)
        against = contrast(answers, weights, n_resamples=n_resamples)
    return Share(
        share=share,
        subjects=len(share_of_subjects(train, share)),
        seeds=len(answers[Cell(row, columns[0])].seeds),
        by_column={column: accuracy([column]) for column in columns},
        mean=accuracy(meant),
        against_all=None if against is None else Estimate.of(against.estimate),
        p=None if against is None else rounded(against.p),
    )


def _meant(columns: Sequence[str], small: Mapping[str, int]) -> list[str]:
    """Columns of enough subjects, which a mean is over; all of them where none has enough."""
    return [column for column in columns if column not in small] or list(columns)


def _best_simple(found: TableAnswers) -> tuple[str, float | None]:
    """The simple model, `ORACLES` left out, with the highest mean over the columns, by title."""
    means: dict[str, float] = {}
    for key, title in SIMPLE_CONTROLS.items():
        meant = _meant(found.columns_of(key), too_small(found))
        cells = [Cell(key, column) for column in meant]
        if cells and key not in ORACLES:
            means[title] = sum(float(found.answers[c].correct.mean()) for c in cells) / len(cells)
    best = max(means, key=lambda title: means[title], default="")
    return best, means.get(best)


def part(found: LowData) -> Part:
    """A table and the curve."""
    return Part(
        KEY,
        TITLE,
        "The full model trained on a share of the training subjects of each label, smaller shares "
        "within larger ones, the same subjects under every seed, as many steps for all. The "
        "validation split that chooses the step, and the test sets, stay whole. Intervals are over "
        f"subjects and seeds, p-values stand each for itself.{_told(found)}",
        (_table(found),),
        (_figure(found),),
        numbers=found.model_dump(mode="json"),
    )


def _told(found: LowData) -> str:
    if not found.left_out:
        return ""
    sets = ", ".join(f"{column} ({n} subjects)" for column, n in found.left_out.items())
    return f" Too few subjects for an interval or for a mean beside larger sets: {sets}."


def _table(found: LowData) -> PartTable:
    columns = tuple(dict.fromkeys(column for s in found.shares for column in s.by_column))
    return PartTable(
        "Accuracy by share of the training subjects",
        ("Subjects", *columns, "Mean", "Against all", "p"),
        tuple(_row(share, columns) for share in found.shares),
    )


def _row(share: Share, columns: Sequence[str]) -> PartRow:
    cells = (
        PartCell(f"{share.subjects:,}"),
        *(share.by_column[c].percent if c in share.by_column else PartCell() for c in columns),
        share.mean.percent,
        PartCell() if share.against_all is None else share.against_all.points,
        PartCell() if share.p is None else PartCell(f"{share.p:.3f}"),
    )
    return PartRow(f"{share.share:.0%}", cells, counted(share.seeds, "run"), ours=share.share == 1)


def _figure(found: LowData) -> PartFigure:
    places = [f"{s.share:.0%}\n{s.subjects:,} subjects" for s in found.shares]
    level = None
    if found.best_simple_mean is not None:
        level = (f"{found.best_simple}, all subjects", found.best_simple_mean)
    line = Line("Full model, mean over the test sets", [s.mean for s in found.shares])
    drawn = line_figure([line], places, "Share of the training subjects", level)
    told = "; ".join(f"{s.share:.0%}: {s.mean.percent.text}" for s in found.shares)
    caption = "With 95% intervals over subjects and seeds; dashed the best simple model"
    return PartFigure.drawn(drawn, "low-data", f"Mean accuracy. {told}.", caption)
