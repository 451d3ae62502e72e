"""What is known of a subject without looking at the scan, as numbers for a plain classifier.

Nothing here sees a label. Words are joined with their cohort, so that a classifier may use a site's
or a scanner's name differently in each.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.preprocessing import OneHotEncoder

MIN_SUBJECTS = 5  # a word that fewer have is no basis for a rule
MAX_WORDS = 500
TENTHS = 10


def of_record(rows: pd.DataFrame, fields: Sequence[str]) -> NDArray[np.float64]:
    """Record fields: scaled values, 0 where missing, and whether each is missing."""
    columns = []
    for name in fields:
        value = _sex(rows[name]) if name == "sex" else pd.to_numeric(rows[name], errors="coerce")
        missing = value.isna().to_numpy()
        spread = float(value.std()) or 1.0
        scaled = ((value - value.mean()) / spread).fillna(0.0)
        columns += [scaled.to_numpy(np.float64), missing.astype(np.float64)]
    return np.column_stack(columns)


def of_words(rows: pd.DataFrame, columns: Sequence[str]) -> Any:
    """Each value of each column in each cohort; sparse ``(subjects, values)``."""
    joined = np.column_stack([rows["cohort"] + ":" + rows[name] for name in columns])
    return _one_hot(joined)


def of_names(rows: pd.DataFrame, columns: Sequence[str]) -> Any:
    """Words in identifiers and paths, the session's name, and tenths of the number in the id."""
    text = rows[["cohort", *columns]].agg("/".join, axis=1)
    counter = CountVectorizer(
        analyzer=_words_in, binary=True, max_features=MAX_WORDS, dtype=np.float64
    )
    words = counter.fit_transform(text)
    words = words[:, np.asarray(words.sum(axis=0)).ravel() >= MIN_SUBJECTS]
    number = pd.to_numeric(rows["participant_id"].str.extract(r"([0-9]+)\D*$")[0])
    return sparse.hstack([words, _tenths(number, rows["cohort"]), of_words(rows, ["session_id"])])


def of_date(rows: pd.DataFrame, columns: Sequence[str]) -> Any:
    """Tenths of the scan dates of each cohort; a missing date is a value of its own."""
    (name,) = columns
    since = pd.to_datetime(rows[name], errors="coerce") - pd.Timestamp(0)
    return _tenths(since.dt.days, rows["cohort"])  # NaN where there is no date


def _words_in(text: str) -> list[str]:
    return re.findall("[A-Za-z]+", text)


def _sex(values: pd.Series[Any]) -> pd.Series[Any]:
    return values.map({"F": 1.0, "M": 0.0})


def _tenths(values: pd.Series[Any], cohort: pd.Series[Any]) -> Any:
    """One column for each tenth of the values within each cohort; fewer parts of a small one."""
    groups = values.groupby(cohort)
    parts = (groups.transform("count") // MIN_SUBJECTS).clip(1, TENTHS)
    place = (groups.rank(pct=True) * parts).map(math.ceil, "ignore").fillna(0)
    part = place.astype(int).astype(str)
    return _one_hot((cohort + ":" + part).to_numpy()[:, None])


def _one_hot(words: NDArray[Any]) -> Any:
    encoder = OneHotEncoder(min_frequency=MIN_SUBJECTS, handle_unknown="infrequent_if_exist")
    return encoder.fit_transform(words)
