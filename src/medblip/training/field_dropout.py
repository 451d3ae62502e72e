"""Record fields that are left out at random, so that the model learns to do without them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from medblip.study.study import Example

STREAM = 1  # of a sample's random numbers; its image has others


def missing_rates(examples: Sequence[Example], fields: Sequence[str]) -> dict[str, float]:
    """How often each field is missing, as a share of all examples; 0 where there are none."""
    count = max(len(examples), 1)
    return {name: sum(name not in e.fields for e in examples) / count for name in fields}


class FieldDropout:
    """Leaves each field out with a chance of its own.

    Args:
        asked: one chance for all, or ``cohorts``: that of each field is how often it is missing
            among the examples.
        examples: training sessions of the study.
        fields: those that the record says.
    """

    def __init__(
        self,
        asked: float | Literal["cohorts"],
        examples: Sequence[Example],
        fields: Sequence[str],
    ) -> None:
        if asked == "cohorts":
            self.rates = missing_rates(examples, fields)
        else:
            self.rates = dict.fromkeys(fields, asked)

    def left(self, fields: Mapping[str, str], seed: int) -> Mapping[str, str]:
        """What a sample is shown of ``fields``; the same whenever it is asked with its seed."""
        if not any(self.rates.values()):
            return fields
        drawn = np.random.default_rng((seed, STREAM)).random(len(self.rates))
        dropped = {
            name
            for (name, rate), value in zip(self.rates.items(), drawn, strict=True)
            if value < rate
        }
        return {name: value for name, value in fields.items() if name not in dropped}
