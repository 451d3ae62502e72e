"""The same scan twice: equal files, and cubes that are nearly equal after reprocessing."""

from __future__ import annotations

import hashlib
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


def near_groups(
    blocks: Sequence[NDArray[np.float16]] | NDArray[np.float16], limit: float = NEAR_DUPLICATE
) -> list[NDArray[np.intp]]:
    """Groups of rows that show the same scan, or one and the mirror image of the other.

    Two rows are alike up to ``limit``; a group is what such likenesses connect. Groups, not pairs:
    one cube under a thousand names is one group, and half a million pairs.

    Args:
        blocks: ``(images, side ** 3)``, or a row for each, the blocks of their thumbnails.
        limit: largest squared distance of two rows of length 1 that is a copy.

    Returns:
        Row numbers of each group of two or more, ascending, groups by their first row. Exact: the
        first look, at an orthogonal projection, only leaves out pairs that are further apart than
        ``limit``. Memory grows with the images, whatever the pairs.
    """
    unit = _unit(blocks)
    first_of = _first_of_equals(unit)
    distinct = np.unique(first_of)
    groups = _Groups(len(distinct))
    for mirror in (False, True):
        _join_close(unit[distinct], limit, mirror, groups)
    label = groups.label[np.searchsorted(distinct, first_of)]
    order = np.argsort(label, kind="stable")
    starts = np.flatnonzero(np.diff(label[order])) + 1
    found = [rows for rows in np.split(order, starts) if len(rows) > 1]
    return sorted(found, key=lambda rows: int(rows[0]))


class _Groups:
    """Which rows were found to be connected so far.

    Attributes:
        label: of each row the lowest row of its group.
    """

    def __init__(self, rows: int) -> None:
        self.label = np.arange(rows)

    def join(self, row: int, others: NDArray[np.intp]) -> None:
        """Connect a row with others."""
        labels = np.unique(self.label[[row, *others]])
        self.label[np.isin(self.label, labels)] = labels[0]


def _first_of_equals(unit: NDArray[np.float16]) -> NDArray[np.intp]:
    """Of each row the first row with the same values."""
    first: dict[bytes, int] = {}
    digests = (hashlib.sha256(row.tobytes()).digest() for row in unit)
    return np.array([first.setdefault(d, i) for i, d in enumerate(digests)], np.intp)


def _join_close(unit: NDArray[np.float16], limit: float, mirror: bool, groups: _Groups) -> None:
    """Connect rows ``i < j`` of which j, mirrored if so wished, lies within ``limit`` of i."""
    one = _pooled(unit, False)
    two = _pooled(unit, True) if mirror else one
    # |a - b|^2 <= limit as one matrix product: a.b - |a|^2 / 2 - |b|^2 / 2 >= -limit / 2.
    ones = np.ones(len(unit), np.float32)
    left = np.column_stack([one, -_half_square(one), ones])
    right = np.column_stack([two, ones, -_half_square(two)])
    for start in range(0, len(unit), _ROWS_AT_ONCE):
        near = left[start : start + _ROWS_AT_ONCE] @ right[start:].T > -limit / 2 - _FLOAT32_SLACK
        for i in np.flatnonzero(near.sum(axis=1) > (not mirror)):  # itself is no other row
            others = np.flatnonzero(near[i, i + 1 :]) + start + i + 1
            _join_row(unit, int(start + i), others, limit, mirror, groups)


def _join_row(
    unit: NDArray[np.float16],
    row: int,
    others: NDArray[np.intp],
    limit: float,
    mirror: bool,
    groups: _Groups,
) -> None:
    """Connect a row with those of ``others`` that are close; who is connected is not compared."""
    itself = _rows(unit, np.array([row]), False)
    for start in range(0, len(others), _ROWS_AT_ONCE):
        chunk = others[start : start + _ROWS_AT_ONCE]
        chunk = chunk[groups.label[chunk] != groups.label[row]]
        difference = itself - _rows(unit, chunk, mirror)
        close = chunk[np.einsum("ij,ij->i", difference, difference) <= limit]
        if close.size:
            groups.join(row, close)


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
class NearGroups:
    """Groups of images that are nearly equal though their files differ; each group in one list.

    Attributes:
        both_sides: line numbers of ``images.tsv`` of each group with subjects across the split.
        two_subjects: of each with several subjects on one side.
        two_visits: of each with several sessions of one subject.
    """

    both_sides: tuple[NDArray[np.int64], ...] = ()
    two_subjects: tuple[NDArray[np.int64], ...] = ()
    two_visits: tuple[NDArray[np.int64], ...] = ()


def group_images(
    images: pd.DataFrame, splits: Splits, thumbnails: Mapping[str, Thumbnail]
) -> NearGroups:
    """Compare all images that have a thumbnail under their cube's name."""
    rows = images[images["cube"].isin(list(thumbnails))]
    rows = rows.assign(side=rows["participant_id"].map(splits.split_of()))
    both: list[NDArray[np.int64]] = []
    subjects: list[NDArray[np.int64]] = []
    visits: list[NDArray[np.int64]] = []
    blocks = [thumbnails[name].blocks for name in rows["cube"]]
    for members in near_groups(blocks):
        group = rows.iloc[members]
        lines = group.index.to_numpy()
        if group["sha256"].nunique() == 1:
            continue  # equal files, which `check_equal_files` tells of
        if group["side"].nunique() > 1:
            both.append(lines)
        elif group["participant_id"].nunique() > 1:
            subjects.append(lines)
        elif group["session_id"].nunique() > 1:
            visits.append(lines)
    return NearGroups(tuple(both), tuple(subjects), tuple(visits))


def check_near_duplicates(found: NearGroups) -> list[Finding]:
    """An error across the split, a warning between subjects, a note between visits."""
    kinds: tuple[tuple[str, Level, tuple[NDArray[np.int64], ...], str, str], ...] = (
        (
            "near-duplicate-both-sides",
            "error",
            found.both_sides,
            "of subjects on two sides of the split",
            _LOOK,
        ),
        (
            "near-duplicate",
            "warning",
            found.two_subjects,
            "of several subjects",
            _LOOK,
        ),
        (
            "near-duplicate-visits",
            "note",
            found.two_visits,
            "of one subject's visits",
            "check whether one scan is listed under two visits",
        ),
    )
    return [
        Finding(code, level, in_lines("images.tsv", np.concatenate(groups)), problem, fix)
        for code, level, groups, whose, fix in kinds
        if groups
        for problem in (_count(groups, whose),)
    ]


def _count(groups: tuple[NDArray[np.int64], ...], whose: str) -> str:
    sizes = [len(lines) for lines in groups]
    largest = f", the largest of {max(sizes)}" if max(sizes) > 2 else ""
    return (
        f"{len(groups)} group(s) of images {whose} are nearly equal: {sum(sizes)} images{largest}"
    )
