"""A study folder in memory: checked once when it is loaded, trusted afterwards."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from medblip.errors import InputError, UsageError
from medblip.study.info import StudyInfo
from medblip.study.label_defining import without_label_defining
from medblip.study.labels import Label
from medblip.study.order import in_order, labelled
from medblip.study.record import FIELDS
from medblip.study.schema import (
    IMAGE_KEY,
    SESSION_KEY,
    check_images,
    check_sessions,
    require,
)
from medblip.study.splits import SPLITS, SplitName, Splits, check_splits
from medblip.study.tables import nearest, read_table

SESSIONS_FILE = "sessions.tsv"
IMAGES_FILE = "images.tsv"
SPLITS_FILE = "splits.json"
FINDINGS_FILE = "findings.tsv"
REPEATED_FILE = "repeated_notes.tsv"
STUDY_FILE = "study.json"
AUDIT_FILE = "audit.html"
AUDIT_JSON_FILE = "audit.json"


@dataclass(frozen=True)
class Example:
    """One session with a label and its primary image.

    Attributes:
        participant_id, session_id: key of the session.
        cohort, site: where it was scanned; ``site`` may be empty.
        fields: record values as text, those of `medblip.study.record.FIELDS`; absent = missing.
        label: the diagnosis at this session.
        cube: file name in the volume cache.
        image: path of the image relative to its data set.
    """

    participant_id: str
    session_id: str
    cohort: str
    site: str
    fields: dict[str, str]
    label: Label
    cube: str
    image: str


@dataclass(frozen=True)
class Study:
    """What `prepare` wrote.

    Attributes:
        folder: the study folder.
        info: ``study.json``.
        sessions: ``sessions.tsv``, text, one row per session.
        images: ``images.tsv``, text, one row per image.
        splits: ``splits.json``.
    """

    folder: Path
    info: StudyInfo
    sessions: pd.DataFrame
    images: pd.DataFrame
    splits: Splits

    @classmethod
    def load(cls, folder: Path) -> Study:
        """Read and check a study folder, which may have been edited by hand.

        Raises:
            InputError: the folder is not complete, of another version, or a file breaks its
                schema; a subject is on two sides; an image belongs to no session.
        """
        return cls.assemble(Path(folder), StudyInfo.read(Path(folder) / STUDY_FILE))

    @classmethod
    def assemble(cls, folder: Path, info: StudyInfo) -> Study:
        """As `load`, with ``study.json`` given: it is written when all else has been checked."""
        sessions = read_table(folder / SESSIONS_FILE, key=SESSION_KEY)
        require(check_sessions(sessions, SESSIONS_FILE))
        images = read_table(folder / IMAGES_FILE, key=IMAGE_KEY)
        require(check_images(images, IMAGES_FILE))
        _check_owners(images, sessions)
        splits = Splits.read(folder / SPLITS_FILE)
        check_splits(splits, sessions, SPLITS_FILE)
        return cls(folder, info, sessions, images, splits)

    def examples(
        self, split: SplitName, sessions: Literal["all", "first"] = "all"
    ) -> list[Example]:
        """The labelled sessions of a split, by subject and time.

        Args:
            split: ``train``, ``validation``, ``test`` or ``zero_shot``.
            sessions: ``first`` keeps each subject's earliest labelled session with an image.

        Raises:
            UsageError: there is no such split or choice.
        """
        _check_choice("split", split, SPLITS)
        _check_choice("sessions", sessions, ("all", "first"))
        rows = self.labelled_images()
        rows = rows[rows["participant_id"].isin(set(self.splits.subjects[split]))]
        if sessions == "first":
            rows = rows.drop_duplicates("participant_id")
        return [example_of(row) for row in rows.to_dict("records")]

    def labelled_images(self, primary_only: bool = True) -> pd.DataFrame:
        """Labelled sessions joined with their primary image or all images, by subject and time.

        Where the study leaves out label-defining fields, they are empty here.
        """
        images = self.images[self.images["primary"] == "true"] if primary_only else self.images
        rows = labelled(self.sessions).merge(
            images, on=list(SESSION_KEY), how="inner", validate="1:m"
        )
        if self.info.drop_label_defining_fields:
            rows = without_label_defining(rows)
        return in_order(rows)

    def dropping_label_defining_fields(self, drop: bool = True) -> Study:
        """This study with records that lack the fields that defined each session's label.

        ``drop=False`` leaves the study as it is; what it was prepared with stays.
        """
        if not drop:
            return self
        return replace(self, info=self.info.model_copy(update={"drop_label_defining_fields": True}))


def example_of(row: dict[Hashable, Any]) -> Example:
    """The example that a row of `Study.labelled_images` stands for."""
    return Example(
        participant_id=row["participant_id"],
        session_id=row["session_id"],
        cohort=row["cohort"],
        site=row["site"],
        fields={name: row[name] for name in FIELDS if row[name]},
        label=row["diagnosis"],
        cube=row["cube"],
        image=row["path"],
    )


def _check_owners(images: pd.DataFrame, sessions: pd.DataFrame) -> None:
    key = list(SESSION_KEY)
    known = pd.MultiIndex.from_frame(sessions[key])
    orphans = ~pd.MultiIndex.from_frame(images[key]).isin(known)
    if orphans.any():
        raise InputError(
            f"{IMAGES_FILE} line {images.index[orphans][0]}",
            f"{int(orphans.sum())} image(s) belong to no session of {SESSIONS_FILE}",
            "add the session or remove the image",
            code="image-without-session",
        )


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        fix = nearest(value, choices) or f"expected one of {', '.join(choices)}"
        raise UsageError(name, f"{value!r} is not a {name}", fix, code="unknown-choice")
