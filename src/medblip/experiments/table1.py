"""Table 1: what the paper's cohorts hold, and beside them what a study holds; no training."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd

from medblip.experiments.analyses.part import NOTHING, Part, PartCell, PartRow, PartTable
from medblip.study.info import SIMULATED_PREFIX
from medblip.study.labels import LABELS, OTHER
from medblip.study.schema import SESSION_KEY
from medblip.study.study import Study

KEY = "table1"
TITLE = "Table 1: The cohorts"
CAPTION = "What the study holds, and below it what the paper's cohorts held"
NOTE = (
    "Counts are of images, as in the paper, also of those without a label; one image may be there "
    "in several versions. Simulated replicas are made at a reduced size. OASIS is OASIS-1 and "
    "OASIS-2 together."
)
OASIS = "OASIS"  # in the paper one cohort, in a study two
# Field of Table 1 -> columns of sessions.tsv, one of which must be filled in.
FIELDS: Mapping[str, tuple[str, ...]] = {
    "education": ("education_years", "education_code"),
    "ses": ("ses",),
    "mmse": ("mmse",),
    "cdr": ("cdr_global", "cdr_sb"),
    "logical_memory": ("lm_immediate", "lm_delayed"),
}


@dataclass(frozen=True, slots=True)
class CohortFacts:
    """One cohort; all counts but the last two are of images.

    Attributes:
        images: all of them.
        female, male: by sex.
        ages: youngest and oldest, years; None where none is known.
        education, ses, mmse, cdr, logical_memory: with this field.
        labels: which there are.
        labelled: with one of them; None where the paper does not say.
        subjects, sessions: None where the paper does not say.
    """

    images: int
    female: int
    male: int
    ages: tuple[float, float] | None
    education: int
    ses: int
    mmse: int
    cdr: int
    logical_memory: int
    labels: str
    labelled: int | None = None
    subjects: int | None = None
    sessions: int | None = None


PAPER_COHORTS: Mapping[str, CohortFacts] = {
    "ADNI": CohortFacts(
        10387, 4710, 5677, (45, 95), 9860, 0, 9385, 9401, 7189, "NC, MCI, AD, E/L/S/P-MCI"
    ),
    "NACC": CohortFacts(
        15354, 9058, 6296, (19, 102), 15329, 0, 7867, 15354, 7654, "NC, IMCI, MCI, DEM", 14277
    ),
    OASIS: CohortFacts(3020, 1798, 1222, (18, 98), 2300, 2153, 2293, 2300, 0, "DEM, non-DEM", 336),
    "AIBL": CohortFacts(1002, 471, 531, (42, 96), 0, 0, 1002, 1002, 1002, "NC, MCI, AD", 997),
    "MIRIAD": CohortFacts(708, 393, 315, (55, 87), 0, 0, 268, 46, 0, "NC, AD", 708),
}


def table_1(study: Study) -> Part:
    """The table, as a section of the page."""
    ours = cohorts_of(study)
    columns = tuple(dict.fromkeys([*PAPER_COHORTS, *ours]))
    rows = tuple(
        PartRow(title, tuple(_cell(tell, ours.get(c), PAPER_COHORTS.get(c)) for c in columns))
        for title, tell in ROWS.items()
    )
    numbers = {
        cohort: {"ours": _as_dict(ours.get(cohort)), "paper": _as_dict(PAPER_COHORTS.get(cohort))}
        for cohort in columns
    }
    return Part(KEY, TITLE, NOTE, (PartTable(CAPTION, columns, rows),), numbers=numbers)


def _cell(
    tell: Callable[[CohortFacts], str], ours: CohortFacts | None, paper: CohortFacts | None
) -> PartCell:
    told, printed = (tell(facts) if facts else "" for facts in (ours, paper))
    return PartCell(told or NOTHING, f"paper {printed}" if printed else "")


def _as_dict(facts: CohortFacts | None) -> dict[str, Any] | None:
    return None if facts is None else asdict(facts)


def cohorts_of(study: Study) -> dict[str, CohortFacts]:
    """Count what a study holds, by cohort."""
    rows = study.sessions.merge(study.images, on=list(SESSION_KEY), how="inner", validate="1:m")
    groups = rows.groupby(rows["cohort"].map(_paper_cohort), sort=True)
    return {str(cohort): _counted(group) for cohort, group in groups}


def _paper_cohort(cohort: str) -> str:
    """A study's cohort by the paper's name, where the paper has it."""
    plain = cohort.removeprefix(SIMULATED_PREFIX)
    known = OASIS if plain in (OASIS, "OASIS1", "OASIS2") else plain
    return known if known in PAPER_COHORTS else cohort


def _counted(rows: pd.DataFrame) -> CohortFacts:
    ages = pd.to_numeric(rows["age"][rows["age"] != ""])
    counts = {label: int((rows["diagnosis"] == label).sum()) for label in (*LABELS, OTHER)}
    filled = {
        name: int((rows[list(columns)] != "").any(axis=1).sum()) for name, columns in FIELDS.items()
    }
    return CohortFacts(
        images=len(rows),
        female=int((rows["sex"] == "F").sum()),
        male=int((rows["sex"] == "M").sum()),
        ages=(float(ages.min()), float(ages.max())) if len(ages) else None,
        **filled,
        labels=", ".join(f"{label} {count:,}" for label, count in counts.items() if count),
        labelled=sum(counts.values()) - counts[OTHER],
        subjects=rows["participant_id"].nunique(),
        sessions=len(rows.drop_duplicates(list(SESSION_KEY))),
    )


def _count(name: str) -> Callable[[CohortFacts], str]:
    def tell(facts: CohortFacts) -> str:
        value = getattr(facts, name)
        return "" if value is None else f"{value:,}"

    return tell


def _ages(facts: CohortFacts) -> str:
    return "" if facts.ages is None else " to ".join(f"{age:.0f}" for age in facts.ages)


ROWS: Mapping[str, Callable[[CohortFacts], str]] = {
    "Images": _count("images"),
    "Subjects": _count("subjects"),
    "Sessions": _count("sessions"),
    "Labels": lambda facts: facts.labels,
    "Images with one of NC, MCI, AD": _count("labelled"),
    "Women": _count("female"),
    "Men": _count("male"),
    "Age, years": _ages,
    "With education": _count("education"),
    "With SES": _count("ses"),
    "With MMSE": _count("mmse"),
    "With CDR": _count("cdr"),
    "With logical memory": _count("logical_memory"),
}
