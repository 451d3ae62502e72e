"""What OASIS-1 and OASIS-2 share: Analyze pairs without orientation, and the tables' volumes.

Analyze files hold no orientation: the voxel axes of raw and averaged images grow to anterior,
superior and left, those of the registered ones to left, anterior and superior.
"""

from __future__ import annotations

from dataclasses import replace

from medblip.simulate.image_files import AnalyzePair
from medblip.simulate.people import CDR, Person, Visit
from medblip.simulate.pictures import Acquisition, acquisition, protocol
from medblip.simulate.truth import number

RAW = protocol("Vision", "ASL", (256, 256, 128), (1.0, 1.0, 1.25), tesla=1.5, noise=0.05)
AVERAGED = protocol("Vision", "ASL", (256, 256, 160), (1.0, 1.0, 1.0), tesla=1.5, noise=0.05)
ATLAS = protocol("Vision", "LAS", (176, 208, 176), (1.0, 1.0, 1.0), tesla=1.5, noise=0.05)
MASKED = protocol(
    "Vision", "LAS", (176, 208, 176), (1.0, 1.0, 1.0), tesla=1.5, noise=0.05, stripped=True
)

FEMALE = 1798 / 3020
STATUS_CDR = {**CDR, "AD": ("0.5",) * 7 + ("1",) * 3}  # 70 of 100 demented are very mildly so
_ATLAS_ML = 1755.0  # ASF is the atlas's volume over the head's


def pair(scan: Acquisition, scale: float, path: str, *, labels: bool = False) -> AnalyzePair:
    """The image at the order's scale."""
    scaled = replace(scan, protocol=scan.protocol.scaled(scale))
    return AnalyzePair(path, scaled, labels=labels)


def raw_run(person: Person, visit: Visit, run: int) -> Acquisition:
    return acquisition(person, visit, RAW, run)


def volumes(person: Person, visit: Visit) -> dict[str, str]:
    """``eTIV``, ``nWBV`` and ``ASF``, which nobody reads, with plausible values."""
    intracranial = 1400.0 + 250.0 * (person.seed[-1] % 7) / 6 + (100.0 if person.sex == "M" else 0)
    brain = 0.78 - 0.018 * max(visit.severity, 0.0) - 0.02 * visit.age_deviation
    return {
        "eTIV": f"{intracranial:.0f}",
        "nWBV": f"{brain:.3f}",
        "ASF": f"{_ATLAS_ML / intracranial:.3f}",
    }


def fields(person: Person, visit: Visit) -> dict[str, str]:
    """What both cohorts' rows of ``sessions.tsv`` say."""
    cdr = visit.scores.get("cdr_global", "")
    diagnosis = {"": "", "0": "NC"}.get(cdr, "AD")
    return {
        "age": number(int(visit.age)),
        "sex": person.sex,
        "ses": person.ses,
        "mmse": visit.scores.get("mmse", ""),
        "cdr_global": cdr,
        "diagnosis": diagnosis,
        "diagnosis_source": f"CDR={cdr}" if diagnosis else "",
        "field_strength_t": "1.5",
    }
