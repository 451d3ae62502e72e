"""Record fields that the label was made from: scores that are the answer in other words."""

from __future__ import annotations

import pandas as pd

from medblip.study.record import FIELDS


def label_defining(text: str) -> tuple[str, ...]:
    """Record fields named in a cell of ``label_defined_by``, e.g. ``"cdr_global,cdr_sb"``."""
    named = {name.strip() for name in text.split(",")}
    return tuple(name for name in FIELDS if name in named)


def without_label_defining(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of ``sessions.tsv``, copied, with the fields that defined their label empty."""
    result = rows.copy()
    for text in rows["label_defined_by"].unique():
        fields = list(label_defining(text))
        if fields:
            result.loc[rows["label_defined_by"] == text, fields] = ""
    return result
