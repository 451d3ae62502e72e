"""From an evaluation to the report's content: figures' data, cases, and what was run."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from medblip.evaluation.calibration import Temperature
from medblip.evaluation.content import (
    Calibration,
    Case,
    Comparison,
    GroupResult,
    ReportContent,
    RunFacts,
    SplitCount,
)
from medblip.evaluation.evaluate import Evaluation, Measured, Scored, label_array
from medblip.evaluation.metrics import classification_metrics, reliability
from medblip.evaluation.report import write_report
from medblip.evaluation.vqa_evaluate import QuestionEvaluation
from medblip.study.labels import ANSWERS, LABELS, QUESTION
from medblip.study.study import Example, Study
from medblip.training.card_facts import split_facts
from medblip.training.metrics_file import MetricsFile
from medblip.training.run_folder import ENVIRONMENT_FILE, METRICS_FILE
from medblip.volumes import read_cube
from medblip.volumes.slices import three_planes_png

REPORT_FILE = "report.html"
CASES_EACH = 3  # right ones, and wrong ones


def report(
    evaluation: Evaluation,
    run: Path,
    study: Study,
    *,
    cubes: Path,
    commands: Sequence[str],
    timings: Mapping[str, float] | None = None,
    questions: QuestionEvaluation | None = None,
) -> Path:
    """Write ``report.html`` into the run folder and return its path."""
    content = report_content(
        evaluation, run, study, cubes=cubes, commands=commands, timings=timings or {}
    )
    return write_report(run / REPORT_FILE, replace(content, questions=questions))


def report_content(
    evaluation: Evaluation,
    run: Path,
    study: Study,
    *,
    cubes: Path,
    commands: Sequence[str],
    timings: Mapping[str, float],
) -> ReportContent:
    """Everything on the page, as data."""
    cohorts = sorted({e.cohort for e in evaluation.examples})
    measured = evaluation.measured
    return ReportContent(
        title=f"MedBLIP on {', '.join(cohorts)}",
        subtitle=f"Recipe {evaluation.recipe.name}, seed {evaluation.recipe.seed}",
        created=datetime.now(UTC).date().isoformat(),
        question=QUESTION,
        simulated=study.info.simulated,
        show_records=study.info.simulated,
        full=measured["full"].metrics,
        calibration=_calibration(evaluation),
        controls=[_comparison(measured[n]) for n in evaluation.conditions if n != "full"],
        simple_models=[_comparison(measured[n]) for n in evaluation.simple],
        groups=_groups(evaluation),
        subsets=evaluation.subsets,
        cases=_cases(evaluation, cubes, study.info.simulated),
        run=RunFacts(
            commands=commands,
            recipe_yaml=evaluation.recipe.to_yaml(),
            environment=_environment(run),
            seeds={"recipe": evaluation.recipe.seed, "split": study.splits.seed},
            timings=timings,
            counts=_counts(study),
        ),
        training_rows=_one_after_another(MetricsFile(run / METRICS_FILE).read()),
    )


def _one_after_another(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Metrics rows on one axis: each stage counts its own steps, so later ones are moved on."""
    ends: dict[str, int] = {}
    for row in rows:
        ends[row["stage"]] = max(ends.get(row["stage"], 0), row["step"])
    starts = dict(zip(ends, [0, *accumulate(ends.values())], strict=False))
    return [{**row, "step": row["step"] + starts[row["stage"]]} for row in rows]


def _comparison(measured: Measured) -> Comparison:
    return Comparison(
        title=measured.scored.title,
        explanation=measured.scored.explanation,
        metrics=measured.metrics,
        against_full=measured.against_full,
        withholds=measured.scored.withholds,
    )


def _calibration(evaluation: Evaluation) -> Calibration:
    labels = evaluation.labels
    raw = Temperature().probabilities(evaluation.scores)
    return Calibration(
        temperature=evaluation.temperature.value,
        fitted_on=f"{evaluation.temperature.fitted_on} validation subjects",
        bins=reliability(labels, evaluation.conditions["full"].probabilities),
        raw_bins=reliability(labels, raw),
        raw_ece=classification_metrics(labels, raw, evaluation.subjects, LABELS).ece,
    )


def _groups(evaluation: Evaluation) -> list[GroupResult]:
    groups = []
    parts = (
        (evaluation.examples, evaluation.conditions["full"], False),
        (evaluation.zero_shot, evaluation.zero_shot_full, True),
    )
    for examples, scored, zero_shot in parts:
        for cohort in sorted({e.cohort for e in examples}):
            sites = sorted({e.site for e in examples if e.cohort == cohort and e.site})
            for site in ("", *sites):
                rows = [
                    i for i, e in enumerate(examples) if e.cohort == cohort and site in ("", e.site)
                ]
                groups.append(_group(examples, scored, rows, cohort, site, zero_shot))
    return groups


def _group(
    examples: Sequence[Example],
    scored: Scored,
    rows: Sequence[int],
    cohort: str,
    site: str,
    zero_shot: bool,
) -> GroupResult:
    chosen = [examples[i] for i in rows]
    metrics = classification_metrics(
        label_array(chosen),
        scored.probabilities[np.array(rows)],
        [e.participant_id for e in chosen],
        LABELS,
    )
    return GroupResult(cohort, site, zero_shot, metrics)


def _cases(evaluation: Evaluation, cubes: Path, show_records: bool) -> list[Case]:
    """A few right and wrong answers, spread over the labels, in the order of the test set."""
    probabilities = evaluation.conditions["full"].probabilities
    answers = probabilities.argmax(1)
    chosen: list[int] = []
    for right in (True, False):
        pool = [i for i in range(len(answers)) if (answers[i] == evaluation.labels[i]) == right]
        chosen += _one_a_label(pool, evaluation.labels)[:CASES_EACH]
    return [
        _case(evaluation.examples[i], probabilities[i], cubes, evaluation, show_records)
        for i in chosen
    ]


def _one_a_label(pool: Sequence[int], labels: np.ndarray) -> list[int]:
    firsts = [next((i for i in pool if labels[i] == k), None) for k in range(len(LABELS))]
    found = [i for i in firsts if i is not None]
    return found + [i for i in pool if i not in found]


def _case(
    example: Example,
    probabilities: np.ndarray,
    cubes: Path,
    evaluation: Evaluation,
    show_records: bool,
) -> Case:
    label = LABELS[int(probabilities.argmax())]
    cube = read_cube(cubes / example.cube)
    record = evaluation.recipe.record.form.text(example.fields)
    return Case(
        participant_id=example.participant_id,
        session_id=example.session_id,
        cohort=example.cohort,
        site=example.site,
        truth=example.label,
        answer=label,
        answer_text=ANSWERS[label],
        probabilities={n: float(p) for n, p in zip(LABELS, probabilities, strict=True)},
        question=QUESTION,
        record=record if show_records else "",
        slices_png=three_planes_png(cube),
    )


def _environment(run: Path) -> dict[str, str]:
    values = json.loads((run / ENVIRONMENT_FILE).read_text(encoding="utf-8"))
    return {name: str(value) for name, value in values.items()}


def _counts(study: Study) -> list[SplitCount]:
    return [SplitCount(**fact.model_dump()) for fact in split_facts(study)]
