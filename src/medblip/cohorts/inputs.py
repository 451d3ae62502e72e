"""What went into a study, as one hash, and whether a folder may be written or is done already."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from medblip.cohorts.dataset import DataSet
from medblip.cohorts.images import ImageSettings
from medblip.errors import InputError, UsageError
from medblip.study.info import SCHEMA_VERSION, StudyInfo
from medblip.study.study import STUDY_FILE, Study
from medblip.volumes.scan_sources import scan_stamp

_OURS = frozenset(
    {
        "study.json",
        "sessions.tsv",
        "images.tsv",
        "splits.json",
        "subsets.json",
        "findings.tsv",
        "repeated_notes.tsv",
        "audit.html",
        "audit.json",
    }
)


class SplitArguments(NamedTuple):
    """What the caller chose about splits and records; see `medblip.cohorts.prepare.prepare`."""

    zero_shot: tuple[str, ...]
    fractions: tuple[float, float, float]
    seed: int
    same_person: tuple[tuple[str, ...], ...] = ()
    drop_label_defining_fields: bool = False


def check_places(sources: Sequence[Path], out: Path, cache: Path) -> None:
    """Raise UsageError unless there is a source, and nothing is written into one."""
    if not sources:
        fix = "name at least one folder"
        raise UsageError("sources", "no data set is given", fix, code="no-source")
    for name, place in (("out", out), ("cache", cache)):
        for root in sources:
            if place.resolve().is_relative_to(root.resolve()):
                problem = f"{place} lies inside the data set {root}, which is never written to"
                raise UsageError(name, problem, "choose another folder", code="writes-to-source")


def fingerprint(
    data_sets: Sequence[DataSet], settings: ImageSettings, arguments: SplitArguments
) -> str:
    """One hash over tables, sidecars, names, sizes and times of images, and all arguments.

    The readers' own settings are part of each data set's ``records_sha256``.

    Images are known by size and time of change here, since hashing them all would take as long as
    preparing them; their own bytes' hashes name the cubes.
    """
    digest = hashlib.sha256()
    check = settings.check
    digest.update(
        _json(
            [
                SCHEMA_VERSION,
                settings.preprocessing.fingerprint(),
                str(settings.cache.resolve()),
                check is not None,
                settings.check_version,
                arguments,
            ]
        )
    )
    for data_set in data_sets:
        facts = [data_set.cohort, str(data_set.root.resolve()), data_set.tables]
        digest.update(_json([*facts, data_set.records_sha256, len(data_set.refused)]))
        for scan in data_set.scans:
            stamp = scan_stamp(data_set.root / scan.path, scan.files)
            digest.update(_json([scan.path, scan.files, scan.assume_orientation, *stamp]))
    return digest.hexdigest()


def find_study(out: Path, mark: str, *, overwrite: bool) -> Study | None:
    """The study in ``out`` if it was made from the same inputs; None if ``out`` may be written.

    Raises:
        UsageError: ``out`` holds a study of other inputs (unless ``overwrite``) or other files.
        InputError: the same study, but a file of it was edited so that it breaks its schema.
    """
    if out.exists() and not out.is_dir():
        problem = "this is a file, expected a folder"
        raise UsageError(str(out), problem, "choose another folder", code="not-a-folder")
    if not out.exists():
        return None
    if not (out / STUDY_FILE).exists():
        _refuse_foreign(out)
        return None
    if _mark_of(out) == mark:
        return Study.load(out)
    if not overwrite:
        problem = "the folder holds a study made from other data or with other arguments"
        fix = "choose another folder, or replace it: --overwrite (overwrite=True)"
        raise UsageError(str(out), problem, fix, code="other-study")
    return None


def _refuse_foreign(out: Path) -> None:
    """A folder without a study may hold what an interrupted call left, and nothing else."""
    foreign = sorted(path.name for path in out.iterdir() if not _is_ours(path.name))
    if foreign:
        problem = f"the folder holds {len(foreign)} other file(s), e.g. {foreign[0]}"
        fix = "choose a new or empty folder"
        raise UsageError(str(out), problem, fix, code="folder-in-use")


def _mark_of(out: Path) -> str:
    try:
        return StudyInfo.read(out / STUDY_FILE).fingerprint
    except InputError:
        return ""  # of another version, or damaged: not the same study


def _is_ours(name: str) -> bool:
    # A killed writer leaves a hidden temporary file; it is no reason to refuse the folder.
    return name in _OURS or (name.startswith(".") and ".part" in name)


def _json(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True).encode()
