"""The same scan twice: equal files, and cubes that are nearly equal after reprocessing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medblip.findings import Finding, Level
from medblip.study.places import in_lines
from medblip.study.splits import Splits
from medblip.study.thumbnails import BLOCKS, Thumbnail

# Squared distance of two thumbnails of length 1. Measured on 1,302 simulated heads: copies with
# noise, another intensity scale and a shift by one voxel below 0.00001; two visits of one subject
# from 0.003 on; two subjects from 0.009 on, 0.04 in the middle.
NEAR_DUPLICATE = 0.001
_POOL = 3  # edge of what is summed for the first look
_ROWS_AT_ONCE = 256
_FLOAT32_SLACK = 1e-6

_SAME_PERSON = "they belong to one person: give them one participant_id and prepare again"
_LOOK = "look at both; if they show one person give them one participant_id and prepare again"


def near_duplicates(
    blocks: Sequence[NDArray[np.float16]] | NDArray[np.float16], limit: float = NEAR_DUPLICATE
) -> NDArray[np.intp]:
    """Pairs of rows that show the same scan, or one and the mirror image of the other.

    Args:
        blocks: ``(images, side ** 3)``, or a row for each, the blocks of their thumbnails.
        limit: largest squared distance of two rows of length 1 that is a copy.

    Returns:
        ``(pairs, 2)`` row numbers, the lower first, sorted. Exact: the first look, at an orthogonal
        projection, only leaves out pairs that are further apart than ``limit``.
    """
    unit = _unit(blocks)
    found = np.concatenate([_close(unit, limit, mirror) for mirror in (False, True)])
    pairs: NDArray[np.intp] = np.unique(found, axis=0)
    return pairs


def _close(unit: NDArray[np.float16], limit: float, mirror: bool) -> NDArray[np.intp]:
    """Pairs ``i < j`` of which j, mirrored if so wished, lies within ``limit`` of i."""
    one = _pooled(unit, False)
    two = _pooled(unit, True) if mirror else one
    # |a - b|^2 <= limit as one matrix product: a.b - |a|^2 / 2 - |b|^2 / 2 >= -limit / 2.
    ones = np.ones(len(unit), np.float32)
    left = np.column_stack([one, -_half_square(one), ones])
    right = np.column_stack([two, ones, -_half_square(two)])
    kept = [np.empty((0, 2), np.intp)]
    for start in range(0, len(unit), _ROWS_AT_ONCE):
        block = left[start : start + _ROWS_AT_ONCE] @ right[start:].T
        first, second = np.nonzero(block > -limit / 2 - _FLOAT32_SLACK)
        pairs = np.stack([first, second], axis=1)[first < second] + start
        for chunk in np.array_split(pairs, len(pairs) // _ROWS_AT_ONCE + 1):
            difference = _rows(unit, chunk[:, 0], False) - _rows(unit, chunk[:, 1], mirror)
            kept.append(chunk[np.einsum("ij,ij->i", difference, difference) <= limit])
    return np.concatenate(kept)


def _unit(blocks: Sequence[NDArray[np.float16]] | NDArray[np.float16]) -> NDArray[np.float16]:
    """Rows of length 1: another intensity scale is no matter. Half floats, for memory."""
    unit = np.empty((len(blocks), blocks[0].size if len(blocks) else 1), np.float16)
    for start in range(0, len(blocks), _ROWS_AT_ONCE):
        rows = np.stack(list(blocks[start : start + _ROWS_AT_ONCE])).astype(np.float32)
        length = np.linalg.norm(rows, axis=1, keepdims=True)
        unit[start : start + _ROWS_AT_ONCE] = rows / np.where(length > 0, length, 1)
    return unit


def _rows(
    unit: NDArray[np.float16], chosen: NDArray[np.intp] | slice, mirror: bool
) -> NDArray[np.float32]:
    """Some rows, left and right exchanged if so wished (x runs slowest)."""
    rows = unit[chosen].astype(np.float32)
    if not mirror or not rows.size:
        return rows
    side = round(rows.shape[1] ** (1 / 3))
    mirrored: NDArray[np.float32] = rows.reshape(len(rows), side, -1)[:, ::-1].reshape(rows.shape)
    return mirrored


def _pooled(unit: NDArray[np.float16], mirror: bool) -> NDArray[np.float32]:
    """Sums of 3 x 3 x 3 blocks, scaled so that no distance grows; other sizes as they are."""
    parts = []
    for start in range(0, len(unit), _ROWS_AT_ONCE):
        rows = _rows(unit, slice(start, start + _ROWS_AT_ONCE), mirror)
        if rows.shape[1] == BLOCKS**3:
            split = rows.reshape(len(rows), *(BLOCKS // _POOL, _POOL) * 3)
            rows = split.sum(axis=(2, 4, 6)).reshape(len(rows), -1) / _POOL**1.5
        parts.append(rows)
    return np.concatenate(parts) if parts else np.empty((0, 1), np.float32)


def _half_square(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    halves: NDArray[np.float32] = np.einsum("ij,ij->i", rows, rows) / 2
    return halves


def check_equal_files(images: pd.DataFrame, splits: Splits) -> list[Finding]:
    """Files with the same bytes under two subjects, on two sides, or in two sessions."""
    repeated = images[images["sha256"].duplicated(keep=False)]
    if repeated.empty:
        return []
    side = repeated["participant_id"].map(splits.split_of())
    groups = repeated.assign(side=side).groupby("sha256")
    subjects, sides = (groups[name].transform("nunique") for name in ("participant_id", "side"))
    kinds: tuple[tuple[str, Level, pd.Series[bool], str, str], ...] = (
        (
            "same-image-both-sides",
            "error",
            sides > 1,
            "image file(s) are on two sides of the split",
            _SAME_PERSON,
        ),
        (
            "same-image-two-subjects",
            "error",
            (subjects > 1) & (sides == 1),
            "image file(s) are listed under two subjects",
            _SAME_PERSON,
        ),
        (
            "same-image-twice",
            "warning",
            subjects == 1,
            "image file(s) are listed more than once for one subject",
            "keep one of them",
        ),
    )
    return [
        Finding(code, level, in_lines("images.tsv", rows.index), f"{count} {problem}", fix)
        for code, level, chosen, problem, fix in kinds
        if (count := (rows := repeated[chosen])["sha256"].nunique())
    ]


@dataclass(frozen=True)
class NearPairs:
    """Pairs of images that are nearly equal though their files differ.

    Attributes:
        two_subjects: line numbers of ``images.tsv``, ``(pairs, 2)``, on one side of the split.
        both_sides: the same for pairs of two subjects across the split.
        two_visits: the same for pairs of one subject's sessions.
    """

    two_subjects: NDArray[np.int64]
    both_sides: NDArray[np.int64]
    two_visits: NDArray[np.int64]


def near_pairs(
    images: pd.DataFrame, splits: Splits, thumbnails: Mapping[str, Thumbnail]
) -> NearPairs:
    """Compare all images that have a thumbnail under their cube's name."""
    rows = images[images["cube"].isin(list(thumbnails))]
    none = np.empty((0, 2), np.int64)
    if len(rows) < 2:
        return NearPairs(none, none, none)
    pairs = near_duplicates([thumbnails[name].blocks for name in rows["cube"]])
    first, second = rows.iloc[pairs[:, 0]], rows.iloc[pairs[:, 1]]

    def equal(column: str) -> NDArray[np.bool_]:
        same: NDArray[np.bool_] = first[column].to_numpy() == second[column].to_numpy()
        return same

    sides = [part["participant_id"].map(splits.split_of()).to_numpy() for part in (first, second)]
    lines = np.stack([first.index.to_numpy(), second.index.to_numpy()], axis=1)
    differ, person, side = ~equal("sha256"), equal("participant_id"), sides[0] == sides[1]
    return NearPairs(
        two_subjects=lines[differ & ~person & side],
        both_sides=lines[differ & ~person & ~side],
        two_visits=lines[differ & person & ~equal("session_id")],
    )


def check_near_duplicates(found: NearPairs) -> list[Finding]:
    """An error across the split, a warning between subjects, a note between visits."""
    kinds: tuple[tuple[str, Level, NDArray[np.int64], str, str], ...] = (
        (
            "near-duplicate-both-sides",
            "error",
            found.both_sides,
            "pair(s) of images of two subjects on two sides of the split are nearly equal",
            _LOOK,
        ),
        (
            "near-duplicate",
            "warning",
            found.two_subjects,
            "pair(s) of images of two subjects are nearly equal",
            _LOOK,
        ),
        (
            "near-duplicate-visits",
            "note",
            found.two_visits,
            "pair(s) of images of one subject's visits are nearly equal",
            "check whether one scan is listed under two visits",
        ),
    )
    return [
        Finding(code, level, in_lines("images.tsv", pairs), f"{len(pairs)} {problem}", fix)
        for code, level, pairs, problem, fix in kinds
        if len(pairs)
    ]
