"""The template alignment behind the gate: its parts against other implementations and truth."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from medblip.errors import InputError
from medblip.volumes.interpolation import trilinear
from medblip.volumes.reference import Reference, block_average
from medblip.volumes.registration import align
from medblip.volumes.tissue_contrast import tissue_contrast
from medblip.volumes.tissue_fit import UNIT_MM, TissueFit
from tissue_head import SEQUENCES, T1, head_reference, reference_maps, scan, turned


def test_trilinear_equals_scipy_and_its_slope_equals_differences() -> None:
    generator = np.random.default_rng(0)
    image = generator.normal(size=(7, 9, 6))
    voxels = generator.uniform(0, 1, (200, 3)) * (np.array(image.shape) - 1.01)
    values, slopes = trilinear(image, voxels)
    np.testing.assert_allclose(
        values, ndimage.map_coordinates(image, voxels.T, order=1), atol=1e-12
    )
    step = 1e-6
    inside = (np.abs(voxels - np.round(voxels)) > 1e-4).all(axis=1)  # away from the kinks
    for axis in range(3):
        moved = voxels + step * np.eye(3)[axis]
        difference = (trilinear(image, moved)[0] - values) / step
        np.testing.assert_allclose(slopes[inside, axis], difference[inside], atol=1e-6)


def test_block_average_keeps_every_value_in_place() -> None:
    affine = np.array([[0.0, 0, 5, -20], [1.5, 0, 0, 3], [0, -1.0, 0.0, 9], [0, 0, 0, 1]])
    index = np.stack(np.indices((12, 17, 5)), axis=-1)
    x = (index @ affine[:3, :3].T + affine[:3, 3])[..., 1]  # the second world coordinate
    small, low = block_average(x.astype(np.float32), affine, 4.0)
    assert small.shape == (6, 4, 5)
    places = np.stack(np.indices(small.shape), axis=-1) @ low[:3, :3].T + low[:3, 3]
    np.testing.assert_allclose(small, places[..., 1], atol=1e-5)


@pytest.mark.parametrize("contrast", ["t1", "flair"])
def test_alignment_finds_a_known_pose(contrast: str) -> None:
    pose = turned((14, -9, 11), 0.9, (6, -8, 7))
    intensities = T1 if contrast == "t1" else SEQUENCES[contrast]
    volume = scan(intensities, pose=pose, skull=False)
    reference = head_reference()
    alignment = align(volume, reference)
    points = reference.points[reference.brain > 0.5]
    truth = points @ pose[:3, :3].T + pose[:3, 3]
    centred = (points - reference.centre) / UNIT_MM
    found = centred @ alignment.affine[:, :3].T + alignment.affine[:, 3]
    error = np.sqrt(((found - truth) ** 2).sum(axis=1))
    assert error.mean() < 2.0, f"mean error {error.mean():.2f} mm"  # half a template point apart
    assert alignment.zoom == pytest.approx(0.9, abs=0.02)
    assert alignment.covered[reference.brain > 0.5].all()


def test_derivative_of_the_residual_equals_differences() -> None:
    volume = scan(noise=0.0)
    image, affine = block_average(volume.array, volume.affine, 4.0)
    reference = head_reference()
    fit = TissueFit.on(image, affine, reference, every=8)
    trial = np.concatenate([0.97 * UNIT_MM * np.eye(3), reference.centre[:, None] + 1.3], axis=1)
    residual, jacobian = fit._unexplained(trial)
    step = 1e-5
    for entry in range(12):
        moved = trial.copy().ravel()
        moved[entry] += step
        difference = (fit._unexplained(moved.reshape(3, 4))[0] - residual) / step
        # A few points cross a voxel border within the step; the rest must agree.
        assert np.quantile(np.abs(difference - jacobian[:, entry]), 0.99) < 1e-5


def test_score_is_the_explained_share() -> None:
    reference = head_reference()
    assert align(scan(noise=0.0, skull=False), reference).score > 0.95
    noise = np.random.default_rng(1).uniform(0, 1, (60, 70, 60))
    volume = scan()
    random = type(volume)(noise.astype(np.float32), volume.affine, "noise")
    assert align(random, reference).score < 0.1


def test_contrast_is_measured_as_drawn() -> None:
    reference = head_reference()
    contrast = tissue_contrast(align(scan(noise=1.0, bias=0.3, skull=False), reference), reference)
    assert contrast.gray == pytest.approx(105 / 140, abs=0.04)
    assert contrast.fluid == pytest.approx(35 / 140, abs=0.06)  # sulci are thin: partial volume
    assert contrast.coverage == pytest.approx(1.0)
    assert contrast.pattern > 0.5


def test_reference_from_folder(tmp_path: Path) -> None:
    gray, white, brain, affine = reference_maps()
    write = {"gm": gray * 255, "wm": white * 255, "t1": brain * 200}
    for name, array in write.items():
        image = nib.Nifti1Image(np.rint(array).astype(np.uint8), affine)
        nib.save(image, tmp_path / f"{name}.nii.gz")
    read, made = Reference.from_folder(tmp_path), head_reference()
    np.testing.assert_allclose(read.points, made.points, atol=1e-4)
    np.testing.assert_allclose(read.mixture, made.mixture, atol=0.01)  # bytes round

    flipped = nib.Nifti1Image(np.rint(gray * 255).astype(np.uint8)[:, :, 1:], affine)
    nib.save(flipped, tmp_path / "gm.nii.gz")
    with pytest.raises(InputError, match=r"gm\.nii\.gz.*grid") as caught:
        Reference.from_folder(tmp_path)
    assert caught.value.code == "reference-grid"


def test_missing_or_broken_reference_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"t1\.nii\.gz") as caught:
        Reference.from_folder(tmp_path)
    assert caught.value.code == "reference-unreadable"
    (tmp_path / "t1.nii.gz").write_bytes(b"not an image")
    with pytest.raises(InputError, match=r"t1\.nii\.gz"):
        Reference.from_folder(tmp_path)


def test_mixture_is_a_share() -> None:
    mixture = head_reference().mixture
    assert mixture.min() >= 0
    np.testing.assert_allclose(mixture.sum(axis=1), 1.0, atol=0.02)
