"""Do groups of subjects differ in a number or a share: a test, its effect size, and luck."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import chi2_contingency, kruskal

MIN_SUBJECTS = 10  # smaller groups differ by luck
LUCK = 0.01  # for the adjusted p of all comparisons of an audit

Effect = Literal["gap in SD", "gap of shares", "Cramer's V"]


@dataclass(frozen=True)
class Comparison:
    """One quantity between groups.

    Attributes:
        quantity: ``mean age``, ``women``, ``diagnosis`` or ``<field> missing``.
        by: ``label`` or ``split``.
        groups: names of those compared.
        values: of each group: its mean or share; empty where neither tells it.
        effect: which effect size.
        size: the largest gap between two groups, in standard deviations of all, or in shares; or
            Cramer's V.
        p: of Kruskal-Wallis (numbers) or the chi-squared test (shares).
        adjusted_p: after Holm, over all comparisons of the audit.
    """

    quantity: str
    by: str
    groups: tuple[str, ...]
    values: tuple[float, ...]
    effect: Effect
    size: float
    p: float
    adjusted_p: float = 1.0

    def differs(self, limit: float) -> bool:
        return self.size > limit and self.adjusted_p < LUCK


class Grouping(NamedTuple):
    """Who belongs to which group.

    Attributes:
        by: ``label`` or ``split``.
        group: name of the group by the index of the subjects' rows.
        order: in which the groups are told.
    """

    by: str
    group: pd.Series[str]
    order: Sequence[str]

    def large(self, values: pd.Series[Any]) -> tuple[pd.Series[Any], pd.Series[str], list[str]]:
        """The values and groups of those in groups that are large enough, and their names."""
        group = self.group[self.group.index.isin(values.index)]
        counts = group.value_counts()
        names = [name for name in self.order if counts.get(name, 0) >= MIN_SUBJECTS]
        group = group[group.isin(names)]
        return values[group.index], group, names


def compare_numbers(
    quantity: str, values: pd.Series[float], grouping: Grouping
) -> Comparison | None:
    """Means between groups, missing ones left out; None without two large groups."""
    known, group, names = grouping.large(values.dropna())
    spread = float(known.std()) if len(names) > 1 else 0.0
    if not spread:
        return None
    parts = [known[group == name].to_numpy(np.float64) for name in names]
    means = tuple(float(part.mean()) for part in parts)
    size = (max(means) - min(means)) / spread
    p = float(kruskal(*parts).pvalue)
    return Comparison(quantity, grouping.by, tuple(names), means, "gap in SD", size, p)


def compare_shares(quantity: str, holds: pd.Series[bool], grouping: Grouping) -> Comparison | None:
    """Shares of True between groups; None without two large groups, or if all are the same."""
    known, group, names = grouping.large(holds)
    if len(names) < 2 or known.nunique() < 2:
        return None
    shares = tuple(float(known[group == name].mean()) for name in names)
    size, p = max(shares) - min(shares), _chi_squared(group, known)[1]
    return Comparison(quantity, grouping.by, tuple(names), shares, "gap of shares", size, p)


def compare_kinds(quantity: str, kinds: pd.Series[str], grouping: Grouping) -> Comparison | None:
    """Which kinds how often between groups; None without two large groups or two kinds."""
    known, group, names = grouping.large(kinds)
    if len(names) < 2 or known.nunique() < 2:
        return None
    size, p = _chi_squared(group, known)
    return Comparison(quantity, grouping.by, tuple(names), (), "Cramer's V", size, p)


def adjusted(comparisons: list[Comparison]) -> list[Comparison]:
    """The same with Holm's adjustment over all of them."""
    p = np.array([comparison.p for comparison in comparisons])
    return [
        replace(comparison, adjusted_p=float(value))
        for comparison, value in zip(comparisons, _holm(p), strict=True)
    ]


def _holm(p: NDArray[np.float64]) -> NDArray[np.float64]:
    order = np.argsort(p)
    steps = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    result = np.empty_like(p)
    result[order] = np.minimum(steps, 1.0)
    return result


def _chi_squared(group: pd.Series[str], kinds: pd.Series[Any]) -> tuple[float, float]:
    """Cramer's V and p."""
    table = pd.crosstab(group, kinds).to_numpy()
    result = chi2_contingency(table, correction=False)
    v = np.sqrt(result.statistic / (table.sum() * (min(table.shape) - 1)))
    return float(v), float(result.pvalue)
