"""What the file names of OASIS-1, Neurite-OASIS and OASIS-2 say of an image.

The raw and averaged images are Analyze files, whose header has no orientation: their voxel axes
grow to anterior, superior and left, where a reader that trusts the format's default turns every
head. The registered ones grow to left, anterior and superior.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

_ANALYZE = (".hdr", ".img")
IMAGE_SUFFIXES = (*_ANALYZE, ".nii", ".nii.gz")

_OWN_SPACE = "ASL"
_ATLAS_SPACE = "LAS"

_OASIS1 = re.compile(
    r"(?P<session>OAS1_[0-9]{4}_MR[0-9])_mpr"
    r"(?:-(?P<run>[0-9])_anon|_n[0-9]_anon_(?P<space>sbj_111|111_t88_gfc|111_t88_masked_gfc))",
    re.IGNORECASE,
)
_LABEL_MAP = re.compile(r".*_fseg|(?:aligned_)?seg(?:4|24|35)(?:_.*)?", re.IGNORECASE)
_NEURITE_FOLDER = re.compile(r"OASIS_(?P<session>OAS1_[0-9]{4}_MR[0-9])", re.IGNORECASE)
_OASIS2_FOLDER = re.compile(r"OAS2_[0-9]{4}_MR[0-9]+", re.IGNORECASE)
_OASIS2_RUN = re.compile(r"mpr-(?P<run>[0-9]+)(?:\.nifti)?", re.IGNORECASE)

# Part of the name -> kind and orientation. Masked images are also in atlas space.
_SPACES = {
    "sbj_111": ("averaged", _OWN_SPACE),
    "111_t88_gfc": ("registered", _ATLAS_SPACE),
    "111_t88_masked_gfc": ("skull-stripped", _ATLAS_SPACE),
}


class Named(NamedTuple):
    """What a name says.

    Attributes:
        session: e.g. ``OAS1_0001_MR1``; empty for an image that is no scan.
        kind: as in ``images.tsv``.
        run: number of the run; 1 for an image made from several.
        orientation: how the voxel axes grow; empty where the file says it.
        neurite: whether it is one of Neurite-OASIS.
    """

    session: str
    kind: str = "raw"
    run: int = 1
    orientation: str = ""
    neurite: bool = False


NameRule = Callable[[str, str], Named | None]  # (path without suffix, suffix) -> what it says


def oasis1_rule(neurite_kinds: Mapping[str, str]) -> NameRule:
    """The rule for OASIS-1 and Neurite-OASIS; None for an image of no known name."""

    def rule(stem: str, suffix: str) -> Named | None:
        *folders, name = stem.split("/")
        if _LABEL_MAP.fullmatch(name):
            return Named("")
        match = _OASIS1.fullmatch(name)
        if match is not None and suffix in _ANALYZE:
            session = match["session"].upper()
            if match["run"]:
                return Named(session, "raw", int(match["run"]), _OWN_SPACE)
            kind, orientation = _SPACES[match["space"].lower()]
            return Named(session, kind, 1, orientation)
        folder = _NEURITE_FOLDER.fullmatch(folders[-1]) if folders else None
        if folder is not None and name in neurite_kinds and suffix not in _ANALYZE:
            return Named(folder["session"].upper(), neurite_kinds[name], neurite=True)
        return None

    return rule


def oasis2_rule(stem: str, suffix: str) -> Named | None:
    """The rule for OASIS-2: the folder names the session, ``mpr-<run>`` the run."""
    *folders, name = stem.split("/")
    sessions = [folder for folder in folders if _OASIS2_FOLDER.fullmatch(folder)]
    run = _OASIS2_RUN.fullmatch(name)
    if not sessions or run is None or suffix not in _ANALYZE:
        return None
    return Named(sessions[-1].upper(), "raw", int(run["run"]), _OWN_SPACE)


def split_suffix(path: str) -> tuple[str, str]:
    """A path without its image suffix, and the suffix in lower case; ('', '') for no image."""
    suffix = next((end for end in IMAGE_SUFFIXES if path.lower().endswith(end)), "")
    return (path[: -len(suffix)], suffix) if suffix else ("", "")
