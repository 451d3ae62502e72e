"""The paper's five evaluation subsets: class-balanced draws from who was never trained on.

The paper draws 200 images of each label. From OASIS-2 or MIRIAD that is possible only when runs and
visits of one subject count as images of their own, so each subset is drawn twice: one session a
subject (``unit: subject``), which intervals over subjects need, and all images (``unit: image``).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pandas as pd

from medblip.errors import InputError, UsageError
from medblip.findings import Finding
from medblip.storage import write_json
from medblip.study.info import SIMULATED_PREFIX
from medblip.study.labels import LABELS
from medblip.study.splits import NEVER_TRAINED, Splits
from medblip.study.study import Example, Study, example_of
from medblip.study.tables import nearest

Unit = Literal["subject", "image"]

SUBSETS_FILE = "subsets.json"
SUBSETS_VERSION = 1
PER_LABEL = 200
UNITS: tuple[Unit, ...] = ("subject", "image")
CONVERTED = (
    "Converted"  # OASIS-2 subjects whose group is told by their future; the paper omits them
)

RULE = (
    "Of the labelled images of the cohorts' test and zero_shot subjects, of each label those with "
    "the smallest SHA-256 of '<seed>:<name>:<participant_id>/<session_id>/<path>', as many as the "
    "rarest label has, at most per_label. Unit subject takes of each subject the primary image of "
    "the first labelled session alone; unit image takes all images of all labelled sessions. "
    "Sessions of converters (diagnosis_detail Converted) are left out."
)


class SubsetPlan(NamedTuple):
    """What a subset is drawn from: cohorts (simulated ones included) and labels."""

    name: str
    cohorts: tuple[str, ...]
    labels: tuple[str, ...]


# OASIS-1 has no labels in the paper, which uses it for pre-training alone.
PAPER_SUBSETS: tuple[SubsetPlan, ...] = (
    SubsetPlan("ADNI-3x200", ("ADNI",), LABELS),
    SubsetPlan("NACC-3x200", ("NACC",), LABELS),
    SubsetPlan("OASIS-2x200", ("OASIS2",), ("NC", "AD")),
    SubsetPlan("AIBL-3x200", ("AIBL",), LABELS),
    SubsetPlan("MIRIAD-2x200", ("MIRIAD",), ("NC", "AD")),
)


@dataclass(frozen=True)
class SubsetImage:
    """One image of a subset; its key in ``images.tsv`` and the label of its session."""

    participant_id: str
    session_id: str
    path: str
    label: str


@dataclass(frozen=True)
class Subset:
    """A named draw.

    Attributes:
        name: as in the paper.
        unit: ``subject`` or ``image``.
        cohorts, labels: what it was drawn from.
        per_label: wanted of each label.
        drawn: got of each label.
        available: labelled images to draw from, by label.
        subjects: how many subjects the images are of.
        images: by label, then subject, session and path.
    """

    name: str
    unit: Unit
    cohorts: tuple[str, ...]
    labels: tuple[str, ...]
    per_label: int
    drawn: int
    available: dict[str, int]
    subjects: int
    images: tuple[SubsetImage, ...]


@dataclass(frozen=True)
class Subsets:
    """``subsets.json`` in memory."""

    seed: int
    subsets: tuple[Subset, ...]
    rule: str = RULE

    def get(self, name: str, unit: Unit) -> Subset:
        """The subset of that name and unit, or UsageError."""
        for subset in self.subsets:
            if (subset.name, subset.unit) == (name, unit):
                return subset
        names = sorted({subset.name for subset in self.subsets})
        fix = nearest(name, names) or f"the study has: {', '.join(names) or 'none'}"
        raise UsageError("subset", f"there is no subset {name} ({unit})", fix, code="no-subset")

    def write(self, path: Path) -> None:
        """Write ``subsets.json``."""
        write_json(
            path,
            {
                "version": SUBSETS_VERSION,
                "seed": self.seed,
                "rule": self.rule,
                "subsets": [asdict(subset) for subset in self.subsets],
            },
        )

    @classmethod
    def read(cls, path: Path) -> Subsets:
        """Read ``subsets.json``; InputError if it is not of this form."""
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
            if value["version"] != SUBSETS_VERSION:
                raise ValueError(f"version {value['version']}, expected {SUBSETS_VERSION}")
            subsets = tuple(_subset(entry) for entry in value["subsets"])
            return cls(int(value["seed"]), subsets, str(value["rule"]))
        except (OSError, ValueError, KeyError, TypeError) as error:
            problem = f"not a list of subsets: {type(error).__name__} {error}"
            fix = "run medblip prepare again"
            raise InputError(path.name, problem, fix, code="bad-subsets") from error


def make_subsets(
    study: Study,
    plans: Sequence[SubsetPlan] = PAPER_SUBSETS,
    *,
    per_label: int = PER_LABEL,
    seed: int = 0,
) -> Subsets:
    """Draw each subset whose cohort is in the study, in both units; independent of row order."""
    rows = _candidates(study)
    plain = rows["cohort"].str.removeprefix(SIMULATED_PREFIX)
    subsets = [
        _draw(plan, unit, rows[plain.isin(plan.cohorts)], per_label, seed)
        for plan in plans
        if plain.isin(plan.cohorts).any()
        for unit in UNITS
    ]
    return Subsets(seed, tuple(subsets))


def check_subsets(subsets: Subsets, splits: Splits, where: str = SUBSETS_FILE) -> None:
    """Raise InputError if a subset holds a subject that is trained or validated on."""
    never = {subject for split in NEVER_TRAINED for subject in splits.subjects[split]}
    for subset in subsets.subsets:
        wrong = {image.participant_id for image in subset.images} - never
        if wrong:
            problem = f"{subset.name} holds {len(wrong)} subject(s) that are not only tested on"
            fix = "the splits were edited: delete this file, or study.json to prepare all anew"
            raise InputError(where, problem, fix, code="subset-in-training")


def small_subsets(subsets: Subsets) -> list[Finding]:
    """A note for each subset that is smaller than in the paper."""
    return [
        Finding(
            "small-subset",
            "note",
            SUBSETS_FILE,
            f"{s.name}, unit {s.unit}: {s.drawn} of each label instead of {s.per_label}, from "
            + ", ".join(f"{label} {count}" for label, count in s.available.items()),
        )
        for s in subsets.subsets
        if s.drawn < s.per_label
    ]


def subset_examples(study: Study, subset: Subset) -> list[Example]:
    """The images of a subset as examples of its study, in the subset's order.

    Raises:
        InputError: the study lacks one of them, or has another label for it.
    """
    rows = study.labelled_images(primary_only=False)
    keys = zip(*(rows[name] for name in _KEY), strict=True)
    found = dict(zip(keys, rows.to_dict("records"), strict=True))
    wanted = [tuple(asdict(image).values()) for image in subset.images]
    missing = sum(key not in found for key in wanted)
    if missing:
        problem = f"{missing} image(s) of {subset.name} are not in the study with that label"
        fix = "the tables were edited: delete study.json and run medblip prepare again"
        raise InputError(SUBSETS_FILE, problem, fix, code="subset-mismatch")
    return [example_of(found[key]) for key in wanted]


def _candidates(study: Study) -> pd.DataFrame:
    """Images of labelled sessions of test and zero-shot subjects, by subject and time."""
    never = {subject for split in NEVER_TRAINED for subject in study.splits.subjects[split]}
    rows = study.labelled_images(primary_only=False)
    return rows[rows["participant_id"].isin(never) & (rows["diagnosis_detail"] != CONVERTED)]


def _draw(plan: SubsetPlan, unit: Unit, rows: pd.DataFrame, per_label: int, seed: int) -> Subset:
    rows = rows[rows["diagnosis"].isin(plan.labels)]
    if unit == "subject":
        rows = rows[rows["primary"] == "true"].drop_duplicates("participant_id")
    available = {label: int((rows["diagnosis"] == label).sum()) for label in plan.labels}
    drawn = min(per_label, *available.values())
    names = rows["participant_id"] + "/" + rows["session_id"] + "/" + rows["path"]
    hashes = [hashlib.sha256(f"{seed}:{plan.name}:{name}".encode()).hexdigest() for name in names]
    order = rows.assign(hash=hashes).sort_values("hash")
    chosen = order.groupby("diagnosis", sort=False).head(drawn)
    images = sorted(
        (SubsetImage(*key) for key in zip(*(chosen[c] for c in _KEY), strict=True)),
        key=lambda image: (plan.labels.index(image.label), *asdict(image).values()),
    )
    cohorts = tuple(sorted(rows["cohort"].unique()))
    subjects = chosen["participant_id"].nunique()
    return Subset(
        plan.name, unit, cohorts, plan.labels, per_label, drawn, available, subjects, tuple(images)
    )


_KEY = ("participant_id", "session_id", "path", "diagnosis")


def _subset(entry: dict[str, Any]) -> Subset:
    images = tuple(SubsetImage(**image) for image in entry["images"])
    listed = {name: tuple(entry[name]) for name in ("cohorts", "labels")}
    return Subset(**{**entry, **listed, "images": images})
