"""The columns: the paper's named subsets, or the study's own test split and unseen cohorts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medblip.errors import InputError
from medblip.evaluation.paper_subsets import subset_tasks
from medblip.experiments.paper_tables import UNSEEN_MARK
from medblip.study.labels import LABELS
from medblip.study.study import Example, Study
from medblip.study.subsets import Unit

# The paper draws images. Intervals draw subjects, with all their images.
UNIT: Unit = "image"


@dataclass(frozen=True)
class ColumnSet:
    """A column: what every trial is tested on.

    Attributes:
        name: of the column.
        labels: its labels; only their answers are candidates.
        examples: in order.
    """

    name: str
    labels: tuple[str, ...]
    examples: tuple[Example, ...]

    @property
    def subjects(self) -> tuple[str, ...]:
        return tuple(e.participant_id for e in self.examples)

    def right(self, scores: NDArray[np.floating]) -> tuple[bool, ...]:
        """Whether each row's best candidate is its label.

        Args:
            scores: ``(examples, len(LABELS))``, higher is more likely.
        """
        candidates = [LABELS.index(label) for label in self.labels]
        best = np.asarray(candidates)[scores[:, candidates].argmax(axis=1)]
        truth = [LABELS.index(e.label) for e in self.examples]
        return tuple(bool(r) for r in best == np.asarray(truth))


def columns_of(study: Study) -> list[ColumnSet]:
    """The paper's subsets that the study holds; without any, its test split and unseen cohorts.

    Raises:
        InputError: nobody with a label is held out, or the subsets do not fit the study.
    """
    named = [
        ColumnSet(task.subset.name, task.subset.labels, tuple(task.examples))
        for task in subset_tasks(study)
        if task.subset.unit == UNIT and task.examples
    ]
    found = named or _own_sets(study)
    if not found:
        raise InputError(
            study.folder.name,
            "found no labelled subject to test on",
            "prepare the study with a test split, or with a cohort that is only tested on",
            code="no-test-set",
        )
    return found


def _own_sets(study: Study) -> list[ColumnSet]:
    unseen = study.examples("zero_shot", "first")
    cohorts = {
        f"{cohort}{UNSEEN_MARK}": [e for e in unseen if e.cohort == cohort]
        for cohort in sorted({e.cohort for e in unseen})
    }
    parts = {"Test split": study.examples("test", "first"), **cohorts}
    # All labels are candidates, whoever happens to be in a cohort.
    return [ColumnSet(name, tuple(LABELS), tuple(rows)) for name, rows in parts.items() if rows]


def everyone(sets: Sequence[ColumnSet]) -> list[Example]:
    """Every example of some sets once."""
    return list({_image(e): e for s in sets for e in s.examples}.values())


def rows_among(tested: Sequence[Example], sets: Sequence[ColumnSet]) -> list[list[int]]:
    """Of each set, the places of its examples in ``tested``, as `everyone` gives them."""
    place = {_image(e): row for row, e in enumerate(tested)}
    return [[place[_image(e)] for e in s.examples] for s in sets]


def _image(example: Example) -> tuple[str, str, str]:
    return example.participant_id, example.session_id, example.image
