"""How much of the label can be told without looking at the scan.

Each check fits a plain classifier on one kind of side information and predicts the label of held-
out subjects. From the record alone this is the text-only ceiling that an image model has to beat;
from the site, the grid, the scanner, the file's name or the date alone it is a shortcut that an
image model can take, or a sign that the groups were scanned differently.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from medblip.findings import Finding
from medblip.study.held_out import measure, predict_held_out
from medblip.study.label_defining import without_label_defining
from medblip.study.record import DEFAULT_FIELDS, FIELDS
from medblip.study.side_information import of_date, of_names, of_record, of_words

CEILING = 0.95  # a record that tells this much leaves the scan nothing to add
MARGIN = 0.05  # above what shuffled labels give, before a shortcut is worth a warning
LUCK = 1e-4  # one-sided; an audit makes half a dozen of these tests
DOUBT = 0.05  # below it nobody should call it luck either
MIN_SUBJECTS = 20
MIN_PER_LABEL = 5
MAX_SUBJECTS = 6000  # drawn at random beyond; more change no digit that is shown

RECORD = "record"
RECORD_REST = "record without label-defining fields"
RECORD_ALL = "record with every field"
SITE = "site"

_Features = Callable[[pd.DataFrame, tuple[str, ...]], Any]
_SOURCES: dict[str, tuple[_Features, tuple[str, ...]]] = {
    RECORD: (of_record, DEFAULT_FIELDS),
    RECORD_REST: (of_record, DEFAULT_FIELDS),
    RECORD_ALL: (of_record, tuple(FIELDS)),
    SITE: (of_words, ("cohort", "site")),
    "voxel size": (of_words, ("voxel_mm", "shape", "axcodes")),
    "scanner": (of_words, ("field_strength_t",)),
    "file kind": (of_words, ("kind", "format")),
    "file name": (of_names, ("participant_id", "session_id", "path")),
    "scan date": (of_date, ("scan_date",)),
}


@dataclass(frozen=True)
class Predictability:
    """Balanced accuracy of the label from one kind of side information.

    Attributes:
        source: ``record``, ``site``, ``voxel size``...
        inputs: the columns used.
        accuracy: mean of the recalls of the labels, 0 to 1, over held-out subjects.
        low, high: its 95 % interval.
        chance: what guessing gives.
        expected: what shuffled labels give; for all but record and site, shuffled within cohorts.
        p: chance of at least this accuracy with shuffled labels.
        subjects: how many, one session each.
    """

    source: str
    inputs: tuple[str, ...]
    accuracy: float
    low: float
    high: float
    chance: float
    expected: float
    p: float
    subjects: int

    @property
    def beyond_luck(self) -> bool:
        return self.accuracy > self.expected + MARGIN and self.p < LUCK


def predictability(first: pd.DataFrame) -> list[Predictability]:
    """Measure each source that varies.

    Args:
        first: one labelled session per subject, columns of ``sessions.tsv`` and ``images.tsv``.

    Returns:
        Empty with too few subjects for a cross-validation.
    """
    counts = first["diagnosis"].value_counts()
    kept = first[first["diagnosis"].isin(counts.index[counts >= MIN_PER_LABEL])]
    if kept["diagnosis"].nunique() < 2 or len(kept) < MIN_SUBJECTS:
        return []
    if len(kept) > MAX_SUBJECTS:
        kept = kept.sample(MAX_SUBJECTS, random_state=0)
    measured = []
    for source, (features, names) in _SOURCES.items():
        rows = without_label_defining(kept) if source == RECORD_REST else kept
        columns = tuple(name for name in names if rows[name].nunique() > 1)
        if columns:
            measured.append(_measure(source, rows, columns, features(rows, columns)))
    return measured


def text_only_ceiling(measured: list[Predictability]) -> Predictability | None:
    """What the record alone tells, if it was measured."""
    return next((entry for entry in measured if entry.source == RECORD), None)


def check_predictability(measured: list[Predictability]) -> list[Finding]:
    """Findings for `predictability`'s numbers; the text-only ceiling is always stated."""
    if not measured:
        problem = f"too few labelled subjects to measure (at least {MIN_SUBJECTS} are needed)"
        return [Finding("leakage-not-measured", "note", "sessions.tsv", problem)]
    shortcuts = [m for m in measured if m.source not in (RECORD, RECORD_REST, RECORD_ALL)]
    return [*_judge_record(measured), *map(_judge, shortcuts)]


def check_record_fields(labelled_sessions: pd.DataFrame) -> list[Finding]:
    """Fields of the default record that the label was made from, with their count of sessions."""
    fields = list(DEFAULT_FIELDS)
    kept = without_label_defining(labelled_sessions)
    dropped = labelled_sessions[fields] != kept[fields]
    fix = (
        "report a run without it as well: record.drop_label_defining_fields=true in the recipe, or "
        "prepare with --drop-label-defining-fields"
    )
    return [
        Finding(
            "label-defining-field",
            "warning",
            "record",
            f"{field} helped to define the label of {count} session(s)",
            fix,
        )
        for field, count in dropped.sum().items()
        if count
    ]


def _judge_record(measured: list[Predictability]) -> list[Finding]:
    by_source = {entry.source: entry for entry in measured}
    entry = by_source.get(RECORD)
    if entry is None:
        problem = "the record says the same of every subject; the text-only ceiling is chance"
        return [Finding("text-only-ceiling", "note", "record", problem)]
    rest = by_source.get(RECORD_REST)
    told = f"text-only ceiling: {_numbers(entry)}"
    if rest is not None:
        told += f"; without the fields that define the label: {_numbers(rest)}"
    findings = [Finding("text-only-ceiling", "note", "record", told)]
    if entry.accuracy > CEILING:
        problem = f"the label can be told from the record alone: {_numbers(entry)}"
        fix = "the scan has nothing to add: leave the fields that define the label out"
        findings.append(Finding("label-in-record", "warning", "record", problem, fix))
    return findings


def _judge(entry: Predictability) -> Finding:
    code = "label-from-" + entry.source.replace(" ", "-")
    where = "sessions.tsv" if entry.source in (SITE, "scanner", "scan date") else "images.tsv"
    told = f"from the {entry.source} alone: {_numbers(entry)}"
    if entry.beyond_luck:
        fix = "balance the labels over it, or report results within each"
        return Finding(code, "warning", where, f"the label can be told {told}", fix)
    if entry.p >= DOUBT:
        return Finding(code, "note", where, f"no more than luck {told}")
    if entry.p >= LUCK:
        unclear = f"perhaps more than luck (p = {entry.p:.1g}, a warning takes {LUCK:g})"
        return Finding(code, "note", where, f"{unclear} {told}")
    return Finding(code, "note", where, f"little more than luck {told}")


def _numbers(entry: Predictability) -> str:
    # Where the cohort already tells something, luck is more than an even guess.
    luck = entry.chance if entry.source in (RECORD, RECORD_REST, RECORD_ALL) else entry.expected
    return (
        f"balanced accuracy {entry.accuracy:.2f} (95% interval {entry.low:.2f} to "
        f"{entry.high:.2f}, luck {luck:.2f}), {entry.subjects} subjects, held out"
    )


def _measure(
    source: str, rows: pd.DataFrame, columns: tuple[str, ...], features: Any
) -> Predictability:
    labels = rows["diagnosis"].to_numpy(dtype=str)
    cohort = rows["cohort"].to_numpy(dtype=str)
    pooled = source in (RECORD, RECORD_REST, RECORD_ALL, SITE)
    strata = np.zeros_like(cohort) if pooled else cohort
    result = measure(labels, predict_held_out(features, labels), strata)
    chance = 1 / len(np.unique(labels))
    return Predictability(source, columns, *result[:3], chance, *result[3:], len(rows))
