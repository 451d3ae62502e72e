"""A number with its interval as it is kept in files: rounded, and None where undefined."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import numpy as np
from pydantic import BaseModel, ConfigDict

from medblip.evaluation.intervals import Interval
from medblip.evaluation.verdicts import decimal, percent, points, span
from medblip.experiments.analyses.part import PartCell

DIGITS = 4


class Kept(BaseModel):
    """What an analysis found, as JSON."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Estimate(Kept):
    """A value with the ends of its 95% interval."""

    value: float | None
    low: float | None = None
    high: float | None = None

    @classmethod
    def of(cls, interval: Interval) -> Self:
        """Rounded to `DIGITS`."""
        value, low, high = map(rounded, (interval.value, interval.low, interval.high))
        return cls(value=value, low=low, high=high)

    @classmethod
    def mean(cls, intervals: Sequence[Interval]) -> Self:
        """Mean over runs: of the values, and of the ends.

        Rather too wide than too narrow: the mean of intervals is at least as wide as an interval
        of the mean.
        """
        ends = np.array([(i.value, i.low, i.high) for i in intervals]).mean(axis=0)
        return cls.of(Interval(*map(float, ends)))

    @property
    def interval(self) -> Interval:
        given = (self.value, self.low, self.high)
        return Interval(*(float("nan") if number is None else number for number in given))

    @property
    def percent(self) -> PartCell:
        """``73.3%`` over ``68.0 to 78.1``."""
        return PartCell(percent(self.value), self._detail(100, 1))

    @property
    def points(self) -> PartCell:
        """``+4.2`` over ``1.0 to 7.4``: a difference in percentage points."""
        return PartCell(points(self.interval.value), self._detail(100, 1))

    @property
    def decimal(self) -> PartCell:
        """``0.812`` over ``0.790 to 0.830``."""
        return PartCell(decimal(self.value, 3), self._detail(1, 3))

    def _detail(self, scale: float, digits: int) -> str:
        return "" if self.low is None else span(self.interval, scale, digits)


def rounded(value: float) -> float | None:
    """To `DIGITS`; None where it is no number."""
    return round(float(value), DIGITS) if np.isfinite(value) else None
