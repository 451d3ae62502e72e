"""What the names of MIRIAD's files and labels say.

The image is named with group and sex (``miriad_188_AD_M_01_MR_2.nii``), the XNAT session's label
without them and without padding (``miriad_188_1_MR_2``). Both give the same key.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from medblip.errors import InputError

_IMAGE = re.compile(
    r"miriad_(?P<subject>[0-9]{3})_(?P<group>AD|HC)_(?P<sex>[MF])_(?P<visit>[0-9]{2})"
    r"_MR_(?P<run>[12])"
)
_LABEL = re.compile(r"miriad_(?P<subject>[0-9]{3})_(?P<visit>[0-9]{1,2})_MR_(?P<run>[12])")
_VISIT = re.compile(r"miriad_(?P<subject>[0-9]{3})_(?P<visit>[0-9]{1,2})(?:_[A-Za-z]+)?")
_SUFFIX = re.compile(r"\.nii(?:\.gz)?$", re.IGNORECASE)


class ScanKey(NamedTuple):
    """Which run of which visit of whom."""

    subject: str
    visit: int
    run: int


class NamedImage(NamedTuple):
    """An image file.

    Attributes:
        path: relative to the download.
        key: from its name, or from the folder it lies in.
        group: AD or HC; empty where only the label is known.
        sex: M or F; empty likewise.
    """

    path: str
    key: ScanKey
    group: str = ""
    sex: str = ""


def is_image(path: str) -> bool:
    """Whether a path is that of a NIfTI file."""
    return _SUFFIX.search(path) is not None


def named_image(path: str) -> NamedImage:
    """What the path of an image says.

    Raises:
        InputError: ``unknown-name``, or ``name-conflict`` where folder and file disagree.
    """
    *folders, name = _SUFFIX.sub("", path).split("/")
    full = _IMAGE.fullmatch(name)
    labels = {_key(m) for part in (*folders, name) if (m := _LABEL.fullmatch(part)) is not None}
    keys = labels | ({_key(full)} if full else set())
    if not keys:
        problem = "the name says neither subject, visit nor run"
        fix = "keep the name it was downloaded with, e.g. miriad_<id>_<AD|HC>_<M|F>_<VV>_MR_<R>.nii"
        raise InputError(path, problem, fix, code="unknown-name")
    if len(keys) > 1:
        said = " and ".join(label_of(key) for key in sorted(keys))
        fix = "move the file to the folder it belongs to"
        raise InputError(path, f"its folder and name say {said}", fix, code="name-conflict")
    (key,) = keys
    return NamedImage(path, key, full["group"] if full else "", full["sex"] if full else "")


def label_key(text: str) -> ScanKey | None:
    """The key of an XNAT session's label; None for another text."""
    match = _LABEL.fullmatch(text) or _IMAGE.fullmatch(text)
    return None if match is None else _key(match)


def visit_key(text: str) -> tuple[str, int] | None:
    """Subject and visit of a clinical record's label, e.g. ``miriad_188_2_MMSE``."""
    match = _VISIT.fullmatch(text)
    return None if match is None else (match["subject"], int(match["visit"]))


def label_of(key: ScanKey) -> str:
    """The XNAT label of a key."""
    return f"miriad_{key.subject}_{key.visit}_MR_{key.run}"


def _key(match: re.Match[str]) -> ScanKey:
    return ScanKey(match["subject"], int(match["visit"]), int(match["run"]))
