"""The paper's five named subsets: each answered with its controls, over its own labels only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from medblip.evaluation.calibration import Temperature
from medblip.evaluation.content import Comparison, PaperSubset
from medblip.evaluation.controls import CONTROLS, Condition
from medblip.evaluation.intervals import paired_difference
from medblip.evaluation.kept_scores import KeptScores
from medblip.evaluation.metrics import classification_metrics
from medblip.study.labels import LABELS
from medblip.study.study import Example, Study
from medblip.study.subsets import SUBSETS_FILE, Subset, Subsets, check_subsets, subset_examples

# The model, and what it does without one of its inputs: which of them its answer rests on.
SUBSET_CONDITIONS: tuple[Condition, ...] = ("full", "record", "image")


class SubsetTask(NamedTuple):
    """A subset of a study and its images, in the subset's order."""

    subset: Subset
    examples: list[Example]


def subset_tasks(study: Study) -> list[SubsetTask]:
    """All named subsets of a study, those that hold nothing too; none without ``subsets.json``.

    Raises:
        InputError: the file is damaged, does not fit the study, or holds a subject who is trained
            or validated on.
    """
    path = study.folder / SUBSETS_FILE
    if not path.is_file():
        return []
    subsets = Subsets.read(path)
    check_subsets(subsets, study.splits)
    return [SubsetTask(subset, subset_examples(study, subset)) for subset in subsets.subsets]


def evaluate_subsets(
    tasks: Sequence[SubsetTask], kept: KeptScores, temperature: Temperature
) -> list[PaperSubset]:
    """Answer each subset under `SUBSET_CONDITIONS`; images that were answered before are reused.

    A subset of two labels is scored over its two candidate answers: the probability of the third
    is left out before the softmax, as no scan of the subset can have it.
    """
    images = {(e.participant_id, e.session_id, e.image): e for t in tasks for e in t.examples}
    everyone = list(images.values())
    scores = {c: kept.scores("subsets", everyone, c) for c in SUBSET_CONDITIONS}
    row_of = {key: row for row, key in enumerate(images)}
    return [_evaluate(task, scores, row_of, temperature) for task in tasks]


def subset_as_dict(result: PaperSubset) -> dict[str, Any]:
    """A subset's numbers for ``results.json``."""
    conditions: dict[str, Any] = {}
    if result.full is not None:
        conditions["full"] = {"title": CONTROLS["full"].title, "metrics": result.full.as_dict()}
    for name, control in zip(SUBSET_CONDITIONS[1:], result.controls, strict=False):
        conditions[name] = {
            "title": control.title,
            "metrics": control.metrics.as_dict(),
            "accuracy_minus_full": control.against_full.difference.as_dict(),
            "p": control.against_full.p,
        }
    return {
        "name": result.name,
        "unit": result.unit,
        "labels": list(result.labels),
        "answers_compared": list(result.labels),
        "per_label": result.drawn,
        "per_label_in_paper": result.wanted,
        "available": dict(result.available),
        "conditions": conditions,
    }


def _evaluate(
    task: SubsetTask,
    scores: Mapping[Condition, NDArray[np.float32]],
    row_of: Mapping[tuple[str, str, str], int],
    temperature: Temperature,
) -> PaperSubset:
    subset, examples = task
    rows = [row_of[e.participant_id, e.session_id, e.image] for e in examples]
    candidates = [LABELS.index(label) for label in subset.labels]
    answers = {
        name: temperature.probabilities(scored[np.ix_(rows, candidates)])
        for name, scored in scores.items()
    }
    measured = _compare(subset, examples, answers) if examples else {}
    full = measured.pop("full").metrics if measured else None
    return PaperSubset(
        name=subset.name,
        unit=subset.unit,
        labels=subset.labels,
        wanted=subset.per_label,
        drawn=subset.drawn,
        available=subset.available,
        full=full,
        controls=tuple(measured.values()),
    )


def _compare(
    subset: Subset, examples: Sequence[Example], answers: Mapping[Condition, NDArray[np.float64]]
) -> dict[Condition, Comparison]:
    """Each condition's numbers, and its accuracy against the full model's, by subject."""
    truth = np.array([subset.labels.index(e.label) for e in examples], dtype=np.int64)
    subjects = [e.participant_id for e in examples]
    right = {name: given.argmax(1) == truth for name, given in answers.items()}
    return {
        name: Comparison(
            CONTROLS[name].title,
            CONTROLS[name].explanation,
            classification_metrics(truth, given, subjects, subset.labels),
            paired_difference(right[name], right["full"], subjects),
            CONTROLS[name].withholds,
        )
        for name, given in answers.items()
    }
