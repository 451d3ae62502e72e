"""The same head gives the same cube, whatever was scanned around it and however."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from medblip.errors import InputError, UsageError
from medblip.volumes import Cube, Preprocessing, Volume, preprocess
from medblip.volumes.head_mask import head_mask
from phantoms import MARKER, centred_affine, head_intensity, head_volume, rotation

SMALL = Preprocessing(size=56)
BRAIN = head_volume(skull=False)
HEAD = head_volume()

GRIDS: dict[str, tuple[NDArray[np.float64], tuple[int, int, int]]] = {
    "anisotropic": (np.diag([3.0, 2.5, 5.0]), (60, 84, 40)),
    "oblique": (rotation(12, -8, 15) @ np.diag([3.0, 3.0, 3.0]), (72, 80, 72)),
    "oblique thick slices": (rotation(20, 0, 5) @ np.diag([2.5, 2.5, 5.0]), (80, 92, 44)),
    "sheared": (np.array([[3.0, 0, 0.9], [0, 3.0, 0], [0, 0, 3.0]]), (76, 72, 64)),
    "left-handed, axes swapped": (
        np.array([[0, 0, -3.0], [-3.0, 0, 0], [0, 3.0, 0]]),
        (72, 64, 60),
    ),
}


def world_points(cube: Cube) -> NDArray[np.float64]:
    """Millimetres ``(size, size, size, 3)`` of every cube voxel."""
    index = np.stack(np.meshgrid(*(np.arange(cube.size),) * 3, indexing="ij"), axis=-1)
    return index @ cube.affine[:3, :3].T + cube.affine[:3, 3]


def expected_at(cube: Cube, *, skull: bool) -> NDArray[np.float64]:
    """The phantom's own intensity at the cube's voxels, smoothed as its voxels smooth."""
    truth = head_intensity(world_points(cube), skull=skull, neck=False)
    return ndimage.gaussian_filter(truth, 0.5)


def mean_difference(first: Cube, second: Cube) -> float:
    return float(np.abs(first.array.astype(float) - second.array).mean())


@pytest.mark.parametrize("grid", GRIDS)
def test_affine_is_exact_on_any_grid(grid: str) -> None:
    """What the formula says at a cube voxel's millimetres is what the cube holds there."""
    matrix, shape = GRIDS[grid]
    volume = head_volume(shape, centred_affine(matrix, shape, (2, -3, 1)), skull=False)

    cube = preprocess(volume, SMALL)

    truth = expected_at(cube, skull=False)
    correlation = np.corrcoef(cube.array.ravel(), truth.ravel())[0, 1]
    assert correlation > 0.99, f"{correlation:.4f}"
    bright = np.argwhere(ndimage.binary_opening(cube.array > 230))
    centre = cube.affine[:3, :3] @ bright.mean(axis=0) + cube.affine[:3, 3]
    assert np.abs(centre - MARKER).max() < 1.0, f"marker at {centre.round(2)} mm"


@pytest.mark.parametrize("grid", GRIDS)
def test_any_grid_gives_nearly_the_same_cube(grid: str) -> None:
    matrix, shape = GRIDS[grid]
    volume = head_volume(shape, centred_affine(matrix, shape), skull=False)

    # 3 mm against 2.5 to 5 mm voxels blur the borders differently; 8 of 255 allows for that.
    assert mean_difference(preprocess(volume, SMALL), preprocess(BRAIN, SMALL)) < 8


@pytest.mark.parametrize("skull", [False, True])
@pytest.mark.parametrize(
    ("before", "after"),
    [((6, 10, 4), (9, 0, 8)), ((0, 12, 20), (7, 12, 12))],
)
def test_field_of_view_does_not_matter(
    before: tuple[int, int, int], after: tuple[int, int, int], skull: bool
) -> None:
    """More air on any side, or more neck below, leaves the cube where it was."""
    shape = (60, 76, 74)  # reaches from 87 mm above the middle of the brain to 132 mm below
    x, y, z = (n + a + b for n, a, b in zip(shape, before, after, strict=True))
    larger = (x, y, z)
    affine = centred_affine(np.diag([3.0] * 3), shape, (0, 5, -22.5))
    moved = affine.copy()
    moved[:3, 3] -= 3.0 * np.array(before)

    small = preprocess(head_volume(shape, affine, skull=skull), SMALL)
    large = preprocess(head_volume(larger, moved, skull=skull), SMALL)

    np.testing.assert_allclose(large.affine, small.affine, rtol=0, atol=1e-6)
    assert large.bounds == small.bounds
    # Only the blocks on which the mask's topology is settled lie elsewhere.
    assert mean_difference(small, large) < 0.1

    noisy = preprocess(head_volume(larger, moved, skull=skull, noise=3), SMALL)
    # Noise may move an end of the head's box by one voxel of 3 mm.
    np.testing.assert_allclose(noisy.affine, small.affine, rtol=0, atol=3.001)


def test_neck_is_cut_180_mm_below_the_top() -> None:
    shape = (60, 76, 110)
    long = head_volume(shape, centred_affine(np.diag([3.0] * 3), shape, (0, 5, -60)))

    cube = preprocess(long, SMALL)

    low, high = cube.affine[2, 3] + cube.voxel_mm * (np.array(cube.bounds[2]) - 0.5)
    assert high - low <= 180 + 2 * SMALL.margin_mm + cube.voxel_mm
    assert 76 <= high < 82, "the top of the head, at 76 mm, is kept"


@pytest.mark.parametrize("noise", [2.0, 8.0])
def test_noise_around_a_head_becomes_zero(noise: float) -> None:
    shape = (80, 90, 80)
    cube = preprocess(head_volume(shape, noise=noise), SMALL)

    clean = head_intensity(world_points(cube))
    air = ~ndimage.binary_dilation(clean > 0, iterations=2)
    stray = np.count_nonzero(cube.array[air])
    assert stray <= 1e-3 * np.count_nonzero(air), f"{stray} of {np.count_nonzero(air)} voxels"
    assert not cube.array[:2].any(), "far from the head nothing is left at all"


@pytest.mark.parametrize("noise", [0.0, 5.0])
def test_mask_is_the_head_without_holes(noise: float) -> None:
    volume = head_volume((80, 90, 80), noise=noise)
    truth = head_volume((80, 90, 80)).array > 10

    mask = head_mask(volume)

    truth = ndimage.binary_fill_holes(truth)
    dice = 2 * (mask & truth).sum() / (mask.sum() + truth.sum())
    assert dice > 0.97, f"Dice {dice:.4f}"
    inner = ndimage.binary_erosion(truth, iterations=6)
    assert mask[inner].all(), "ventricles and skull stay in"


def test_a_large_dark_cavity_stays_part_of_the_head() -> None:
    array = BRAIN.array.copy()
    array[22:38, 26:46, 24:40] = 0

    assert head_mask(Volume(array, BRAIN.affine))[22:38, 26:46, 24:40].all()


def test_dark_rim_of_a_stripped_brain_is_kept() -> None:
    """Cerebrospinal fluid at the surface is dark, not background: atrophy shows there."""
    mask = head_mask(BRAIN)

    np.testing.assert_array_equal(mask, BRAIN.array != 0)


def test_smaller_objects_beside_the_head_are_left_out() -> None:
    array = HEAD.array.copy()
    array[:4, :4, :4] = 150

    with_object = preprocess(Volume(array, HEAD.affine), SMALL)

    assert mean_difference(with_object, preprocess(HEAD, SMALL)) < 0.1


@pytest.mark.parametrize(("factor", "offset"), [(0.01, 0), (40, 0), (1, -1024), (0.02, -1.3)])
def test_intensity_units_do_not_matter(factor: float, offset: float) -> None:
    """Hounsfield-like offsets and z-scores, background in the middle of the range, included."""
    array = (BRAIN.array * factor + offset).astype(np.float32)

    cube = preprocess(Volume(array, BRAIN.affine), SMALL)

    assert mean_difference(cube, preprocess(BRAIN, SMALL)) < 0.05


def test_z_scored_brain_with_background_zero() -> None:
    inside = BRAIN.array != 0
    array = np.where(inside, (BRAIN.array - 90) / 30, 0).astype(np.float32)

    cube = preprocess(Volume(array, BRAIN.affine), SMALL)

    assert mean_difference(cube, preprocess(BRAIN, SMALL)) < 2


def test_intensities_span_the_bytes_and_outliers_do_not_squeeze_them() -> None:
    array = BRAIN.array.copy()
    array[30, 36, 32:35] = 1e6

    cube, plain = preprocess(Volume(array, BRAIN.affine), SMALL), preprocess(BRAIN, SMALL)

    assert cube.array.dtype == np.uint8
    assert cube.array.max() == 255
    assert np.median(cube.array[cube.array > 0]) == np.median(plain.array[plain.array > 0])


def test_longest_edge_fills_the_cube_and_the_head_is_centred() -> None:
    cube = preprocess(HEAD, SMALL)

    lows, highs = np.array(cube.bounds).T
    # The margin of 2 mm and the ramp at the head's edge take about 1 voxel on each side.
    assert max(highs - lows) >= SMALL.size - 4
    assert np.abs((lows + highs) / 2 - SMALL.size / 2).max() <= 1
    middle = cube.affine @ [*[(SMALL.size - 1) / 2] * 3, 1]
    assert abs(middle[0]) < 1e-9, "the phantom is the same on both sides of x = 0"


def test_fixed_field_of_view_keeps_physical_scale() -> None:
    settings = Preprocessing(size=64, fov_mm=256)

    cube = preprocess(HEAD, settings)

    assert cube.voxel_mm == 4.0
    widths = [4.0 * (high - low) for low, high in cube.bounds]
    assert abs(widths[0] - 156) < 12, "the phantom's head is 156 mm wide"


def test_cropping_field_of_view_smaller_than_the_head() -> None:
    cube = preprocess(HEAD, Preprocessing(size=32, fov_mm=100))

    assert cube.bounds == ((0, 32), (0, 32), (0, 32))


def test_findings_source_and_grid_travel_along() -> None:
    cube = preprocess(HEAD, SMALL)

    assert (cube.source, cube.facts.shape, cube.facts.axcodes) == (HEAD.source, HEAD.shape, "RAS")
    assert "56^3 voxels" in repr(cube)


def test_input_is_not_changed() -> None:
    before = HEAD.array.copy()
    preprocess(HEAD, SMALL)
    np.testing.assert_array_equal(HEAD.array, before)


def test_a_mask_has_no_contrast() -> None:
    mask = (BRAIN.array > 0).astype(np.float32)

    with pytest.raises(InputError) as caught:
        preprocess(Volume(mask, BRAIN.affine, "mask.nii"))
    assert caught.value.code == "no-contrast"


def test_noise_alone_does_not_crash() -> None:
    noise = np.random.default_rng(0).rayleigh(10, (40, 40, 40)).astype(np.float32)

    assert preprocess(Volume(noise, np.diag([4.0, 4, 4, 1])), SMALL).array.any()


def test_fingerprint_changes_with_every_setting() -> None:
    base = Preprocessing()
    others = [
        Preprocessing(size=113),
        Preprocessing(fov_mm=200),
        Preprocessing(lower_percentile=2),
        Preprocessing(upper_percentile=99),
        Preprocessing(max_height_mm=170),
        Preprocessing(margin_mm=3),
    ]
    assert len({settings.fingerprint() for settings in [base, *others]}) == 7
    assert base.fingerprint() == Preprocessing().fingerprint()
    assert hash(base) == hash(Preprocessing())


@pytest.mark.parametrize(
    "wrong",
    [
        {"size": 0},
        {"fov_mm": -1},
        {"lower_percentile": 99.9},
        {"max_height_mm": 0},
        {"margin_mm": -1},
    ],
)
def test_impossible_settings_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=next(iter(wrong))):
        Preprocessing(**wrong)  # type: ignore[arg-type]
