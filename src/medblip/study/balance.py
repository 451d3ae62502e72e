"""Who is in which part of a study: counts, ages, sexes, and what is missing for which label."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from medblip.findings import Finding
from medblip.study.comparisons import (
    Comparison,
    Grouping,
    adjusted,
    compare_kinds,
    compare_numbers,
    compare_shares,
)
from medblip.study.labels import LABELS
from medblip.study.record import FIELDS
from medblip.study.splits import SPLITS, Splits

AGE_GAP = 0.5  # standard deviations: a medium effect
SHARE_GAP = 0.2
LABEL_GAP = 0.1  # Cramer's V
DRAWN = SPLITS[:3]  # zero-shot cohorts were not drawn, and may differ


def split_table(first: pd.DataFrame, splits: Splits) -> pd.DataFrame:
    """Per split: subjects, subjects of each label, mean age, share of women.

    Args:
        first: one labelled session per subject.
        splits: sides of the subjects.
    """
    side = first["participant_id"].map(splits.split_of())
    return pd.DataFrame([{"split": s, **_summary(first[side == s])} for s in SPLITS])


def label_table(first: pd.DataFrame) -> pd.DataFrame:
    """Per label: subjects, mean age, share of women."""
    rows = [{"label": label, **_summary(first[first["diagnosis"] == label])} for label in LABELS]
    return pd.DataFrame(rows).drop(columns=list(LABELS))


def missing_table(labelled_sessions: pd.DataFrame) -> pd.DataFrame:
    """Per record field: share of sessions without a value, overall and for each label."""
    empty = labelled_sessions[list(FIELDS)] == ""
    table = {"all": empty.mean()}
    for label in LABELS:
        rows = labelled_sessions["diagnosis"] == label
        if rows.any():
            table[label] = empty[rows].mean()
    return pd.DataFrame(table).rename_axis("field").reset_index()


def compare(first: pd.DataFrame, splits: Splits) -> list[Comparison]:
    """Age, sex and missing fields by label; age, sex and label by split.

    Args:
        first: one labelled session per subject, so that each counts once; no index repeats.
        splits: sides of the subjects.
    """
    side = first["participant_id"].map(splits.split_of()).astype(str)
    by_label = Grouping("label", first["diagnosis"], LABELS)
    by_split = Grouping("split", side[side.isin(DRAWN)], DRAWN)
    age = pd.to_numeric(first["age"], errors="coerce")
    women = first.loc[first["sex"] != "", "sex"] == "F"
    found = [
        compare_numbers("mean age", age, by_label),
        compare_shares("women", women, by_label),
        compare_numbers("mean age", age, by_split),
        compare_shares("women", women, by_split),
        compare_kinds("diagnosis", first["diagnosis"], by_split),
        *(compare_shares(f"{field} missing", first[field] == "", by_label) for field in FIELDS),
    ]
    return adjusted([comparison for comparison in found if comparison is not None])


def check_balance(splits: pd.DataFrame, compared: Sequence[Comparison]) -> list[Finding]:
    """Splits without subjects, and what differs between labels or splits by more than luck."""
    findings = []
    for split, subjects in zip(splits["split"], splits["subjects"], strict=True):
        if subjects == 0 and split in ("train", "test"):
            problem = f"{split} has no labelled subject"
            findings.append(Finding("empty-split", "warning", "splits.json", problem))
    return [*findings, *(_judge(c) for c in compared if c.differs(_limit(c)))]


def _limit(comparison: Comparison) -> float:
    return {"gap in SD": AGE_GAP, "gap of shares": SHARE_GAP, "Cramer's V": LABEL_GAP}[
        comparison.effect
    ]


def _judge(comparison: Comparison) -> Finding:
    quantity, by = comparison.quantity, comparison.by
    form = ".1f" if comparison.effect == "gap in SD" else ".0%"
    told = ", ".join(
        f"{name} {value:{form}}"
        for name, value in zip(comparison.groups, comparison.values, strict=False)
    )
    p = f"{comparison.adjusted_p:.2g}" if comparison.adjusted_p >= 0.0001 else "< 0.0001"
    measured = f"{comparison.effect} {comparison.size:.2f}, adjusted p {p}"
    numbers = f"{told} ({measured})" if told else measured
    if quantity.endswith(" missing"):
        field = quantity.removesuffix(" missing")
        problem = f"{field} is missing more often for one label than another: {numbers}"
        fix = f"leave {field} out of the record, or report results without it"
        return Finding("missing-by-label", "warning", "sessions.tsv", problem, fix)
    code = f"{quantity.replace(' ', '-')}-by-{by}"
    problem = f"{quantity} differs between {by}s: {numbers}"
    if by == "split":
        fix = "draw the splits with another seed"
        return Finding(code, "warning", "splits.json", problem, fix)
    fix = "compare results within age groups and sexes"
    return Finding(code, "warning", "sessions.tsv", problem, fix)


def _summary(rows: pd.DataFrame) -> dict[str, object]:
    age = pd.to_numeric(rows["age"], errors="coerce").dropna()
    sex = rows.loc[rows["sex"] != "", "sex"]
    counts: dict[str, int] = {name: int((rows["diagnosis"] == name).sum()) for name in LABELS}
    return {
        "subjects": len(rows),
        **counts,
        "mean_age": float(age.mean()) if len(age) else None,
        "women": float((sex == "F").mean()) if len(sex) else None,
    }
