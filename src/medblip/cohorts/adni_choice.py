"""Which of a session's images comes first: the field strength of its phase, then processing.

As Clinica chooses: 1.5 T for those enrolled in ADNI1 and 3 T for all others; a ``Scaled`` image
before an ``N3m`` one before the original, a first scan before its repeat. Clinica's judgement of
originals by the quality ratings of MAYOADIRL_MRI_IMAGEQC is not made here.
"""

from __future__ import annotations

import re

from medblip.cohorts.adni_options import AdniOptions
from medblip.cohorts.loni_names import LoniImage
from medblip.cohorts.loni_series import is_repeat

_SPLIT_TESLA = 2.25  # scanners write 1.494 or 2.89
_REFORMATTED = re.compile(r"MPR_(?:COR|TRA|SAG|AX)", re.IGNORECASE)

SCALED, N3M, ORIGINAL, OTHER_PROCESSED, REFORMATTED = range(5)


def preference(
    image: LoniImage, tesla: str, phase: str, options: AdniOptions
) -> tuple[object, ...]:
    """Sorts the primary image of a session first.

    Args:
        image: one of the session's images.
        tesla: its field strength; empty if not known, which counts as the preferred one.
        phase: the subject was enrolled in, e.g. ``ADNI1``.
        options: with the preferred field strength.
    """
    wanted = options.preferred_tesla.get(phase, options.preferred_tesla.get("", ""))
    other_field = bool(tesla and wanted) and _is_high(tesla) != _is_high(wanted)
    return (
        other_field,
        _processing(image),
        is_repeat(image.series),
        image.day.isoformat() if image.day else "",
        int(image.image_id),
        image.format != "dicom",  # of one image: the slices hold its orientation as scanned
        image.where,
    )


def image_kind(image: LoniImage) -> str:
    """``kind`` of images.tsv."""
    return "registered" if "spatially_normalized" in image.series.lower() else "raw"


def _processing(image: LoniImage) -> int:
    series = image.series.upper()
    if re.search(r"SCALED(?:_[0-9]+)?$", series):
        return SCALED
    if series.endswith("N3M"):
        return N3M
    if _REFORMATTED.search(series):
        return REFORMATTED
    return ORIGINAL if image.original else OTHER_PROCESSED


def _is_high(tesla: str) -> bool:
    return float(tesla) > _SPLIT_TESLA
