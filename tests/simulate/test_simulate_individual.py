"""Where people lose tissue: by region and by side, in the image and in the truth beside it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from medblip.simulate.anatomy import FIELD_NAMES, Anatomy, build_anatomy
from medblip.simulate.cohort import Site
from medblip.simulate.individual import REGION_SD, SIDE_SD, Sides, own_pattern
from medblip.simulate.scanner import (
    BRAIN_CENTRE_MM,
    MM_PER_SEVERITY,
    WARP_LATTICE,
    Head,
    mean_mm,
    mean_shares,
    render,
)

QUIET = Site("T", (2.0, 2.0, 2.0), "RAS", 1.0, 0.0, 0.0, 3.0, skull_stripped=True)
SHAPE = (90, 100, 90)
EVEN = dict.fromkeys(FIELD_NAMES, Sides(0.0, 0.0))


@pytest.fixture(scope="module")
def anatomy(world: Path) -> Anatomy:
    return build_anatomy(world / "template")


def dark_voxels(anatomy: Anatomy, ventricles: Sides) -> Sides:
    """Voxels of fluid left and right of the midline of an upright, plain head."""
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    affine[:3, 3] = np.array(BRAIN_CENTRE_MM) - (np.array(SHAPE) - 1.0)
    head = Head(np.zeros((3, *(WARP_LATTICE,) * 3), np.float32), {**EVEN, "ventricles": ventricles})
    array, made = render(anatomy, head, np.eye(3), SHAPE, affine, QUIET, np.random.default_rng(0))
    dark = (array > 0.1 * QUIET.intensity) & (array < 0.4 * QUIET.intensity)
    x = made[0, 3] + made[0, 0] * np.arange(SHAPE[0])
    return Sides(int(dark[x < 0].sum()), int(dark[x > 0].sum()))


def test_a_side_that_is_told_to_grow_grows_and_the_other_stays(anatomy: Anatomy) -> None:
    even = dark_voxels(anatomy, Sides(0.0, 0.0))
    left = dark_voxels(anatomy, Sides(6.0, 0.0))
    right = dark_voxels(anatomy, Sides(0.0, 6.0))
    assert left.left > 1.1 * even.left
    assert right.right > 1.1 * even.right
    # Near the midline one side goes over into the other.
    assert abs(left.right - even.right) < 0.25 * (left.left - even.left)
    assert abs(right.left - even.left) < 0.25 * (right.right - even.right)


def test_equal_sides_are_the_plain_amount(anatomy: Anatomy) -> None:
    shares = mean_shares(anatomy)
    means = mean_mm(shares, dict.fromkeys(FIELD_NAMES, Sides(2.0, 2.0)))
    for name in FIELD_NAMES:
        norm = np.sqrt((anatomy.fields[name] ** 2).sum(axis=0))
        assert means[name] == pytest.approx(2.0 * norm[anatomy.regions[name]].mean(), rel=1e-5)


def test_a_pattern_is_a_persons_own_and_stays() -> None:
    assert own_pattern((0, 1)) == own_pattern((0, 1)) != own_pattern((0, 2))
    drawn = np.array([[own_pattern((0, n))[r] for r in FIELD_NAMES] for n in range(800)])
    middle, half = drawn.mean(axis=2), (drawn[..., 0] - drawn[..., 1]) / 2
    assert middle.std() == pytest.approx(REGION_SD, rel=0.1)
    assert half.std() == pytest.approx(SIDE_SD, rel=0.1)
    assert abs(middle.mean()) < 0.03 > abs(half.mean())


def test_the_truth_of_a_replica_tells_each_side(replica: Path) -> None:
    table = pd.concat(pd.read_csv(f, sep="\t") for f in replica.glob("ground_truth/*_states.tsv"))
    assert len(table) > 30
    for region, per_severity in MM_PER_SEVERITY.items():
        sides = [table[f"{region}_{side}_max_mm"] for side in Sides._fields]
        assert (sides[0] - sides[1]).std() == pytest.approx(2 * SIDE_SD * per_severity, rel=0.5)
        means = [table[f"{region}_{side}_mean_mm"] for side in Sides._fields]
        between = table[f"{region}_mean_mm"]
        assert (between <= pd.concat(means, axis=1).max(axis=1) + 0.002).all()
        assert (between >= pd.concat(means, axis=1).min(axis=1) - 0.002).all()
        # One share of the largest displacement a side, whoever it is.
        for largest, mean in zip(sides, means, strict=True):
            clear = largest.abs() > 1.0
            share = (mean / largest)[clear]
            assert share.max() - share.min() < 0.01
