"""Which files of a BIDS folder are T1-weighted scans, and what stands beside them.

Folders are listed, never joined from the cells of a table, and nothing outside the data set's root
is opened: not through a link, not through ``..``.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medblip.errors import InputError
from medblip.findings import Finding

NO_SESSION = "single"  # the session of a data set without ses- folders
MAX_SIDECAR_BYTES = 1 << 20

_SUBJECT = re.compile(r"sub-[A-Za-z0-9]+")
_SESSION = re.compile(r"ses-[A-Za-z0-9]+")
_T1W = re.compile(
    r"(?P<sub>sub-[A-Za-z0-9]+)_(?:(?P<ses>ses-[A-Za-z0-9]+)_)?"
    r"(?P<entities>(?:[a-z]+-[A-Za-z0-9]+_)*)T1w\.nii(?:\.gz)?"
)


@dataclass(frozen=True)
class ImageFile:
    """One T1-weighted image of a session, by its name only."""

    path: Path
    relative: str
    run: int
    entities: dict[str, str]

    @property
    def preference(self) -> tuple[int, int, str]:
        """Sorts the primary image of a session first.

        A plain name goes before one with ``acq-``, ``rec-`` or other entities, then the lower
        run, then the name.
        """
        others = len(self.entities.keys() - {"run"})
        return (others, self.run, self.relative)


@dataclass
class SubjectFiles:
    """A subject's folder: its scans by session, and what may not be opened.

    ``outside`` is true for a folder that leads outside the data set; it was not looked into.
    """

    label: str
    folder: Path
    outside: bool = False
    sessions: dict[str, list[ImageFile]] = field(default_factory=dict)
    refused: list[Finding] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)


def subjects(root: Path) -> Iterator[SubjectFiles]:
    """Walk the subjects of a data set by name."""
    real_root = root.resolve()
    for folder in sorted(root.iterdir()):
        if not _SUBJECT.fullmatch(folder.name) or not folder.is_dir():
            continue
        files = SubjectFiles(folder.name, folder)
        if _inside(folder, real_root):
            _list_sessions(files, root, real_root)
        else:
            files.outside = True
            files.findings.append(_outside(folder.name))
        yield files


def table_inside(path: Path, root: Path) -> Path | None:
    """``path`` if there is such a file and it lies inside ``root``; None if there is none.

    Raises:
        InputError: it leads outside.
    """
    if not path.is_file():
        return None
    if not _inside(path, root.resolve()):
        outside = _outside(path.name)
        raise InputError(outside.where, outside.problem, outside.fix, code=outside.code)
    return path


def sidecar(image: ImageFile, root: Path) -> dict[str, Any]:
    """The JSON beside an image, over the data set's own ``T1w.json``; empty if there is none.

    Raises:
        InputError: a sidecar is not JSON, too large, or leads outside the data set.
    """
    stem = image.path.name.removesuffix(".gz").removesuffix(".nii")
    beside = image.path.with_name(f"{stem}.json")
    return {**read_json(root / "T1w.json", root), **read_json(beside, root)}


def read_json(path: Path, root: Path) -> dict[str, Any]:
    """A JSON object inside ``root``, or ``{}`` if there is no such file.

    Raises:
        InputError: ``bad-json``, ``outside-root`` or ``file-too-large``.
    """
    found = table_inside(path, root)
    if found is None:
        return {}
    if found.stat().st_size > MAX_SIDECAR_BYTES:
        problem = f"more than {MAX_SIDECAR_BYTES} bytes, expected a small JSON object"
        raise InputError(path.name, problem, code="file-too-large")
    try:
        value = json.loads(found.read_text(encoding="utf-8-sig"), parse_constant=_refuse_constant)
    except (OSError, ValueError, RecursionError) as error:
        problem = f"not readable as JSON: {error}"
        raise InputError(path.name, problem, "correct it or remove it", code="bad-json") from None
    if not isinstance(value, dict):
        problem = "expected a JSON object with names and values"
        raise InputError(path.name, problem, "correct it or remove it", code="bad-json")
    return value


def _list_sessions(files: SubjectFiles, root: Path, real_root: Path) -> None:
    try:
        _add_sessions(files, root, real_root)
    except OSError as error:
        problem = f"a folder of it cannot be listed: {error.strerror or type(error).__name__}"
        fix = "check the permissions"
        files.findings.append(Finding("unreadable-folder", "error", files.label, problem, fix))


def _add_sessions(files: SubjectFiles, root: Path, real_root: Path) -> None:
    for folder in [files.folder, *sorted(files.folder.iterdir())]:
        is_session = bool(_SESSION.fullmatch(folder.name))
        if folder != files.folder and not (is_session and folder.is_dir()):
            continue
        anat = folder / "anat"
        if not _inside(anat, real_root):
            files.findings.append(_outside(anat.relative_to(root).as_posix()))
        elif anat.is_dir():
            session = folder.name if is_session else NO_SESSION
            _add_images(files, session, anat, root, real_root)


def _add_images(files: SubjectFiles, session: str, anat: Path, root: Path, real_root: Path) -> None:
    images = []
    for path in sorted(anat.iterdir()):
        match = _T1W.fullmatch(path.name)
        if match is None:
            continue
        relative = path.relative_to(root).as_posix()
        if match["sub"] != files.label or (match["ses"] or NO_SESSION) != session:
            problem = f"the name does not belong to {files.label}, session {session}"
            fix = "rename it, or move it to the folder it belongs to"
            files.refused.append(Finding("misplaced-image", "error", relative, problem, fix))
        elif not _inside(path, real_root):
            files.refused.append(_outside(relative))
        else:
            images.append(_image(path, relative, match["entities"]))
    if images:
        files.sessions[session] = sorted(images, key=lambda image: image.preference)


def _image(path: Path, relative: str, text: str) -> ImageFile:
    entities = dict(part.split("-", 1) for part in text.split("_") if part)
    run = entities.get("run", "1")
    return ImageFile(path, relative, int(run) if run.isdecimal() and int(run) else 1, entities)


def _inside(path: Path, real_root: Path) -> bool:
    # A broken link resolves to where it points; it is judged by that.
    return Path(os.path.realpath(path)).is_relative_to(real_root)


def _outside(relative: str) -> Finding:
    problem = "it leads outside the data set's folder and was not opened"
    fix = "copy the file into the data set"
    return Finding("outside-root", "error", relative, problem, fix)


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not a JSON number")
