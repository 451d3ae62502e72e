"""Perturbations: nothing at level 0, more with each level, and background left alone."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from medblip.errors import UsageError
from medblip.evaluation.perturbations import (
    LEVELS,
    NOISE_SD,
    ROTATION_DEGREES,
    Perturbation,
    drop_fields,
    perturb_cube,
)

KINDS: tuple[Perturbation, ...] = ("noise", "bias_field", "rotation")
every_kind = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture(scope="module")
def head() -> NDArray[np.uint8]:
    """A smooth, lopsided ellipsoid in a box with a dark hole, ``(40, 48, 44)``."""
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in (40, 48, 44)), indexing="ij")
    inside = (x / 0.6) ** 2 + (y / 0.8) ** 2 + (z / 0.7) ** 2 < 1
    grey = 120 + 60 * x + 30 * np.cos(6 * y)
    grey[(x - 0.2) ** 2 + y**2 + z**2 < 0.02] = 5
    return np.where(inside, grey.clip(1, 255), 0).astype(np.uint8)


@every_kind
def test_level_0_is_the_cube_itself(kind: Perturbation, head: NDArray[np.uint8]) -> None:
    assert np.array_equal(perturb_cube(head, kind, 0, seed=1), head)


@every_kind
def test_each_level_changes_more(kind: Perturbation, head: NDArray[np.uint8]) -> None:
    for seed in range(3):
        before = head.copy()
        changes = [
            np.abs(perturb_cube(head, kind, level, seed).astype(int) - head).mean()
            for level in LEVELS
        ]
        assert np.all(np.diff(changes) > 0), changes
        assert np.array_equal(head, before)


@every_kind
def test_the_seed_decides(kind: Perturbation, head: NDArray[np.uint8]) -> None:
    one, again, other = (perturb_cube(head, kind, 2, seed) for seed in (1, 1, 2))
    assert one.dtype == np.uint8
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)


@pytest.mark.parametrize("kind", ["noise", "bias_field"])
@pytest.mark.parametrize("level", LEVELS)
def test_the_head_stays_the_head(kind: Perturbation, level: int, head: NDArray[np.uint8]) -> None:
    assert np.array_equal(perturb_cube(head, kind, level, seed=3) > 0, head > 0)


def test_noise_is_rician() -> None:
    """Where there is signal its sd is that asked for; where there is next to none, Rayleigh's."""
    flat = np.full((30, 30, 30), 120, np.uint8)
    sd = NOISE_SD[2] * 255
    noisy = perturb_cube(flat, "noise", 2, seed=0).astype(float)
    assert noisy.std() == pytest.approx(sd, rel=0.05)
    assert noisy.mean() == pytest.approx(np.hypot(120, sd), rel=0.01)
    dark = perturb_cube(np.full((30, 30, 30), 1, np.uint8), "noise", 2, seed=0)
    assert dark.mean() == pytest.approx(sd * (np.pi / 2) ** 0.5, rel=0.03)


def test_the_bias_field_is_smooth() -> None:
    flat = np.full((30, 30, 30), 100, np.uint8)
    shaded = perturb_cube(flat, "bias_field", 3, seed=0).astype(int)
    assert np.ptp(shaded) > 40
    assert max(np.abs(np.diff(shaded, axis=axis)).max() for axis in range(3)) < 15
    assert abs(shaded[15, 15, 15] - 100) <= 2


def test_rotation_turns_about_the_middle_and_loses_no_head(head: NDArray[np.uint8]) -> None:
    turned = perturb_cube(head, "rotation", 3, seed=0)
    assert (turned > 0).sum() == pytest.approx((head > 0).sum(), rel=0.01)
    centres = [np.argwhere(cube > 0).mean(axis=0) for cube in (head, turned)]
    assert centres[1] == pytest.approx(centres[0], abs=0.2)
    # The angle is that of the level: of the ellipsoid's long axis, at most.
    axes = [np.linalg.eigh(np.cov(np.argwhere(c > 0).T))[1][:, -1] for c in (head, turned)]
    angle = np.rad2deg(np.arccos(abs(axes[0] @ axes[1])))
    assert 3 < angle <= ROTATION_DEGREES[3] + 1


def test_fields_go_one_after_the_other() -> None:
    fields = {"age": "71", "sex": "F", "mmse": "24", "lm_delayed": "3", "cdr_global": "1"}
    said = ("age", "sex", "mmse", "lm_delayed", "ses")
    left = [drop_fields(fields, said, level, seed=5) for level in LEVELS]
    assert left[0] == fields
    assert [len(kept) for kept in left] == [5, 4, 3, 2, 1]
    assert all(set(more) > set(fewer) for more, fewer in pairwise(left))
    assert left[4] == {"cdr_global": "1"}, "what the record does not say is left alone"
    orders = {tuple(drop_fields(fields, said, 2, seed)) for seed in range(10)}
    assert len(orders) > 1
    assert drop_fields({}, said, 4, seed=0) == {}


def test_what_there_is_not_is_refused(head: NDArray[np.uint8]) -> None:
    for level in (-1, 5, 1.5):
        with pytest.raises(UsageError, match="level"):
            perturb_cube(head, "noise", level, seed=0)
    with pytest.raises(UsageError, match="level"):
        drop_fields({}, (), 9, seed=0)
    with pytest.raises(UsageError, match="kind 'blur'"):
        perturb_cube(head, "blur", 1, seed=0)
    with pytest.raises(UsageError, match="uint8"):
        perturb_cube(head.astype(np.float32), "noise", 1, seed=0)
