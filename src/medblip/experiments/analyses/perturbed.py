"""Where the full model's answers begin to give as scans and records get worse."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from medblip.evaluation.controls import CONTROLS, Scorer
from medblip.evaluation.evaluate import SCORES_FOLDER, load_scorer
from medblip.evaluation.kept_scores import KeptScores
from medblip.evaluation.over_seeds import Cell, SeededAnswers, contrast, difference
from medblip.evaluation.perturbations import BIAS, FIELDS_MISSING, NOISE_SD, ROTATION_DEGREES
from medblip.experiments.analyses.answers import ScoredRun
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
from medblip.experiments.analyses.perturbed_scorer import CHANGES, Change, PerturbedScorer
from medblip.experiments.columns import ColumnSet, everyone
from medblip.experiments.scoring import Caches

KEY, TITLE = "perturbations", "When scans and records get worse"
VERSION = 2  # raised where its numbers change, so that kept ones are made again
SCANS = 120  # at most, over all columns
SHOWN_LEVELS = (1, 2, 3)  # 4 leaves nothing of a record, which is a control of its own
CLEAN = "clean"
TITLES: dict[Change, str] = {
    "noise": "Rician noise",
    "bias_field": "Bias field",
    "rotation": "Rotation",
    "missing_fields": "Missing record fields",
}
AMOUNTS: dict[Change, tuple[str, ...]] = {
    "noise": tuple(f"sd {sd:.0%} of white" for sd in NOISE_SD),
    "bias_field": tuple(
        f"brighter or darker by a factor up to {np.exp(bias):.2f}" for bias in BIAS
    ),
    "rotation": tuple(f"{degrees:.0f}\N{DEGREE SIGN}" for degrees in ROTATION_DEGREES),
    "missing_fields": tuple(f"{share:.0%} of the fields" for share in FIELDS_MISSING),
}


class Level(Kept):
    """One change by one amount.

    Attributes:
        loss: accuracy minus that of the same scans left alone, paired.
        p: two-sided, of that difference.
    """

    change: str
    level: int
    accuracy: Estimate
    loss: Estimate
    p: float | None


class Perturbed(Kept):
    """All changes on the same scans."""

    seeds: tuple[int, ...]
    n_rows: int
    n_subjects: int
    clean: Estimate
    levels: tuple[Level, ...]


def perturbed(
    runs: Sequence[ScoredRun],
    columns: Sequence[ColumnSet],
    caches: Caches,
    n_resamples: int,
    *,
    progress: bool,
) -> Perturbed:
    """Every change at every level on a few scans of each column.

    Scores are kept in the runs' folders, change by change, so that what is interrupted goes on.

    Raises:
        InputError: a model or a cube cannot be read.
    """
    picked = [_few(column, max(1, SCANS // len(columns))) for column in columns]
    right = [dict(_right(run, picked, caches, progress)) for run in runs]
    subjects = tuple(name for column in picked for name in column.subjects)
    seeds = tuple(run.trial.seed for run in runs)
    answers = {
        Cell(row, CLEAN): SeededAnswers(np.stack([r[row] for r in right]), subjects, seeds)
        for row in right[0]
    }
    clean = Cell(CLEAN, CLEAN)
    levels = []
    for change, level in _all_changes():
        cell = Cell(_row(change, level), CLEAN)
        alone = contrast(answers, {cell: 1.0}, n_resamples=n_resamples)
        lost = contrast(answers, difference(cell, clean), n_resamples=n_resamples)
        levels.append(
            Level(
                change=change,
                level=level,
                accuracy=Estimate.of(alone.estimate),
                loss=Estimate.of(lost.estimate),
                p=rounded(lost.p),
            )
        )
    return Perturbed(
        seeds=seeds,
        n_rows=len(subjects),
        n_subjects=len(set(subjects)),
        clean=Estimate.of(contrast(answers, {clean: 1.0}, n_resamples=n_resamples).estimate),
        levels=tuple(levels),
    )


def _few(column: ColumnSet, wanted: int) -> ColumnSet:
    """Examples at even distances, so that every label has its part."""
    count = len(column.examples)
    wanted = min(wanted, count)
    rows = [number * count // wanted for number in range(wanted)]
    return replace(column, examples=tuple(column.examples[row] for row in rows))


def _all_changes() -> Iterator[tuple[Change, int]]:
    for change in CHANGES:
        for level in SHOWN_LEVELS:
            yield change, level


def _row(change: Change, level: int) -> str:
    return f"{change}-{level}"


def _right(
    run: ScoredRun, picked: Sequence[ColumnSet], caches: Caches, progress: bool
) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """Whether each picked scan is answered right, left alone and under every change."""
    scorer = load_scorer(run.folder, run.trial.recipe, caches.cubes, caches.tokens)
    scorer.cache.fill([e.cube for e in everyone(picked)], progress=progress)
    yield CLEAN, _answered(run, picked, scorer, CLEAN, progress)
    for change, level in _all_changes():
        row = _row(change, level)
        worse = PerturbedScorer.of(scorer, change, level)
        yield row, _answered(run, picked, worse, row, progress)


def _answered(
    run: ScoredRun, picked: Sequence[ColumnSet], scorer: Scorer, row: str, progress: bool
) -> NDArray[np.bool_]:
    kept = KeptScores(run.folder / SCORES_FOLDER, scorer, progress)
    examples = [e for column in picked for e in column.examples]
    scores = kept.scores(f"perturbed-{row}", examples, "full")
    starts = np.cumsum([0, *(len(column.examples) for column in picked)])
    right = [
        column.right(scores[start:end])
        for column, start, end in zip(picked, starts, starts[1:], strict=False)
    ]
    return np.concatenate([np.array(rows, dtype=bool) for rows in right])


def part(found: Perturbed) -> Part:
    """A table and a figure."""
    return Part(
        KEY,
        TITLE,
        f"{CONTROLS['full'].title} on {found.n_rows} held-out scans of {found.n_subjects} "
        f"subjects, evenly from all test sets, {counted(len(found.seeds), 'run')}, with one "
        "thing wrong at a time. The model never saw such scans in training. The difference is "
        "to the same scans left alone, p-values stand each for itself.",
        (_table(found),),
        (_figure(found),),
        numbers=found.model_dump(mode="json"),
    )


def _table(found: Perturbed) -> PartTable:
    whole = PartRow(
        "Left alone", (PartCell(), found.clean.percent, PartCell(), PartCell()), ours=True
    )
    return PartTable(
        "Accuracy by kind and amount",
        ("Amount", "Accuracy", "Difference", "p"),
        (whole, *(_line(level) for level in found.levels)),
    )


def _line(level: Level) -> PartRow:
    change = next(change for change in CHANGES if change == level.change)
    cells = (
        PartCell(AMOUNTS[change][level.level]),
        level.accuracy.percent,
        level.loss.points,
        PartCell() if level.p is None else PartCell(f"{level.p:.3f}"),
    )
    return PartRow(f"{TITLES[change]}, level {level.level}", cells)


def _figure(found: Perturbed) -> PartFigure:
    by_change = {c: [lv.accuracy for lv in found.levels if lv.change == c] for c in CHANGES}
    lines = [Line(TITLES[change], [found.clean, *values]) for change, values in by_change.items()]
    worst = min(found.levels, key=lambda level: level.accuracy.value or 0.0)
    alt = (
        f"Accuracy {found.clean.percent.text} on scans left alone; lowest, "
        f"{worst.accuracy.percent.text}, at level {worst.level} of {worst.change}."
    )
    drawn = line_figure(lines, ["left alone", *(f"level {n}" for n in SHOWN_LEVELS)], "Amount")
    return PartFigure.drawn(drawn, "perturbations", alt, "With 95% intervals over subjects")
