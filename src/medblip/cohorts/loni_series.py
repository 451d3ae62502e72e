"""What an image of a LONI download shows, told by the description of its series.

The descriptions are those that Clinica's converters of ADNI and AIBL list; a series that no rule
knows is refused by name, so that it is neither lost nor taken for a head.
"""

from __future__ import annotations

import re
from typing import Literal

from medblip.errors import UsageError

SeriesKind = Literal["t1", "other", "unknown"]

_T1 = re.compile(r"MP_?RAGE|MPR|SPGR|MT1|(?:^|_)T1(?:_|$)")
# Also in the names of T1 derivatives and of T1-like series: these decide before the above.
_NOT_T1 = re.compile(
    r"T2|FLAIR|MASK(?!ED)|ASEG|APARC|LOCALI|SCOUT|SURVEY|FIELD_?MAP|HIPPOCAMP|CALIBRAT|DTI|DWI|FMRI"
)
_OTHER = re.compile(
    r"PD|ASL|PERF|BOLD|RESTING|(?:^|_)RS|PCASL|GRE|SWI|PLANE|(?:^|_)CAL|(?:^|_)LOC|B1|AAHEAD|PHANTOM"
    r"|FDG|PIB|AV45|AV1451|FBB|FLUTE|NAV|MK6240|CO_?REG|DYNAMIC|EMISSION|STATIC|PET"
)


def kind_of(description: str, modality: str = "", t1_series: str = "") -> SeriesKind:
    """Whether a series is a T1-weighted scan.

    Args:
        description: as in the folder's name.
        modality: as in the file's name, e.g. ``MR``; empty if unknown.
        t1_series: pattern of further descriptions that are T1-weighted.
    """
    if t1_series and re.search(t1_series, description):
        return "t1"
    if modality and modality != "MR":
        return "other"
    plain = re.sub(r"[^A-Z0-9]+", "_", description.upper())
    if _NOT_T1.search(plain):
        return "other"
    if _T1.search(plain):
        return "t1"
    return "other" if _OTHER.search(plain) else "unknown"


def check_pattern(t1_series: str) -> None:
    """Raise UsageError unless ``t1_series`` is a regular expression."""
    try:
        re.compile(t1_series)
    except re.error as error:
        problem = f"{t1_series!r} is not a regular expression: {error}"
        raise UsageError("t1_series", problem, "correct it", code="bad-pattern") from None


def is_repeat(description: str) -> bool:
    """Whether a series repeats another of its session (``MPRAGE_Repeat``, ``MPR-R__...``)."""
    plain = re.sub(r"[^A-Z0-9]+", "_", description.upper())
    return bool(re.search(r"REPEAT|(?:^|_)RPT|MPR_R(?:_|$)", plain))
