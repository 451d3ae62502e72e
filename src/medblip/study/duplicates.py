"""The same scan twice: equal files, and cubes that are nearly equal after reprocessing."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medblip.findings import Finding, Level
from medblip.study.splits import Splits

THUMBNAIL_SIDE = 12
# Correlation of two thumbnails after the study's mean is taken off. Two heads share the mean, so
# that what is left is the person: about 0 for two people, above this for one scan saved twice.
NEAR_DUPLICATE = 0.98
_ROWS_AT_ONCE = 1024
_NOTHING = 1e-5  # length of what rounding leaves of equal thumbnails


Thumbnail = NDArray[np.float16]  # half of float32's memory; block means need no more digits


def thumbnail(array: NDArray[np.uint8]) -> Thumbnail:
    """Block means of a cube ``(x, y, z)``: float16 ``(side ** 3,)``, side at most 12."""
    small: NDArray[np.float32] = array.astype(np.float32)
    for axis, length in enumerate(array.shape):
        edges = np.linspace(0, length, min(THUMBNAIL_SIDE, length) + 1).astype(int)
        shape = [1, 1, 1]
        shape[axis] = len(edges) - 1
        widths = np.diff(edges).reshape(shape)
        small = (np.add.reduceat(small, edges[:-1], axis=axis) / widths).astype(np.float32)
    return small.ravel().astype(np.float16)


def near_duplicates(thumbnails: Thumbnail, threshold: float = NEAR_DUPLICATE) -> NDArray[np.intp]:
    """Pairs of rows that show the same scan.

    Args:
        thumbnails: float16 ``(images, side ** 3)``.
        threshold: least correlation of what two images have beyond the mean image.

    Returns:
        ``(pairs, 2)`` row numbers, the lower first. Of fewer than 3 images only equal ones.
    """
    if len(thumbnails) < 2:
        return np.empty((0, 2), dtype=np.intp)
    unit = thumbnails.astype(np.float32)  # (images, side ** 3), worked on in place: it is large
    _scale_to_unit(unit)  # another intensity scale is no matter
    unit -= unit.mean(axis=0)
    unit[np.linalg.norm(unit, axis=1) < _NOTHING] = 1.0  # no more than the mean: equal to others so
    _scale_to_unit(unit)
    pairs = []
    for start in range(0, len(unit), _ROWS_AT_ONCE):
        block = unit[start : start + _ROWS_AT_ONCE] @ unit.T  # (rows, images)
        first, second = np.nonzero(block > threshold)
        first += start
        pairs.append(np.stack([first, second], axis=1)[first < second])
    return np.concatenate(pairs)


def _scale_to_unit(rows: NDArray[np.float32]) -> None:
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    rows /= np.where(length > 0, length, 1)


def check_equal_files(images: pd.DataFrame, splits: Splits) -> list[Finding]:
    """Files with the same bytes under two subjects, on two sides, or in two sessions."""
    side = images["participant_id"].map(splits.split_of())
    groups = images.assign(side=side).groupby("sha256")
    table = groups.agg(
        images=("path", "size"),
        subjects=("participant_id", "nunique"),
        sides=("side", "nunique"),
        sessions=("session_id", "nunique"),
    )
    repeated = table[table["images"] > 1]
    crossing = repeated[repeated["sides"] > 1]
    shared = repeated[(repeated["subjects"] > 1) & (repeated["sides"] == 1)]
    again = repeated[repeated["subjects"] == 1]
    findings = [
        _finding(
            "same-image-both-sides",
            "error",
            len(crossing),
            "image file(s) are on two sides of the split",
            "they belong to one person: give them one participant_id and prepare again",
        ),
        _finding(
            "same-image-two-subjects",
            "error",
            len(shared),
            "image file(s) are listed under two subjects",
            "they belong to one person: give them one participant_id and prepare again",
        ),
        _finding(
            "same-image-twice",
            "warning",
            len(again),
            "image file(s) are listed more than once for one subject",
            "keep one of them",
        ),
    ]
    return [finding for finding in findings if finding is not None]


def check_near_duplicates(
    images: pd.DataFrame, splits: Splits, thumbnails: Mapping[str, Thumbnail]
) -> list[Finding]:
    """Cubes of two subjects that are nearly equal though their files differ.

    Args:
        images: ``images.tsv``.
        splits: sides of the subjects.
        thumbnails: by cube name; images without one are not compared.
    """
    rows = images[images["cube"].isin(list(thumbnails))]
    if len(rows) < 2:
        return []
    pairs = near_duplicates(np.stack([thumbnails[name] for name in rows["cube"]]))
    subject, sha = rows["participant_id"].to_numpy(), rows["sha256"].to_numpy()
    side = rows["participant_id"].map(splits.split_of()).to_numpy()
    first, second = pairs[:, 0], pairs[:, 1]
    other = (subject[first] != subject[second]) & (sha[first] != sha[second])
    crossing = other & (side[first] != side[second])
    problem = (
        f"pair(s) of images of two subjects are nearly equal, {int(crossing.sum())} of them across "
        "the split"
    )
    fix = "check whether they show one person; if so give them one participant_id"
    finding = _finding("near-duplicate", "warning", int(other.sum()), problem, fix)
    return [finding] if finding else []


def _finding(code: str, level: Level, count: int, problem: str, fix: str) -> Finding | None:
    return Finding(code, level, "images.tsv", f"{count} {problem}", fix) if count else None
