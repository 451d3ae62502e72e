"""What a user may set about reading NACC; each default that no source confirms is named so."""

from __future__ import annotations

from dataclasses import dataclass

from medblip.errors import UsageError

WINDOW_DAYS = 182  # half a year, as in published NACC scripts


@dataclass(frozen=True)
class NaccOptions:
    """Settings of `medblip.cohorts.nacc.read_nacc`.

    Attributes:
        ad_only: whether dementia is AD only where its primary cause is Alzheimer's disease
            (``NACCETPR`` 1; ``NACCALZD`` 1 where that column is absent). Other dementia is OTHER
            then. By default any dementia is AD, as in the paper.
        window_days: most days between a scan and the UDS visit that speaks for it, at most 182.
        nifti_mark: what the NIfTI zip's name has before ``.zip`` that ``NACCMRFI`` has not:
            ``mri1234ni.zip`` for ``mri1234.zip``. **Unverified**; used with a note.

    Raises:
        UsageError: the window is negative or wider than ``match_days`` can say.
    """

    ad_only: bool = False
    window_days: int = WINDOW_DAYS
    nifti_mark: str = "ni"

    def __post_init__(self) -> None:
        if not 0 <= self.window_days <= WINDOW_DAYS:
            problem = f"window_days is {self.window_days}, expected 0 to {WINDOW_DAYS}"
            raise UsageError("window_days", problem, "choose a narrower one", code="bad-window")
