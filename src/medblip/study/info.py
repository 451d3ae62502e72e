"""``study.json``: where a study came from, how it was made, and how much is in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import BaseModel, ConfigDict, ValidationError

from medblip.errors import InputError
from medblip.notice import SIMULATED_DATA
from medblip.storage import write_json

SCHEMA_VERSION = 1
SIMULATED_PREFIX = "SIM-"
NO_DIAGNOSIS = "none"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Source(_Strict):
    """One data set that went in.

    Attributes:
        cohort: its name, the first part of each ``participant_id``.
        path: where it lay; images are read from there by their relative path.
        tables: SHA-256 of its top-level tables by file name.
        records_sha256: one hash over all tables and sidecars of all subjects.
        scans: T1-weighted images found.
    """

    cohort: str
    path: str
    tables: dict[str, str]
    records_sha256: str
    scans: int


class Count(_Strict):
    """How many subjects, sessions and images one cohort has with one diagnosis."""

    cohort: str
    diagnosis: str
    subjects: int
    sessions: int
    images: int


class PreprocessingInfo(_Strict):
    """Fingerprint and parameters of what made the cubes."""

    fingerprint: str
    parameters: dict[str, Any]


class StudyInfo(_Strict):
    """The whole of ``study.json``, written last: a folder without it is not complete.

    Attributes:
        schema_version: of all files of the folder.
        created_by: program and version.
        simulated: whether any cohort's name starts with ``SIM-``.
        fingerprint: of the sources and arguments; the same one means nothing needs redoing.
        cache: folder the cubes were written to.
        scans_found, scans_used, scans_skipped: ``found == used + skipped``.
        drop_label_defining_fields: whether records lack the fields that defined the label.
    """

    schema_version: int
    created_by: str
    simulated: bool
    fingerprint: str
    sources: tuple[Source, ...]
    preprocessing: PreprocessingInfo
    cache: str
    scans_found: int
    scans_used: int
    scans_skipped: int
    counts: tuple[Count, ...]
    drop_label_defining_fields: bool = False

    def write(self, path: Path) -> None:
        write_json(path, self.model_dump(mode="json"))

    @classmethod
    def read(cls, path: Path) -> StudyInfo:
        """Read ``study.json``.

        Raises:
            InputError: ``not-a-study``, ``schema-version`` or ``bad-study``.
        """
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            problem = f"there is no readable {path.name}, so this is not a complete study"
            fix = "run medblip prepare, which writes it last"
            raise InputError(path.parent.name, problem, fix, code="not-a-study") from None
        try:
            info = cls.model_validate_json(text)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            field = ".".join(str(part) for part in first["loc"]) or "the file"
            problem = f"{field}: {first['msg']}"
            fix = "run medblip prepare again"
            raise InputError(path.name, problem, fix, code="bad-study") from None
        if info.schema_version != SCHEMA_VERSION:
            problem = f"schema version {info.schema_version}, expected {SCHEMA_VERSION}"
            fix = "run medblip prepare again with this version"
            raise InputError(path.name, problem, fix, code="schema-version")
        return info


_README_START = 4096  # characters


def is_simulated(cohorts: set[str]) -> bool:
    """Whether any cohort is a simulated one."""
    return any(cohort.startswith(SIMULATED_PREFIX) for cohort in cohorts)


def says_simulated(root: Path) -> bool:
    """Whether a data set's own README says so, as those that `medblip simulate` writes do."""
    for name in ("README.txt", "README"):
        try:
            with (root / name).open(encoding="utf-8", errors="replace") as file:
                if SIMULATED_DATA in file.read(_README_START):
                    return True
        except OSError:
            continue
    return False


def count(sessions: pd.DataFrame, images: pd.DataFrame) -> tuple[Count, ...]:
    """Subjects, sessions and images by cohort and diagnosis of the session.

    A subject whose diagnosis changes is counted under each.
    """
    if sessions.empty:
        return ()
    key = ["participant_id", "session_id"]
    per_session = images.groupby(key, as_index=False).size()
    table = sessions.merge(per_session, on=key, how="left", validate="1:1")
    table = table.assign(diagnosis=table["diagnosis"].replace("", NO_DIAGNOSIS))
    return tuple(
        Count(
            cohort=str(cohort),
            diagnosis=str(diagnosis),
            subjects=int(rows["participant_id"].nunique()),
            sessions=len(rows),
            images=int(rows["size"].fillna(0).sum()),
        )
        for (cohort, diagnosis), rows in table.groupby(["cohort", "diagnosis"], sort=True)
    )
