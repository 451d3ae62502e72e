"""Who is simulated: subjects, their visits, the latent disease and the record it leaves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta

import numpy as np

CLASSES = ("CN", "MCI", "AD")

# Images tell AD apart and records tell CN from MCI, so neither alone can be perfect.
SEVERITY: Mapping[str, float] = {"CN": 0.0, "MCI": 0.75, "AD": 2.2}
SEVERITY_SD = 0.35
SEVERITY_PER_AGE = 0.25  # per standard deviation of age
SEVERITY_PER_YEAR = 0.10  # within a subject, once ill
MEMORY_LOSS: Mapping[str, float] = {"CN": 0.0, "MCI": 1.45, "AD": 1.7}
MEMORY_LOSS_SD = 0.5

AGE_MEAN, AGE_SD = 73.0, 8.0
AGE_RANGE = (55.0, 92.0)
CONVERSION_PER_YEAR: Mapping[str, float] = {"CN": 0.04, "MCI": 0.12, "AD": 0.0}
SESSIONS_PROBABILITY = (0.80, 0.13, 0.05, 0.02)  # one to four sessions

# Score = start - slope * memory loss + noise, rounded and clipped.
SCORES: Mapping[str, tuple[float, float, float, int]] = {
    "mmse": (29.0, 2.0, 1.5, 30),
    "lm_immediate": (14.5, 3.8, 3.0, 25),
    "lm_delayed": (13.0, 4.6, 3.0, 25),
}
MISSING: Mapping[str, float] = {
    "education_years": 0.05,
    "mmse": 0.02,
    "cdr_global": 0.05,
    "lm_immediate": 0.04,
    "lm_delayed": 0.02,
}
CDR_OF_CLASS: Mapping[str, tuple[str, ...]] = {
    "CN": ("0",),
    "MCI": ("0.5",),
    "AD": ("0.5", "1", "1", "2"),
}


@dataclass(frozen=True)
class Site:
    """One scanner: geometry as delivered, contrast, noise.

    ``axcodes`` is the voxel order of its files; ``voxel_mm`` is in that order's RAS+ sense
    (right-left, posterior-anterior, inferior-superior).
    """

    name: str
    voxel_mm: tuple[float, float, float]
    axcodes: str
    gamma: float
    bias: float
    noise: float
    field_strength_t: float
    skull_stripped: bool
    intensity: float = 600.0


@dataclass(frozen=True)
class CohortPlan:
    """One BIDS data set to simulate."""

    name: str
    label_prefix: str
    subjects: int
    sites: tuple[Site, ...]

    def draw_sessions(self, rng: np.random.Generator, diagnosis: str) -> tuple[Session, ...]:
        """The visits of a subject whose first diagnosis is given."""
        return _draw_sessions(rng, diagnosis)


@dataclass(frozen=True)
class Session:
    """One visit of one subject, with the hidden truth that made it.

    Attributes:
        own_mm: by region, largest displacement in mm beside what severity and age make of it.
        prior_session_id: of the visit that it is compared with; empty for none.
        gained_mm: by region, largest displacement in mm gained since then.
    """

    session_id: str
    scan_date: date
    age: float
    diagnosis: str
    severity: float
    age_deviation: float
    memory_loss: float
    fields: Mapping[str, str]
    own_mm: Mapping[str, float] = field(default_factory=dict)
    prior_session_id: str = ""
    gained_mm: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Subject:
    """One simulated person; ``seed`` draws the anatomy, which all sessions share."""

    participant_id: str
    site: Site
    sex: str
    education_years: str
    seed: tuple[int, ...]
    sessions: tuple[Session, ...]


SITES_TRAINING = (
    Site("A1", (1.5, 1.5, 1.5), "RAS", gamma=1.00, bias=0.10, noise=0.030, field_strength_t=3.0,
         skull_stripped=True),
    Site("A2", (1.8, 1.4, 1.4), "LPI", gamma=0.88, bias=0.15, noise=0.040, field_strength_t=1.5,
         skull_stripped=True, intensity=220.0),
    Site("A3", (1.6, 1.6, 1.6), "PIR", gamma=1.10, bias=0.12, noise=0.035, field_strength_t=3.0,
         skull_stripped=False, intensity=1100.0),
)  # fmt: skip
SITES_ZERO_SHOT = (
    Site("Z1", (1.4, 1.8, 1.4), "LAS", gamma=0.95, bias=0.20, noise=0.045, field_strength_t=1.5,
         skull_stripped=True, intensity=400.0),
    Site("Z2", (1.7, 1.5, 1.5), "ASL", gamma=1.15, bias=0.12, noise=0.030, field_strength_t=3.0,
         skull_stripped=False, intensity=850.0),
)  # fmt: skip


def demo_cohorts(subjects: int = 900, zero_shot_subjects: int = 90) -> tuple[CohortPlan, ...]:
    """The two cohorts of ``medblip demo``: SIM-A to train and test, SIM-Z never trained on."""
    return (
        CohortPlan("SIM-A", "SIMA", subjects, SITES_TRAINING),
        CohortPlan("SIM-Z", "SIMZ", zero_shot_subjects, SITES_ZERO_SHOT),
    )


def draw_subject(plan: CohortPlan, index: int, seed: int) -> Subject:
    """Subject ``index`` of a cohort; depends on nothing but the arguments."""
    key = (seed, *plan.name.encode(), index)
    rng = np.random.default_rng(key)
    diagnosis = CLASSES[index % len(CLASSES)]
    site = plan.sites[(index // len(CLASSES)) % len(plan.sites)]
    education = "n/a" if _missing(rng, "education_years") else str(int(rng.integers(8, 21)))
    return Subject(
        participant_id=f"sub-{plan.label_prefix}{index + 1:04d}",
        site=site,
        sex="F" if rng.random() < 0.55 else "M",
        education_years=education,
        seed=key,
        sessions=plan.draw_sessions(rng, diagnosis),
    )


def _draw_sessions(rng: np.random.Generator, diagnosis: str) -> tuple[Session, ...]:
    count = 1 + int(rng.choice(len(SESSIONS_PROBABILITY), p=SESSIONS_PROBABILITY))
    age = float(np.clip(rng.normal(AGE_MEAN, AGE_SD), *AGE_RANGE))
    scan_date = date(2010, 1, 1) + timedelta(days=int(rng.integers(0, 3650)))
    severity_offset = rng.normal(0.0, SEVERITY_SD)
    memory_offset = rng.normal(0.0, MEMORY_LOSS_SD)
    sessions = []
    years_ill = 0.0
    for number in range(count):
        age_deviation = (age - AGE_MEAN) / AGE_SD
        severity = severity_of(SEVERITY[diagnosis], severity_offset, age_deviation, years_ill)
        memory_loss = MEMORY_LOSS[diagnosis] + memory_offset
        sessions.append(
            Session(
                session_id=f"ses-{number + 1:02d}",
                scan_date=scan_date,
                age=round(age, 1),
                diagnosis=diagnosis,
                severity=severity,
                age_deviation=age_deviation,
                memory_loss=memory_loss,
                fields=draw_record(rng, diagnosis, memory_loss),
            )
        )
        years = float(rng.uniform(0.8, 1.5))
        if rng.random() < CONVERSION_PER_YEAR[diagnosis] * years:
            diagnosis = CLASSES[CLASSES.index(diagnosis) + 1]
        years_ill += years if diagnosis != "CN" else 0.0
        age += years
        scan_date += timedelta(days=round(365.25 * years))
    return tuple(sessions)


def severity_of(level: float, offset: float, age_deviation: float, years_ill: float) -> float:
    """Severity of a person whose diagnosis has ``level``, after ``years_ill`` with a disease."""
    severity = level + offset + SEVERITY_PER_AGE * age_deviation
    return severity + SEVERITY_PER_YEAR * years_ill


def draw_record(rng: np.random.Generator, diagnosis: str, memory_loss: float) -> Mapping[str, str]:
    """What the record of a visit says; missing values are ``n/a``."""
    fields = {"cdr_global": str(rng.choice(CDR_OF_CLASS[diagnosis]))}
    for name, (start, slope, noise, highest) in SCORES.items():
        score = rng.normal(start - slope * memory_loss, noise)
        fields[name] = str(int(np.clip(round(score), 0, highest)))
    return {name: "n/a" if _missing(rng, name) else value for name, value in fields.items()}


def _missing(rng: np.random.Generator, field: str) -> bool:
    return bool(rng.random() < MISSING[field])


def draw_cohort(plan: CohortPlan, seed: int) -> Sequence[Subject]:
    return [draw_subject(plan, index, seed) for index in range(plan.subjects)]
