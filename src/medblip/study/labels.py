"""The three labels, the sentence each is answered with, and the exact names sources use."""

from __future__ import annotations

from typing import Literal

from medblip.errors import InputError

Label = Literal["NC", "MCI", "AD"]

LABELS: tuple[Label, ...] = ("NC", "MCI", "AD")
OTHER = "OTHER"  # a diagnosis that is none of the three; kept, never trained on

QUESTION = "What will this subject be diagnosed with?"
ANSWERS: dict[Label, str] = {
    "NC": "not demented",
    "MCI": "mild cognitive impairment",
    "AD": "dementia",
}

# Exact names only. A name that merely contains another (EMCI, NonDemented) is not that other.
DIAGNOSES: dict[str, str] = {
    "CN": "NC",
    "NC": "NC",
    "MCI": "MCI",
    "AD": "AD",
    "Dementia": "AD",
    "OTHER": OTHER,
}


def label_of(diagnosis: str, where: str) -> str:
    """The label (or ``OTHER``) that a source's diagnosis stands for.

    Raises:
        InputError: the name is not in `DIAGNOSES`.
    """
    if diagnosis not in DIAGNOSES:
        raise InputError(
            where,
            f"diagnosis is {diagnosis!r}, expected one of {', '.join(DIAGNOSES)}",
            "write one of these, or n/a for a session without a diagnosis",
            code="unknown-diagnosis",
        )
    return DIAGNOSES[diagnosis]
