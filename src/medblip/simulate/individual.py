"""Where a person loses tissue: some regions more than others, one side more than the other.

Without it, one number would tell the change of every region on both sides, and no question about a
region or a side could be asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from medblip.simulate.anatomy import FIELD_NAMES

# In units of severity, about the person's own: of a region, and half of left against right.
REGION_SD = 0.25
SIDE_SD = 0.30

_STREAM = 2000  # apart from the numbers that a person's scans are drawn with


class Sides(NamedTuple):
    """A value of the left and of the right half of a region."""

    left: float
    right: float


Pattern = Mapping[str, Sides]


def own_pattern(seed: tuple[int, ...]) -> Pattern:
    """What a person's regions add to the severity, the same at each visit.

    Args:
        seed: of the person.
    """
    rng = np.random.default_rng((*seed, _STREAM))
    pattern = {}
    for region in FIELD_NAMES:
        middle, half = rng.normal(0.0, REGION_SD), rng.normal(0.0, SIDE_SD)
        pattern[region] = Sides(middle + half, middle - half)
    return pattern
