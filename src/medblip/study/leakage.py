"""How much of the label can be told without looking at the scan.

Each check fits a plain classifier on one kind of side information and predicts the label of held-
out subjects. From the record alone this is the text-only ceiling that an image model has to beat;
from the site or the voxel size alone it is a shortcut that an image model can take.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from medblip.findings import Finding
from medblip.study.record import DEFAULT_FIELDS, FIELDS
from medblip.study.schema import SESSION_FIELDS

CEILING = 0.95  # a record that tells this much leaves the scan nothing to add
MARGIN = 0.10  # above chance, before a shortcut is worth a warning
MIN_SUBJECTS = 20
MIN_PER_LABEL = 5
FOLDS = 5


@dataclass(frozen=True)
class Predictability:
    """Balanced accuracy of the label from one kind of side information.

    Attributes:
        source: ``record``, ``site`` or ``voxel size``.
        inputs: the columns used.
        accuracy: mean of the recalls of the labels, 0 to 1, over held-out subjects.
        chance: what guessing gives.
        margin: how far above chance counts as more than luck for this many subjects.
        subjects: how many, one session each.
    """

    source: str
    inputs: tuple[str, ...]
    accuracy: float
    chance: float
    margin: float
    subjects: int


def predictability(first: pd.DataFrame) -> list[Predictability]:
    """Measure the record, the site and the voxel size.

    Args:
        first: one labelled session per subject, columns of ``sessions.tsv`` and ``voxel_mm``.

    Returns:
        One entry per source that varies; empty with too few subjects for a cross-validation.
    """
    counts = first["diagnosis"].value_counts()
    kept = first[first["diagnosis"].isin(counts.index[counts >= MIN_PER_LABEL])]
    if kept["diagnosis"].nunique() < 2 or len(kept) < MIN_SUBJECTS:
        return []
    sources = {
        "record": DEFAULT_FIELDS,
        "site": ("cohort", "site"),
        "voxel size": ("voxel_mm",),
    }
    return [
        _measure(source, kept, columns)
        for source, names in sources.items()
        if (columns := tuple(name for name in names if kept[name].nunique() > 1))
    ]


def check_predictability(measured: list[Predictability]) -> list[Finding]:
    """Findings for `predictability`'s numbers; the text-only ceiling is always stated."""
    if not measured:
        problem = f"too few labelled subjects to measure (at least {MIN_SUBJECTS} are needed)"
        return [Finding("leakage-not-measured", "note", "sessions.tsv", problem)]
    return [_judge(entry) for entry in measured]


def check_record_fields(labelled_sessions: pd.DataFrame) -> list[Finding]:
    """Fields of the default record that the label was made from, with their count of sessions."""
    defined_by = labelled_sessions["label_defined_by"].map(lambda text: set(text.split(",")))
    findings = []
    for field in DEFAULT_FIELDS:
        shared = defined_by.map(lambda names, field=field: field in names)
        count = int((shared & (labelled_sessions[field] != "")).sum())
        if count:
            problem = f"{field} helped to define the label of {count} session(s)"
            fix = f"report a run without {field} in the record as well"
            findings.append(Finding("label-defining-field", "warning", "record", problem, fix))
    return findings


def _judge(entry: Predictability) -> Finding:
    numbers = f"balanced accuracy {entry.accuracy:.2f} (chance {entry.chance:.2f})"
    basis = f"from the {entry.source} alone: {numbers}, {entry.subjects} subjects, held out"
    if entry.source == "record":
        if entry.accuracy > CEILING:
            problem = f"the label can be told {basis}; the scan has nothing to add"
            fix = "switch off the fields that define the label"
            return Finding("label-in-record", "warning", "record", problem, fix)
        return Finding("text-only-ceiling", "note", "record", f"text-only ceiling {basis}")
    code = "label-from-" + entry.source.replace(" ", "-")
    if entry.accuracy > entry.chance + entry.margin:
        fix = "balance the labels over it, or report results within each"
        return Finding(code, "warning", "sessions.tsv", f"the label can be told {basis}", fix)
    return Finding(code, "note", "sessions.tsv", f"no more than luck {basis}")


def _measure(source: str, rows: pd.DataFrame, columns: tuple[str, ...]) -> Predictability:
    labels = rows["diagnosis"].to_numpy(dtype=str)
    names, counts = np.unique(labels, return_counts=True)
    folds = StratifiedKFold(min(FOLDS, int(counts.min())), shuffle=True, random_state=0)
    predicted = cross_val_predict(_classifier(columns), _inputs(rows, columns), labels, cv=folds)
    chance = 1 / len(names)
    # Two standard errors of a mean of recalls that are each right by chance.
    luck = 2 * np.sqrt(chance * (1 - chance) * (1 / counts).sum()) / len(names)
    return Predictability(
        source=source,
        inputs=columns,
        accuracy=float(balanced_accuracy_score(labels, predicted)),
        chance=chance,
        margin=max(MARGIN, float(luck)),
        subjects=len(rows),
    )


def _inputs(rows: pd.DataFrame, columns: tuple[str, ...]) -> pd.DataFrame:
    """Numbers as floats with NaN for missing; everything else as text."""
    inputs = rows[list(columns)].copy()
    for name in columns:
        if _is_number(name):
            inputs[name] = pd.to_numeric(inputs[name], errors="coerce")
    return inputs


def _classifier(columns: tuple[str, ...]) -> Any:
    numbers = [name for name in columns if _is_number(name)]
    words = [name for name in columns if not _is_number(name)]
    scaled = make_pipeline(
        SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True),
        StandardScaler(),
    )
    inputs = make_column_transformer(
        (scaled, numbers), (OneHotEncoder(handle_unknown="ignore"), words)
    )
    return make_pipeline(inputs, LogisticRegression(class_weight="balanced", max_iter=1000))


def _is_number(name: str) -> bool:
    return name in FIELDS and SESSION_FIELDS[name].kind in ("integer", "number")
