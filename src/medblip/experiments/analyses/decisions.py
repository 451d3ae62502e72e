"""What the full model's answers and those of its controls are worth beyond accuracy."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from medblip.evaluation.intervals import Floats
from medblip.evaluation.metrics import score_intervals
from medblip.experiments.analyses.answers import FULL, Answers, ColumnAnswers
from medblip.experiments.analyses.estimate import Estimate, Kept, rounded
from medblip.experiments.analyses.part import Part, PartCell, PartRow, PartTable, counted
from medblip.experiments.simple_controls import CONTROL_TITLES
from medblip.study.labels import LABELS

KEY, TITLE = "decisions", "What the answers are worth"
VERSION = 2  # raised where its numbers change, so that kept ones are made again
NUMBERS = ("accuracy", "balanced_accuracy", "macro_auc", "macro_f1")


class Decisions(Kept):
    """A model's or control's answers to one column: means over runs, intervals over subjects.

    Attributes:
        row: ``full`` or key of a control.
        macro_auc: of the probabilities as they come, one label against the rest.
        sensitivity, specificity: by label.
        swaps: scans a run where NC was called AD or AD was called NC; None without both.
    """

    row: str
    accuracy: Estimate
    balanced_accuracy: Estimate
    macro_auc: Estimate
    macro_f1: Estimate
    sensitivity: dict[str, Estimate]
    specificity: dict[str, Estimate]
    swaps: float | None


class ColumnDecisions(Kept):
    """A column."""

    column: str
    n_rows: int
    n_subjects: int
    rows: tuple[Decisions, ...]


class AllDecisions(Kept):
    """Every column."""

    seeds: tuple[int, ...]
    columns: tuple[ColumnDecisions, ...]


def decisions(
    answers: Answers,
    simple: Mapping[str, Mapping[str, Floats]],
    n_resamples: int,
) -> AllDecisions:
    """Every number of every column.

    Args:
        simple: column -> control -> probabilities ``(examples, labels of the column)`` of the
            simple models.
    """
    return AllDecisions(
        seeds=answers.seeds,
        columns=tuple(
            _column(c, simple.get(c.column.name, {}), n_resamples) for c in answers.columns
        ),
    )


def _column(
    answers: ColumnAnswers, simple: Mapping[str, Floats], n_resamples: int
) -> ColumnDecisions:
    given = {row: answers.probabilities(row) for row in answers.scores}
    given |= {row: probabilities[None] for row, probabilities in simple.items()}
    subjects = answers.column.subjects
    return ColumnDecisions(
        column=answers.column.name,
        n_rows=len(subjects),
        n_subjects=len(set(subjects)),
        rows=tuple(_decisions(row, answers, runs, n_resamples) for row, runs in given.items()),
    )


def _decisions(row: str, answers: ColumnAnswers, runs: Floats, n_resamples: int) -> Decisions:
    labels = answers.column.labels
    subjects = np.array(answers.column.subjects)
    intervals = score_intervals(answers.truth, runs, subjects, n_resamples)
    estimates = [Estimate.of(interval) for interval in intervals]
    by_label = estimates[len(NUMBERS) + 1 :]  # after the Brier score, which calibration tells
    return Decisions(
        row=row,
        **dict(zip(NUMBERS, estimates, strict=False)),
        sensitivity=dict(zip(labels, by_label[: len(labels)], strict=True)),
        specificity=dict(zip(labels, by_label[len(labels) :], strict=True)),
        swaps=_swaps(answers, runs),
    )


def _swaps(answers: ColumnAnswers, runs: Floats) -> float | None:
    labels = answers.column.labels
    if not {LABELS[0], LABELS[-1]} <= set(labels):
        return None
    ends = [labels.index(LABELS[0]), labels.index(LABELS[-1])]
    truth, called = answers.truth, runs.argmax(axis=-1)
    first, last = ends
    swapped = ((truth == first) & (called == last)) | ((truth == last) & (called == first))
    return rounded(float(swapped.sum(axis=-1).mean()))


def part(found: AllDecisions) -> Part:
    """Two tables for each column."""
    return Part(
        KEY,
        TITLE,
        "The full model, and the same model with an input withheld or exchanged: means over "
        f"{counted(len(found.seeds), 'run')}, 95% intervals over subjects. The area under the ROC "
        "curve is that of each label against the rest, of probabilities as they come. A swap is a "
        "scan of a healthy subject called dementia, or the reverse; a mean over runs.",
        tuple(table for column in found.columns for table in (_table(column), _by_label(column))),
        numbers=found.model_dump(mode="json"),
    )


def _table(column: ColumnDecisions) -> PartTable:
    subjects = counted(column.n_subjects, "subject")
    return PartTable(
        f"{column.column}: {counted(column.n_rows, 'scan')} of {subjects}",
        ("Accuracy", "Balanced accuracy", "Macro AUC", "Macro F1", "NC\N{EN DASH}AD swaps"),
        tuple(
            _row(
                row,
                row.accuracy.percent,
                row.balanced_accuracy.percent,
                row.macro_auc.decimal,
                row.macro_f1.decimal,
                PartCell() if row.swaps is None else PartCell(f"{row.swaps:.1f}"),
            )
            for row in column.rows
        ),
    )


def _by_label(column: ColumnDecisions) -> PartTable:
    labels = tuple(column.rows[0].sensitivity)
    kinds = ("Sensitivity", "Specificity")
    return PartTable(
        f"{column.column}, by label",
        tuple(f"{kind}, {label}" for label in labels for kind in kinds),
        tuple(
            _row(
                row,
                *(
                    estimates[label].percent
                    for label in labels
                    for estimates in (row.sensitivity, row.specificity)
                ),
            )
            for row in column.rows
        ),
    )


def _row(row: Decisions, *cells: PartCell) -> PartRow:
    ours = row.row == FULL
    title = "Image and record" if ours else CONTROL_TITLES[row.row]
    return PartRow(title, cells, "" if ours else "control", ours)
