"""What a user may set about reading AIBL; each default that no source confirms is named so."""

from __future__ import annotations

from dataclasses import dataclass

from medblip.cohorts.loni_series import check_pattern
from medblip.cohorts.visits import WINDOW_DAYS, check_window


@dataclass(frozen=True)
class AiblOptions:
    """Settings of `medblip.cohorts.aibl.read_aibl`.

    Attributes:
        window_days: most days between a scan and its visit, at most 182.
        no_label_codes: values of ``DXCURREN`` that give no label. 7 was met and its meaning is
            not known. **Unverified**; used with a note.
        junk_folders: folders among the subjects' that are no subject's.
        t1_series: pattern of series descriptions that are T1-weighted besides the known ones.

    Raises:
        UsageError: a window or a pattern that cannot be used.
    """

    window_days: int = WINDOW_DAYS
    no_label_codes: tuple[str, ...] = ("7",)
    junk_folders: tuple[str, ...] = ("0151083",)
    t1_series: str = ""

    def __post_init__(self) -> None:
        check_window(self.window_days)
        check_pattern(self.t1_series)
