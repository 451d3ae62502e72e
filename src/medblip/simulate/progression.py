"""SIM-L: two visits a subject, between which regions lose nothing, a little or much.

What a region has lost by the later visit is drawn first, and what it lost since the earlier one
apart from that; the earlier visit is what is left. So the later scan alone tells nothing about the
change. (The earlier one alone does tell a little: who lost much had more to lose. No order of
drawing takes it from both.) Each region's loss is its own, or one region would tell how large
another has to be.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date, timedelta

import numpy as np

from medblip.simulate.cohort import (
    AGE_MEAN,
    AGE_RANGE,
    AGE_SD,
    MEMORY_LOSS,
    MEMORY_LOSS_SD,
    SITES_TRAINING,
    CohortPlan,
    Session,
    draw_record,
)
from medblip.simulate.scanner import MM_PER_SEVERITY, atrophy_mm

# Severity is spread evenly over a wide range, in which a change is small. That of the medial
# temporal lobes goes with the diagnosis, that of the other regions with nothing.
SEVERITY_BANDS: Mapping[str, tuple[float, float]] = {
    "CN": (-0.2, 0.5),
    "MCI": (0.5, 1.5),
    "AD": (1.5, 3.2),
}
SEVERITY_RANGE = (SEVERITY_BANDS["CN"][0], SEVERITY_BANDS["AD"][1])
# Nothing, a little, much: how often, and the largest displacement in mm that a region gains. They
# leave gaps, so that what is a little is not a matter of taste.
GAIN_SHARES = (0.4, 0.3, 0.3)
GAIN_MM = ((0.0, 0.0), (1.0, 2.0), (3.0, 4.5))
YEARS = (1.5, 4.0)  # between the visits


@dataclass(frozen=True)
class ProgressionPlan(CohortPlan):
    """A cohort whose subjects come twice.

    Attributes:
        visits: of each subject.
    """

    visits: int = 2

    def draw_sessions(self, rng: np.random.Generator, diagnosis: str) -> tuple[Session, ...]:
        """The earlier and the later visit; the diagnosis is the same at both."""
        memory_loss = MEMORY_LOSS[diagnosis] + rng.normal(0.0, MEMORY_LOSS_SD)
        years = float(rng.uniform(*YEARS))
        age = float(np.clip(rng.normal(AGE_MEAN, AGE_SD), AGE_RANGE[0] + years, AGE_RANGE[1]))
        later_date = date(2014, 1, 1) + timedelta(days=int(rng.integers(0, 3650)))
        severity = float(rng.uniform(*SEVERITY_BANDS[diagnosis]))
        later = Session(
            session_id="ses-02",
            scan_date=later_date,
            age=round(age, 1),
            diagnosis=diagnosis,
            severity=severity,
            age_deviation=(age - AGE_MEAN) / AGE_SD,
            memory_loss=memory_loss,
            fields=draw_record(rng, diagnosis, memory_loss),
            own_mm={
                name: mm * (rng.uniform(*SEVERITY_RANGE) - severity)
                for name, mm in MM_PER_SEVERITY.items()
                if name != "medial_temporal"
            },
            prior_session_id="ses-01",
            gained_mm={name: _gain(rng, mm) for name, mm in MM_PER_SEVERITY.items()},
        )
        earlier = replace(
            later,
            session_id="ses-01",
            scan_date=later_date - timedelta(days=round(365.25 * years)),
            age=round(age - years, 1),
            age_deviation=(age - years - AGE_MEAN) / AGE_SD,
            fields=draw_record(rng, diagnosis, memory_loss),
            prior_session_id="",
            gained_mm={},
        )
        return _with_what_is_left(earlier, later), later


def _gain(rng: np.random.Generator, mm_per_severity: float) -> float:
    """Largest displacement in mm; of the cortex, whose loss is weaker, in proportion."""
    low, high = GAIN_MM[rng.choice(len(GAIN_MM), p=GAIN_SHARES)]
    return float(rng.uniform(low, high)) * mm_per_severity / max(MM_PER_SEVERITY.values())


def _with_what_is_left(earlier: Session, later: Session) -> Session:
    """The earlier visit at the later one's displacement less what was gained since."""
    before, after = atrophy_mm(earlier), atrophy_mm(later)
    own = {
        name: after[name] + later.own_mm.get(name, 0.0) - gained - before[name]
        for name, gained in later.gained_mm.items()
    }
    return replace(earlier, own_mm=own)


def progression_cohort(subjects: int) -> ProgressionPlan:
    """SIM-L, at the scanners of SIM-A."""
    return ProgressionPlan("SIM-L", "SIML", subjects, SITES_TRAINING)


__all__ = ["ProgressionPlan", "progression_cohort"]
