"""Simulated cohorts on a real brain template: the whole chain runs without patients' data."""

from medblip.simulate.cohort import CohortPlan, Site, demo_cohorts
from medblip.simulate.dataset import simulate

__all__ = ["CohortPlan", "Site", "demo_cohorts", "simulate"]
