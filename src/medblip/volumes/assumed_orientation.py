"""Orientation that a file does not tell, taken from the one who knows it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from medblip.errors import InputError, UsageError
from medblip.findings import Finding

_AXIS_OF = {"R": 0, "L": 0, "A": 1, "P": 1, "S": 2, "I": 2}


class Assumption(NamedTuple):
    """What the one who knows a file says of it.

    Attributes:
        letters: direction in which each voxel axis grows, e.g. ``ASL``; None if nothing is said.
        imposed: it holds against what the file itself says.
    """

    letters: str | None = None
    imposed: bool = False


def parse_assumption(orientation: str | None) -> Assumption:
    """Take ``"ASL"`` or, to impose it, ``"ASL!"`` apart.

    Raises:
        UsageError: ``bad-orientation`` for anything else than one each of R/L, A/P and S/I.
    """
    if orientation is None:
        return Assumption()
    letters = orientation.upper().removesuffix("!")
    if sorted(_AXIS_OF.get(letter, -1) for letter in letters) != [0, 1, 2]:
        raise UsageError(
            "assume_orientation",
            f"is {orientation!r}; expected three letters, one each of R/L, A/P and S/I",
            "for example RAS or LPI",
            code="bad-orientation",
        )
    return Assumption(letters, imposed=orientation.endswith("!"))


def assumed_affine(
    voxel_sizes: Sequence[float],
    shape: tuple[int, int, int],
    assumption: Assumption,
    name: str,
    lacking: str,
) -> tuple[NDArray[np.float64], tuple[Finding, ...]]:
    """The voxel -> RAS+ mm matrix for axes that grow as is assumed.

    Args:
        voxel_sizes: mm along i, j, k; their signs mean nothing.
        shape: voxels along i, j, k.
        assumption: what is said of the file.
        name: file name for messages.
        lacking: what the file does not say, for the message if nothing is assumed.

    Raises:
        InputError: ``left-right-unknown`` if nothing is.
    """
    if assumption.letters is None:
        raise InputError(
            name,
            f"left/right unknown: {lacking}",
            "give the orientation you know, e.g. --assume-orientation RAS "
            "(assume_orientation='RAS')",
            code="left-right-unknown",
        )
    affine = np.zeros((4, 4))
    affine[3, 3] = 1.0
    for axis, letter in enumerate(assumption.letters):
        size = abs(float(voxel_sizes[axis]))
        affine[_AXIS_OF[letter], axis] = size if letter in "RAS" else -size
    # Such a file names no origin either: the middle of the grid serves.
    affine[:3, 3] = -affine[:3, :3] @ ((np.asarray(shape) - 1) / 2)
    finding = Finding(
        "orientation-assumed",
        "warning",
        name,
        f"the orientation {assumption.letters} is assumed as asked; the header holds none, or a "
        "wrong one",
        "check left and right in the picture",
    )
    return affine, (finding,)


def unused_assumption(
    affine: NDArray[np.float64], assumption: Assumption, name: str
) -> tuple[Finding, ...]:
    """A warning where the file tells another orientation than the one that was assumed."""
    told = "".join(nib.orientations.aff2axcodes(affine))
    if assumption.letters in (None, told):
        return ()
    finding = Finding(
        "orientation-not-assumed",
        "warning",
        name,
        f"the header says {told}, which is used; {assumption.letters} was to be assumed where it "
        "says nothing",
        "check left and right in the picture",
    )
    return (finding,)
