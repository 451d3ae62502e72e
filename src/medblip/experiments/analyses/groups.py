"""The full model's accuracy by sex, age, site and scanner, over all held-out scans together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from medblip.evaluation.evaluate import label_array
from medblip.evaluation.intervals import Floats
from medblip.evaluation.subgroups import (
    FEWEST_SUBJECTS,
    SubgroupTable,
    session_attributes,
    subgroup_table,
)
from medblip.experiments.analyses.answers import Answers, ColumnAnswers
from medblip.experiments.analyses.estimate import Estimate, Kept, rounded
from medblip.experiments.analyses.part import Part, PartCell, PartRow, PartTable, counted
from medblip.study.labels import LABELS
from medblip.study.schema import SESSION_KEY
from medblip.study.study import Example, Study

KEY, TITLE = "subgroups", "Subgroups"
VERSION = 2  # raised where its numbers change, so that kept ones are made again
ATTRIBUTES = {
    "sex": "Sex",
    "age": "Age in years",
    "site": "Site",
    "field strength": "Field strength",
}


class Group(Kept):
    """A group with enough subjects: means over runs, intervals over subjects."""

    name: str
    n_rows: int
    n_subjects: int
    accuracy: Estimate
    balanced_accuracy: Estimate


class Attribute(Kept):
    """Groups by one attribute.

    Attributes:
        hidden_groups, hidden_subjects: of groups with too few subjects.
        gap, p: the largest difference in accuracy and the share of shuffles, within labels, with
            one as large; None with under two groups.
    """

    name: str
    groups: tuple[Group, ...]
    hidden_groups: int
    hidden_subjects: int
    gap: float | None
    p: float | None


class Subgroups(Kept):
    """All attributes."""

    seeds: tuple[int, ...]
    fewest_subjects: int
    attributes: tuple[Attribute, ...]


def subgroups(answers: Answers, study: Study, n_resamples: int) -> Subgroups:
    """Every attribute over the scans of all columns, each answered among its column's labels."""
    examples = [e for column in answers.columns for e in column.column.examples]
    given = np.concatenate([_among_all(c) for c in answers.columns], axis=1)
    runs = len(answers.seeds)
    # A subject's rows stay together, those of all runs: what is drawn or shuffled is subjects.
    labels = np.tile(label_array(examples), runs)
    subjects = [e.participant_id for e in examples] * runs
    tables = [
        subgroup_table(
            name,
            values * runs,
            labels,
            given.reshape(-1, len(LABELS)),
            subjects,
            LABELS,
            n_resamples=n_resamples,
        )
        for name, values in _attributes(examples, study).items()
    ]
    return Subgroups(
        seeds=answers.seeds,
        fewest_subjects=FEWEST_SUBJECTS,
        attributes=tuple(_attribute(table, runs) for table in tables),
    )


def _among_all(column: ColumnAnswers) -> Floats:
    """``(runs, examples, len(LABELS))``: a label that a column does not ask for has 0."""
    asked = column.probabilities()
    among = np.zeros((*asked.shape[:2], len(LABELS)))
    among[..., [LABELS.index(label) for label in column.column.labels]] = asked
    return among


def _attributes(examples: Sequence[Example], study: Study) -> Mapping[str, list[str]]:
    keys = pd.DataFrame(
        [(e.participant_id, e.session_id) for e in examples], columns=list(SESSION_KEY)
    )
    rows = keys.merge(study.sessions, on=list(SESSION_KEY), how="left", validate="m:1")
    values = session_attributes(rows)
    return {name: values[name] for name in ATTRIBUTES}


def _attribute(table: SubgroupTable, runs: int) -> Attribute:
    return Attribute(
        name=table.attribute,
        groups=tuple(
            Group(
                name=row.name,
                n_rows=row.n_rows // runs,
                n_subjects=row.n_subjects,
                accuracy=Estimate.of(row.accuracy),
                balanced_accuracy=Estimate.of(row.balanced_accuracy),
            )
            for row in table.rows
        ),
        hidden_groups=table.hidden_groups,
        hidden_subjects=table.hidden_subjects,
        gap=None if table.gap is None else rounded(table.gap.difference),
        p=None if table.gap is None else rounded(table.gap.p),
    )


def part(found: Subgroups) -> Part:
    """A table for each attribute."""
    return Part(
        KEY,
        TITLE,
        "The full model on the held-out scans of all test sets together: means over "
        f"{counted(len(found.seeds), 'run')}, 95% intervals over subjects. Groups differ in "
        "cohort and in how hard their labels are: a difference is a question, not an answer. "
        "The test of the largest difference shuffles subjects within their label.",
        tuple(_table(attribute, found.fewest_subjects) for attribute in found.attributes),
        numbers=found.model_dump(mode="json"),
    )


def _table(attribute: Attribute, fewest: int) -> PartTable:
    rows = [
        PartRow(
            group.name,
            (
                PartCell(f"{group.n_subjects:,}"),
                PartCell(f"{group.n_rows:,}"),
                group.accuracy.percent,
                group.balanced_accuracy.percent,
            ),
        )
        for group in attribute.groups
    ]
    if attribute.hidden_groups:
        few = f"Too few subjects: {counted(attribute.hidden_groups, 'group')} of under {fewest}"
        rows.append(PartRow(few, (PartCell(f"{attribute.hidden_subjects:,}"), *[PartCell()] * 3)))
    caption = ATTRIBUTES[attribute.name]
    if attribute.gap is not None and attribute.p is not None:
        points = attribute.gap * 100
        caption += f". Largest difference {points:.1f} points, p = {attribute.p:.3f}"
    return PartTable(caption, ("Subjects", "Scans", "Accuracy", "Balanced accuracy"), tuple(rows))
