"""Whether the full model's probabilities hold, before and after temperature scaling."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from medblip.errors import InputError
from medblip.evaluation.calibration import Temperature
from medblip.evaluation.figures import reliability_diagram
from medblip.evaluation.metrics import ReliabilityBin
from medblip.evaluation.reliability import CalibrationQuality, calibration_quality
from medblip.experiments.analyses.answers import FULL, Answers, ColumnAnswers
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

KEY, TITLE = "calibration", "Whether the probabilities hold"
VERSION = 2  # raised where its numbers change, so that kept ones are made again


class Quality(Kept):
    """Means over runs; see `medblip.evaluation.reliability.CalibrationQuality`.

    Attributes:
        ece: expected calibration error, bins of equal mass; its interval the mean of the runs'.
        bins: of the first run: confidence, share right, rows.
    """

    ece: Estimate
    ece_if_calibrated: float
    brier: float
    log_loss: float
    bins: tuple[tuple[float, float, int], ...]


class ColumnCalibration(Kept):
    """A column before and after."""

    column: str
    before: Quality
    after: Quality


class Calibration(Kept):
    """Every column, and the temperature of each run."""

    seeds: tuple[int, ...]
    temperatures: tuple[float, ...]
    fitted_on: int
    columns: tuple[ColumnCalibration, ...]


def calibration(answers: Answers, n_resamples: int) -> Calibration:
    """Every column before and after the temperature of each run.

    Raises:
        InputError: nobody is there to fit a temperature on.
    """
    if not answers.calibrated:
        raise InputError(
            "calibration",
            "the study has no labelled validation subject to fit a temperature on",
            "prepare it with a validation split",
            code="no-validation",
        )
    return Calibration(
        seeds=answers.seeds,
        temperatures=tuple(round(t.value, DIGITS) for t in answers.temperatures),
        fitted_on=answers.temperatures[0].fitted_on,
        columns=tuple(
            ColumnCalibration(
                column=column.column.name,
                before=_quality(column, [Temperature()] * len(answers.seeds), n_resamples),
                after=_quality(column, answers.temperatures, n_resamples),
            )
            for column in answers.columns
        ),
    )


def _quality(
    column: ColumnAnswers, temperatures: Sequence[Temperature], n_resamples: int
) -> Quality:
    found: list[CalibrationQuality] = [
        calibration_quality(
            column.truth,
            temperature.probabilities(scores),
            column.column.subjects,
            n_resamples=n_resamples,
        )
        for temperature, scores in zip(temperatures, column.scores[FULL], strict=True)
    ]
    return Quality(
        ece=Estimate.mean([q.ece for q in found]),
        ece_if_calibrated=round(fmean(q.ece_if_calibrated for q in found), DIGITS),
        brier=round(fmean(q.brier for q in found), DIGITS),
        log_loss=round(fmean(q.log_loss for q in found), DIGITS),
        bins=tuple(
            (round(b.confidence, DIGITS), round(b.accuracy, DIGITS), b.rows) for b in found[0].bins
        ),
    )


def part(found: Calibration) -> Part:
    """One table, and a reliability diagram for each column."""
    told = ", ".join(f"{value:.2f}" for value in found.temperatures)
    return Part(
        KEY,
        TITLE,
        f"Each run's temperature was fitted on {found.fitted_on} validation subjects alone "
        f"({told}); above 1 it takes confidence back. The expected calibration error (ECE) is "
        "never 0 on a finite set: beside it stands what a perfectly calibrated model with the same "
        "confidences would show.",
        (_table(found),),
        tuple(_figure(column, found.seeds[0]) for column in found.columns),
        numbers=found.model_dump(mode="json"),
    )


def _table(found: Calibration) -> PartTable:
    return PartTable(
        f"Mean over {counted(len(found.seeds), 'run')}, before and after temperature scaling",
        ("ECE", "if calibrated", "Brier score", "Log loss"),
        tuple(
            PartRow(f"{column.column}, {when}", _cells(quality), ours=when == "after")
            for column in found.columns
            for when, quality in (("before", column.before), ("after", column.after))
        ),
    )


def _cells(quality: Quality) -> tuple[PartCell, ...]:
    plain = (quality.ece_if_calibrated, quality.brier, quality.log_loss)
    return (quality.ece.decimal, *(PartCell(f"{value:.3f}") for value in plain))


def _figure(column: ColumnCalibration, seed: int) -> PartFigure:
    figure = reliability_diagram(_bins(column.after), _bins(column.before))
    alt = (
        f"{column.column}: expected calibration error {column.before.ece.decimal.text} before and "
        f"{column.after.ece.decimal.text} after temperature scaling."
    )
    name = f"reliability-{file_name(column.column)}"
    return PartFigure.drawn(figure, name, alt, f"{column.column}, seed {seed}")


def _bins(quality: Quality) -> list[ReliabilityBin]:
    return [ReliabilityBin(*values) for values in quality.bins]
