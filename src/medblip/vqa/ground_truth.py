"""What is known about each scan of a simulated study: its truth, and what the study says of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from medblip.errors import InputError
from medblip.study.study import Study
from medblip.vqa.truth_tables import TRUTH_FOLDER, Row, state_key, states_of

REGIONS = ("ventricles", "medial_temporal", "cortex")
SKULL_OF_KIND = {"raw": True, "averaged": True, "skull-stripped": False}


class Sides(NamedTuple):
    """A value of each side, left as the subject's own left."""

    left: float
    right: float


@dataclass(frozen=True, slots=True)
class Scan:
    """One simulated scan and the truth about it.

    Attributes:
        participant_id, session_id: as in the study's ``sessions.tsv``.
        age: years at the scan.
        diagnosis: CN, MCI or AD; a replica also has IMCI (impaired, not MCI).
        mean_mm: by region, mean displacement of its tissue in mm against the template; positive
            is loss of tissue (for the ventricles, growth), negative the opposite.
        skull: whether skull and scalp are in the image; None where it is not known.
        sides_mm: as ``mean_mm``, of each side; empty where people lose the same on both.
    """

    participant_id: str
    session_id: str
    age: float
    diagnosis: str
    mean_mm: Mapping[str, float]
    skull: bool | None
    sides_mm: Mapping[str, Sides] = field(default_factory=dict)


def read_scans(study: Study, simulated: Path | None = None) -> tuple[Scan, ...]:
    """The labelled sessions of a study that the truth knows, by subject and session.

    Sessions without an age are left out. The image is the session's primary one.

    Args:
        study: prepared from simulated data.
        simulated: the folder that ``medblip simulate`` wrote, where it is no longer at the place
            that ``study.json`` names.

    Raises:
        InputError: there is no truth, none of the study's sessions, or a row lacks a number.
    """
    states = states_of(study, simulated)
    if not states:
        place = simulated or study.folder
        problem = f"no table in {TRUTH_FOLDER} tells the truth about its scans"
        fix = "give the folder that medblip simulate wrote"
        raise InputError(place.name, problem, fix, code="no-ground-truth")
    # Where preparing took skulls off, that is known of no single scan.
    skull_of = {} if study.info.preprocessing.parameters.get("strip") else SKULL_OF_KIND
    scans = []
    for row in study.labelled_images().to_dict("records"):
        key = (row["participant_id"], row["session_id"])
        state = states.get(state_key(*key))
        if state is not None and row["age"]:
            scans.append(_scan(key, float(row["age"]), state, skull_of.get(row["kind"])))
    if not scans:
        problem = f"none of its {len(states)} scans is in the study"
        fix = "give the folder that the study was prepared from"
        raise InputError((simulated or study.folder).name, problem, fix, code="other-scans")
    return tuple(sorted(scans, key=lambda scan: (scan.participant_id, scan.session_id)))


def _scan(key: tuple[str, str], age: float, state: Row, skull: bool | None) -> Scan:
    try:
        return Scan(
            *key,
            age=age,
            diagnosis=state["status"] if "status" in state else state["diagnosis"],
            mean_mm={region: float(state[f"{region}_mean_mm"]) for region in REGIONS},
            skull=skull,
            sides_mm=_sides(state),
        )
    except (KeyError, ValueError) as error:
        problem = f"a column is missing or holds no number: {error}"
        place = f"{TRUTH_FOLDER}, {' '.join(key)}"
        raise InputError(place, problem, "simulate again", code="bad-ground-truth") from error


def _sides(state: Row) -> Mapping[str, Sides]:
    if f"{REGIONS[0]}_left_mean_mm" not in state:
        return {}
    return {
        region: Sides(*(float(state[f"{region}_{side}_mean_mm"]) for side in Sides._fields))
        for region in REGIONS
    }
