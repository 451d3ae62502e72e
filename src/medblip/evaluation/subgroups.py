"""Accuracy by sex, age, cohort, site and scanner, with groups too small to print left unprinted.

Each subject counts in one group: that of their first row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from medblip.evaluation.intervals import Floats, Interval, Subjects, bad_predictions
from medblip.evaluation.metrics import ClassificationMetrics, classification_metrics

FEWEST_SUBJECTS = 10
NOT_STATED = "not stated"
AGE_BANDS = (60, 70, 80)  # years at which the next band begins
FIELDS_T = (0.2, 0.5, 1.0, 1.5, 3.0, 7.0)


class SubgroupRow(NamedTuple):
    """One group with enough subjects to be printed."""

    name: str
    n_rows: int
    n_subjects: int
    accuracy: Interval
    balanced_accuracy: Interval


@dataclass(frozen=True)
class Gap:
    """The largest difference in accuracy between two printed groups.

    Attributes:
        best, worst: the groups.
        difference: of their accuracies, as a fraction.
        p: share of 1 + n_permutations shuffles with a gap as large. Subjects change groups only
            with subjects of the same label, so that a group with more of the harder label is not
            taken for a group treated worse.
    """

    best: str
    worst: str
    difference: float
    p: float


@dataclass(frozen=True)
class SubgroupTable:
    """One attribute.

    Attributes:
        attribute: e.g. ``sex``.
        rows: printed groups by name.
        hidden_groups, hidden_subjects: groups under ``fewest`` subjects, and who is in them.
        fewest: subjects a group needs to be printed.
        gap: None with under two printed groups.
    """

    attribute: str
    rows: tuple[SubgroupRow, ...]
    hidden_groups: int
    hidden_subjects: int
    fewest: int
    gap: Gap | None

    @property
    def note(self) -> str:
        """What is not printed; empty where all is."""
        if not self.hidden_groups:
            return ""
        groups = "1 group" if self.hidden_groups == 1 else f"{self.hidden_groups} groups"
        return (
            f"{groups} of under {self.fewest} subjects not shown ({self.hidden_subjects} subjects)"
        )

    def as_dict(self) -> dict[str, Any]:
        return {
            "attribute": self.attribute,
            "groups": [
                {
                    "name": r.name,
                    "n_rows": r.n_rows,
                    "n_subjects": r.n_subjects,
                    "accuracy": r.accuracy.as_dict(),
                    "balanced_accuracy": r.balanced_accuracy.as_dict(),
                }
                for r in self.rows
            ],
            "hidden_groups": self.hidden_groups,
            "hidden_subjects": self.hidden_subjects,
            "fewest_subjects": self.fewest,
            "largest_gap": None
            if self.gap is None
            else {
                "best": self.gap.best,
                "worst": self.gap.worst,
                "difference": self.gap.difference,
                "p": self.gap.p,
            },
        }


def session_attributes(sessions: pd.DataFrame) -> dict[str, list[str]]:
    """The attributes of rows of ``sessions.tsv``, as text; empty where nothing is stated."""
    rows = sessions.to_dict("records")
    return {
        "sex": [str(r["sex"]) for r in rows],
        "age": [age_band(str(r["age"])) for r in rows],
        "cohort": [str(r["cohort"]) for r in rows],
        "site": [f"{r['cohort']}, {r['site']}" if r["site"] else "" for r in rows],
        "field strength": [nominal_field(str(r["field_strength_t"])) for r in rows],
    }


def nominal_field(tesla: str) -> str:
    """``"2.8936"`` is ``3 T``, as the scanner is sold; empty stays empty."""
    return f"{min(FIELDS_T, key=lambda t: abs(t - float(tesla))):g} T" if tesla else ""


def age_band(age: str) -> str:
    """``"71.3"`` is ``70 to 79``; empty stays empty."""
    if not age:
        return ""
    starts = [start for start in AGE_BANDS if float(age) >= start]
    if not starts:
        return f"under {AGE_BANDS[0]}"
    return f"{starts[-1]} to {starts[-1] + 9}" if starts[-1] != AGE_BANDS[-1] else "80 and over"


def subgroup_table(
    attribute: str,
    groups: Sequence[str],
    labels: ArrayLike,
    probabilities: ArrayLike,
    subjects: Subjects,
    classes: Sequence[str],
    *,
    fewest: int = FEWEST_SUBJECTS,
    n_resamples: int = 1000,
    n_permutations: int = 2000,
    seed: int = 0,
) -> SubgroupTable:
    """Numbers by group, and whether the largest gap is more than chance.

    Args:
        attribute: its name, for people.
        groups: ``(rows,)``, empty where not stated.
        labels: integer ``(rows,)``.
        probabilities: ``(rows, classes)``.
        subjects: ``(rows,)``.
        classes: names, in the order of the columns.
        fewest: subjects that a group needs to be printed.

    Raises:
        InputError: shapes that do not fit, or rows that are no probabilities.
    """
    truth, given, who = np.asarray(labels), np.asarray(probabilities), np.asarray(subjects)
    if not 0 < len(groups) == len(truth) == len(given) == len(who):
        raise bad_predictions(
            f"found {len(groups)} groups, {len(truth)} labels, {len(given)} probabilities and "
            f"{len(who)} subjects; expected one number > 0"
        )
    people = _people(groups, truth, given.argmax(axis=1) == truth, who)
    names, counts = np.unique(people.group, return_counts=True)
    shown = [str(name) for name, count in zip(names, counts, strict=True) if count >= fewest]
    of_row = people.group[people.of_row]

    def numbers(name: str) -> ClassificationMetrics:
        inside = of_row == name
        return classification_metrics(
            truth[inside], given[inside], who[inside], classes, n_resamples=n_resamples, seed=seed
        )

    # "under 60" before "60 to 69"
    measured = {n: numbers(n) for n in sorted(shown, key=lambda n: (not n.startswith("under"), n))}
    return SubgroupTable(
        attribute=attribute,
        rows=tuple(
            SubgroupRow(name, m.n_rows, m.n_subjects, m.accuracy, m.balanced_accuracy)
            for name, m in measured.items()
        ),
        hidden_groups=len(names) - len(shown),
        hidden_subjects=int(counts[counts < fewest].sum()),
        fewest=fewest,
        gap=_gap(people, shown, n_permutations, seed) if len(shown) > 1 else None,
    )


class _People(NamedTuple):
    """By subject: group and label of the first row, rows, rows right; and each row's subject."""

    group: NDArray[np.str_]
    label: NDArray[np.int64]
    rows: Floats
    right: Floats
    of_row: NDArray[np.intp]


def _people(
    groups: Sequence[str],
    labels: NDArray[np.int64],
    right: NDArray[np.bool_],
    subjects: NDArray[Any],
) -> _People:
    _, first, of_row = np.unique(subjects, return_index=True, return_inverse=True)
    named = np.array([group or NOT_STATED for group in groups])
    return _People(
        named[first],
        labels[first],
        np.bincount(of_row).astype(np.float64),
        np.bincount(of_row, weights=right).astype(np.float64),
        of_row,
    )


def _gap(people: _People, shown: Sequence[str], n_permutations: int, seed: int) -> Gap:
    inside = np.isin(people.group, shown)
    group, label = people.group[inside], people.label[inside]
    rows, right = people.rows[inside], people.right[inside]
    member = group[None] == np.asarray(shown)[:, None]  # (groups, subjects)
    found = (member @ right) / (member @ rows)
    generator, extreme = np.random.default_rng(seed), 0
    strata = [np.flatnonzero(label == c) for c in np.unique(label)]
    for _ in range(n_permutations):
        order = np.arange(len(label))
        for stratum in strata:
            order[stratum] = generator.permutation(stratum)
        extreme += bool(
            np.ptp((member @ right[order]) / (member @ rows[order])) >= np.ptp(found) - 1e-12
        )
    p = (1 + extreme) / (1 + n_permutations)
    best, worst = shown[int(found.argmax())], shown[int(found.argmin())]
    return Gap(best, worst, float(np.ptp(found)), p)
