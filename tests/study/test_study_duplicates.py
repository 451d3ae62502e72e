"""One scan saved twice is found whatever was done to it; two people and two visits are not it."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from invented_heads import copy_of, head
from scipy.sparse.csgraph import connected_components
from study_maker import make_images, make_sessions, write_study

from medblip.findings import Finding
from medblip.study.audit import audit
from medblip.study.duplicates import NEAR_DUPLICATE, near_groups
from medblip.study.study import Study
from medblip.study.thumbnails import thumbnail

COPIES = ("noise", "scale", "shift", "mirror", "all")


def as_lists(blocks: np.ndarray, limit: float = NEAR_DUPLICATE) -> list[list[int]]:
    return [group.tolist() for group in near_groups(blocks, limit)]


@pytest.fixture(scope="module")
def people() -> np.ndarray:
    """Blocks of 60 people's thumbnails."""
    return np.stack([thumbnail(head(person)).blocks for person in range(60)])


@pytest.mark.parametrize("kind", COPIES)
def test_a_copy_is_found_among_other_heads(people: np.ndarray, kind: str) -> None:
    again = thumbnail(copy_of(head(3), kind)).blocks
    assert as_lists(np.vstack([people, again])) == [[3, 60]]


def test_other_people_and_other_visits_are_no_copies(people: np.ndarray) -> None:
    visits = np.stack([thumbnail(head(person, visit=1)).blocks for person in range(60)])
    assert as_lists(np.vstack([people, visits])) == []


def test_the_first_look_loses_no_pair(people: np.ndarray) -> None:
    unit = people.astype(np.float64)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    mirrored = unit.reshape(60, 12, 144)[:, ::-1].reshape(60, -1)
    squares = np.minimum(
        ((unit[:, None] - unit[None]) ** 2).sum(2), ((unit[:, None] - mirrored[None]) ** 2).sum(2)
    )
    ordered = np.sort(squares[np.triu_indices(60, 1)])
    gaps = np.diff(ordered)
    for pairs in (5, 15, 30):
        # between two distances that differ by more than half floats move them (about 1e-5)
        after = pairs + int(gaps[pairs : pairs + 10].argmax())
        limit = float(ordered[after : after + 2].mean())
        count, label = connected_components(squares <= limit)
        found = [group for k in range(count) if len(group := np.flatnonzero(label == k)) > 1]
        assert 1 < count < 60
        assert as_lists(people, limit) == sorted(group.tolist() for group in found)


def test_thousands_of_equal_cubes_are_one_group_in_bounded_memory(people: np.ndarray) -> None:
    many = [people[0]] * 3000 + list(people[1:])
    tracemalloc.start()
    try:
        groups = near_groups(many)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert [group.tolist() for group in groups] == [list(range(3000))]
    assert peak < 4 * people[0].nbytes * len(many)  # 4.5 million pairs of indices are 72 MB


def test_thousands_of_nearly_equal_cubes_are_one_group(people: np.ndarray) -> None:
    rng = np.random.default_rng(0)
    noisy = people[:1] * (1 + rng.normal(0, 0.002, (3000, people.shape[1])))
    groups = as_lists(np.vstack([noisy.astype(np.float16), people[1:]]))
    assert groups == [list(range(3000))]


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_groups_of_few_images(count: int) -> None:
    same = np.stack([thumbnail(head(1)).blocks] * count) if count else np.empty((0, 1728), "f2")
    assert as_lists(same) == ([list(range(count))] if count > 1 else [])
    other = np.stack([thumbnail(head(s)).blocks for s in range(count)]) if count else same
    assert as_lists(other) == []


def test_blocks_of_a_centred_cube_are_block_means() -> None:
    rng = np.random.default_rng(0)
    octant = rng.integers(0, 255, (12, 12, 12), dtype=np.uint8)
    # mirrored in all directions, so that the centre of mass is the middle
    array = np.block([[[octant]]])
    for axis in range(3):
        array = np.concatenate([array, np.flip(array, axis)], axis=axis)
    blocks = array.reshape(12, 2, 12, 2, 12, 2).mean(axis=(1, 3, 5))
    # float16 keeps 11 bits; the centre of mass is found to about 1e-6 voxels
    np.testing.assert_allclose(thumbnail(array).blocks, blocks.ravel(), rtol=2**-10, atol=1e-3)


def test_a_shifted_cube_has_the_same_blocks() -> None:
    one = thumbnail(np.pad(head(4), 2))
    for shift in ((1, 0, 0), (0, -2, 0), (1, 1, -1)):
        other = thumbnail(np.roll(np.pad(head(4), 2), shift, axis=(0, 1, 2)))
        np.testing.assert_allclose(other.blocks, one.blocks, rtol=2**-9, atol=0.01)


def test_a_thumbnail_tells_intensities_size_and_planes() -> None:
    array = np.zeros((40, 40, 40), np.uint8)
    array[10:30, 5:35, 8:32] = 100
    one = thumbnail(array, 2.0)
    np.testing.assert_array_equal(one.head_mm, [40, 60, 48])
    assert one.histogram.argmax() == 100 // 8
    assert one.histogram.sum() == pytest.approx(1)
    assert one.planes.shape == (3, 32, 32)
    # axial: 30 of 40 rows and 20 of 40 columns of 32 pixels
    assert (one.planes[0] > 50).any(1).sum() == 24
    assert (one.planes[0] > 50).any(0).sum() == 16


def test_planes_show_front_top_and_the_right_side_on_the_left() -> None:
    array = np.zeros((40, 40, 40), np.uint8)
    array[5:35, 5:35, 5:35] = 50
    array[30:35, :, 15:25] = 250 * (array[30:35, :, 15:25] > 0)  # +x is the subject's right
    axial, coronal, _ = thumbnail(array).planes
    assert axial[16, :16].max() > 200 > axial[16, 16:].max()
    assert coronal[16, :16].max() > 200 > coronal[16, 16:].max()
    array = np.zeros((40, 40, 40), np.uint8)
    array[5:35, 5:35, 5:35] = 50
    array[15:25, 30:35, 15:25] = 250  # the front
    axial, _, sagittal = thumbnail(array).planes
    assert axial[:16].max() > 200 > axial[16:].max()
    assert sagittal[:, :16].max() > 200 > sagittal[:, 16:].max()


@pytest.mark.parametrize("side", [1, 8, 12, 13])
def test_small_cubes_and_empty_ones_have_thumbnails(side: int) -> None:
    one = thumbnail(np.zeros((side,) * 3, np.uint8))
    assert one.blocks.shape == (min(side, 12) ** 3,)
    assert not one.blocks.any()
    assert np.isnan(one.head_mm).all()


def load(tmp_path: Path, sessions: pd.DataFrame, images: pd.DataFrame | None = None) -> Study:
    return Study.load(write_study(tmp_path / "study", sessions, images))


def by_code(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.code: finding for finding in findings}


@pytest.mark.parametrize(
    ("across", "code", "level"),
    [(True, "near-duplicate-both-sides", "error"), (False, "near-duplicate", "warning")],
)
def test_level_of_a_copy_depends_on_the_sides(
    tmp_path: Path, across: bool, code: str, level: str
) -> None:
    study = load(tmp_path, make_sessions(30))
    train, test = study.splits.subjects["train"], study.splits.subjects["test"]
    pair = (train[0], test[0] if across else train[1])
    thumbnails = {
        row.cube: thumbnail(head(1000 if row.participant_id in pair else index))
        for index, row in enumerate(study.images.itertuples())
    }
    finding = by_code(audit(study, thumbnails).findings)[code]
    assert finding.level == level
    assert finding.problem.startswith("1 group(s)")
    assert finding.problem.endswith("2 images")
    lines = study.images.index[study.images["participant_id"].isin(pair)]
    assert finding.where == f"images.tsv lines {lines[0]}, {lines[1]}"


def test_two_visits_with_one_scan_are_a_note_and_real_visits_are_nothing(tmp_path: Path) -> None:
    study = load(tmp_path, make_sessions(20, visits=2))

    def thumbnails(same: bool) -> dict[str, object]:
        return {
            row.cube: thumbnail(head(int(row.participant_id[-4:]), 0 if same else int(visit)))
            for row in study.images.itertuples()
            for visit in (row.session_id[-1],)
        }

    alike = by_code(audit(study, thumbnails(same=True)).findings)  # type: ignore[arg-type]
    assert alike["near-duplicate-visits"].level == "note"
    assert alike["near-duplicate-visits"].problem.startswith("20 group(s)")
    assert "near-duplicate" not in alike
    real = by_code(audit(study, thumbnails(same=False)).findings)  # type: ignore[arg-type]
    assert not [code for code in real if code.startswith("near-duplicate")]


def test_images_without_a_cube_are_counted(tmp_path: Path) -> None:
    study = load(tmp_path, make_sessions(30))
    some = {name: thumbnail(head(i)) for i, name in enumerate(study.images["cube"][:28])}
    assert by_code(audit(study, some).findings)["images-not-compared"].problem.startswith(
        "2 image(s)"
    )
    every = {name: thumbnail(head(i)) for i, name in enumerate(study.images["cube"])}
    assert "images-not-compared" not in by_code(audit(study, every).findings)


def test_equal_files_on_two_sides_name_their_lines(tmp_path: Path) -> None:
    sessions = make_sessions(30)
    images = make_images(sessions)
    study = load(tmp_path / "a", sessions)
    pair = study.splits.subjects["train"][0], study.splits.subjects["test"][0]
    rows = images["participant_id"].isin(pair)
    images.loc[rows, "sha256"] = images.loc[rows, "sha256"].iloc[0]
    finding = audit(load(tmp_path / "b", sessions, images)).findings[0]
    assert finding.code == "same-image-both-sides"
    numbers = [position + 2 for position in np.flatnonzero(rows)]  # the header is line 1
    assert finding.where == f"images.tsv lines {numbers[0]}, {numbers[1]}"
