"""What a study holds beside Table 1 of the paper, for the cohorts that the paper used."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd

from medblip.study.info import SIMULATED_PREFIX

# Table 1 of the paper. Counts are images; NACC and OASIS have labels of other kinds than ours.
PAPER: dict[str, dict[str, str]] = {
    "ADNI": {
        "images": "10387",
        "female": "4710",
        "male": "5677",
        "age": "45-95",
        "with education": "9860",
        "with SES": "0",
        "with MMSE": "9385",
        "with CDR": "9401",
        "with logical memory": "7189",
        "labels": "NC, MCI, AD, E/L/S/P-MCI",
    },
    "NACC": {
        "images": "15354",
        "female": "9058",
        "male": "6296",
        "age": "19-102",
        "with education": "15329",
        "with SES": "0",
        "with MMSE": "7867",
        "with CDR": "15354",
        "with logical memory": "7654",
        "labels": "NC, IMCI, MCI, DEM (14277)",
    },
    "OASIS": {
        "images": "3020",
        "female": "1798",
        "male": "1222",
        "age": "18-98",
        "with education": "2300",
        "with SES": "2153",
        "with MMSE": "2293",
        "with CDR": "2300",
        "with logical memory": "0",
        "labels": "DEM, non-DEM (336)",
    },
    "AIBL": {
        "images": "1002",
        "female": "471",
        "male": "531",
        "age": "42-96",
        "with education": "0",
        "with SES": "0",
        "with MMSE": "1002",
        "with CDR": "1002",
        "with logical memory": "1002",
        "labels": "NC, MCI, AD (997)",
    },
    "MIRIAD": {
        "images": "708",
        "female": "393",
        "male": "315",
        "age": "55-87",
        "with education": "0",
        "with SES": "0",
        "with MMSE": "268",
        "with CDR": "46",
        "with logical memory": "0",
        "labels": "NC, AD (708)",
    },
}


@dataclass(frozen=True)
class PaperCount:
    """One row of Table 1, as it is here and in the paper."""

    cohort: str
    what: str
    here: str
    paper: str


def paper_cohort(cohort: str) -> str:
    """The paper's name of a cohort: both OASIS are one, and ``SIM-`` is left off; else empty."""
    plain = cohort.removeprefix(SIMULATED_PREFIX)
    name = "OASIS" if plain in ("OASIS1", "OASIS2") else plain
    return name if name in PAPER else ""


def paper_counts(sessions: pd.DataFrame, images: pd.DataFrame) -> list[PaperCount]:
    """Images of the study by cohort of the paper, counted as its Table 1 counts them.

    A MIRIAD score that the paper counts once a visit is counted here for each image of the visit.
    """
    rows = images.merge(sessions, on=["participant_id", "session_id"], how="inner", validate="m:1")
    named = rows["cohort"].map(paper_cohort)
    return [
        PaperCount(cohort, what, count(group), told)
        for cohort, table in PAPER.items()
        if len(group := rows[named == cohort])
        for what, told in table.items()
        for count in (_COUNTS[what],)
    ]


def _known(*fields: str) -> Callable[[pd.DataFrame], str]:
    return lambda rows: str(int((rows[list(fields)] != "").any(axis=1).sum()))


def _equal(field: str, value: str) -> Callable[[pd.DataFrame], str]:
    return lambda rows: str(int((rows[field] == value).sum()))


def _ages(rows: pd.DataFrame) -> str:
    ages = pd.to_numeric(rows["age"], errors="coerce").dropna()
    return f"{int(ages.min())}-{int(ages.max())}" if len(ages) else ""


def _labels(rows: pd.DataFrame) -> str:
    counts = rows.loc[rows["diagnosis"] != "", "diagnosis"].value_counts()
    told = [f"{name} {counts[name]}" for name in ("NC", "MCI", "AD", "OTHER") if name in counts]
    return ", ".join(told)


_COUNTS: dict[str, Callable[[pd.DataFrame], str]] = {
    "images": lambda rows: str(len(rows)),
    "female": _equal("sex", "F"),
    "male": _equal("sex", "M"),
    "age": _ages,
    "with education": _known("education_years", "education_code"),
    "with SES": _known("ses"),
    "with MMSE": _known("mmse"),
    "with CDR": _known("cdr_global"),
    "with logical memory": _known("lm_immediate", "lm_delayed"),
    "labels": _labels,
}
