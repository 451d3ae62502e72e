"""Simulated cohorts on a real brain template: the whole chain runs without patients' data."""

from medblip.simulate.cohort import CohortPlan, Site, demo_cohorts
from medblip.simulate.dataset import simulate
from medblip.simulate.progression import ProgressionPlan, progression_cohort
from medblip.simulate.replica import LAYOUTS, simulate_replica

__all__ = [
    "LAYOUTS",
    "CohortPlan",
    "ProgressionPlan",
    "Site",
    "demo_cohorts",
    "progression_cohort",
    "simulate",
    "simulate_replica",
]
