"""What a user may set about reading ADNI; each default that no source confirms is named so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from medblip.cohorts.loni_series import check_pattern
from medblip.cohorts.visits import WINDOW_DAYS, check_window


@dataclass(frozen=True)
class AdniOptions:
    """Settings of `medblip.cohorts.adni.read_adni`.

    Attributes:
        window_days: most days between a scan and the visit that speaks for it, at most 182.
        diagnoses: texts of ADNIMERGE's ``DX`` and the label each stands for.
        t1_series: pattern of series descriptions that are T1-weighted besides the known ones.
        five_digit_ids: whether a PTID may end in five digits, as ADNI4's are thought to (its
            RIDs start at 10000). **Unverified**; used with a note.
        max_education_years: ``PTEDUCAT`` above it is out of range. **Unverified**; used with a
            note.
        preferred_tesla: field strength that is preferred in each phase a subject was enrolled in
            (``ORIGPROT``); ``""`` for all others.

    Raises:
        UsageError: a window or a pattern that cannot be used.
    """

    window_days: int = WINDOW_DAYS
    diagnoses: Mapping[str, str] = field(
        default_factory=lambda: {"CN": "NC", "MCI": "MCI", "Dementia": "AD"}
    )
    t1_series: str = ""
    five_digit_ids: bool = True
    max_education_years: int = 20
    preferred_tesla: Mapping[str, str] = field(default_factory=lambda: {"ADNI1": "1.5", "": "3"})

    def __post_init__(self) -> None:
        check_window(self.window_days)
        check_pattern(self.t1_series)
