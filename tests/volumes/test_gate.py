"""Which scans the gate lets through, which it refuses, and with what reason."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from medblip.findings import Finding
from medblip.volumes import Volume
from medblip.volumes.gate import GateThresholds, check_plausibility
from phantoms import reoriented
from tissue_head import CT_HU, SEQUENCES, head_reference, scan, tissue_map, turned


def judged(volume: Volume) -> tuple[str | None, list[str], Finding | None]:
    """Code of the refusal or None, codes of the other findings, and the refusal itself."""
    findings = check_plausibility(volume, head_reference())
    errors = [finding for finding in findings if finding.level == "error"]
    others = [finding.code for finding in findings if finding.level != "error"]
    return (errors[0].code, others, errors[0]) if errors else (None, others, None)


def like(volume: Volume, array: np.ndarray) -> Volume:
    return Volume(array.astype(np.float32), volume.affine, volume.source)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, []),
        ({"skull": False}, ["skull-stripped"]),
        ({"skull": False, "atrophy": 1.0, "noise": 6.0}, ["skull-stripped"]),
        ({"atrophy": 1.0, "bias": 0.4}, []),
        ({"noise": 14.0}, []),
        ({"bias": 0.6, "noise": 8.0}, []),
        ({"voxel_mm": (1.6, 1.6, 5.0)}, ["thick-slices"]),
        ({"voxel_mm": (5.0, 1.6, 1.6)}, ["thick-slices"]),
        ({"pose": turned((20, 0, 0), 0.9)}, []),
        ({"pose": turned((-20, 0, 0), 0.9)}, []),
        ({"pose": turned((0, 20, 0), 0.85, (5, 0, 4))}, []),
        ({"pose": turned((0, 0, -20), 0.95, (0, 6, 0)), "skull": False}, ["skull-stripped"]),
    ],
    ids=str,
)
def test_t1_brains_pass(options: dict[str, object], expected: list[str]) -> None:
    code, others, error = judged(scan(**options))  # type: ignore[arg-type]
    assert code is None, error
    assert others == expected


@pytest.mark.parametrize(
    ("axes", "flips"),
    [((2, 0, 1), (1, -1, -1)), ((1, 0, 2), (-1, -1, -1)), ((0, 2, 1), (-1, 1, 1))],
)
def test_axis_order_does_not_matter(axes: tuple[int, ...], flips: tuple[int, ...]) -> None:
    code, others, error = judged(reoriented(scan(pose=turned((10, 0, 0), 0.9)), axes, flips))
    assert code is None, error
    assert others == []


@pytest.mark.parametrize("skull", [True, False])
@pytest.mark.parametrize("sequence", sorted(SEQUENCES))
def test_other_contrasts_are_refused(sequence: str, skull: bool) -> None:
    code, _, error = judged(scan(SEQUENCES[sequence], skull=skull))
    assert code == "out-of-scope-contrast"
    assert error is not None
    hint = {"t2": "T2", "flair": "FLAIR", "proton-density": "proton density", "perfusion": "PET"}
    assert hint.get(sequence, "") in error.problem
    assert "gray is" in error.problem
    assert error.where == "scan.nii.gz"


def test_ct_is_refused_by_its_air() -> None:
    code, _, error = judged(scan(CT_HU, noise=4.0))
    assert code == "out-of-scope-ct"
    assert error is not None
    assert "-1000" in error.problem


@pytest.mark.parametrize(("low", "width"), [(-100.0, 1000.0), (-1000.0, 2200.0)])
def test_ct_stored_without_hounsfield_is_refused_by_its_bone(low: float, width: float) -> None:
    window = np.clip((np.asarray(CT_HU) - low) / width, 0.0, 1.0) * 255.0
    code, _, error = judged(scan(tuple(window), noise=1.0))
    assert code == "out-of-scope-ct"
    assert error is not None
    assert "bone" in error.problem


@pytest.mark.parametrize("scale", [1.0, 37.0, 0.5])
def test_label_maps_are_refused(scale: float) -> None:
    head = scan()
    near = ndimage.zoom(np.random.default_rng(0).integers(1, 90, (8, 9, 8)), 9, order=0)
    brain = ndimage.zoom(tissue_map(skull=False) > 0, 2.0 / 2.4, order=0)
    i, j, k = (min(pair) for pair in zip(near.shape, brain.shape, strict=True))
    labels = (near[:i, :j, :k] * brain[:i, :j, :k]) * scale
    assert judged(like(head, labels))[0] == "out-of-scope-labels"


def test_masks_and_constants_are_refused() -> None:
    head = scan(skull=False)
    for array in (head.array > 0, np.full(head.shape, 3.0), np.zeros(head.shape)):
        assert judged(like(head, array))[0] == "out-of-scope-labels"


def test_statistical_map_is_refused() -> None:
    head = scan(skull=False)
    smooth = ndimage.gaussian_filter(np.random.default_rng(1).normal(size=head.shape), 2.0)
    code, _, error = judged(like(head, smooth / smooth.std() * (head.array > 0)))
    assert code == "out-of-scope-signed"
    assert error is not None
    assert "statistical" in error.problem


@pytest.mark.parametrize("zoom", [0.4, 0.65])
def test_brains_of_another_size_are_refused(zoom: float) -> None:
    head = scan(skull=False)
    resized = Volume(head.array, np.diag([zoom, zoom, zoom, 1.0]) @ head.affine, head.source)
    code, _, error = judged(resized)
    assert code == "out-of-scope-size"
    assert error is not None
    assert "expected" in error.problem or "adult" in error.problem


@pytest.mark.parametrize("what", ["smooth ball", "noise", "blobs"])
def test_objects_are_refused(what: str) -> None:
    head = scan()
    generator = np.random.default_rng(2)
    points = np.stack(np.indices(head.shape), axis=-1) * 2.4
    centre = np.asarray(head.shape) * 1.2
    radius = np.sqrt((((points - centre) / (68, 85, 64)) ** 2).sum(axis=-1))
    rough = ndimage.gaussian_filter(generator.normal(size=head.shape), 1.5)
    rough = rough / rough.std()
    arrays = {
        "smooth ball": (radius < 1) * (150 - 60 * radius + 4 * rough),
        "noise": generator.uniform(0, 200, head.shape),
        "blobs": np.maximum(ndimage.gaussian_filter(rough, 4) * 4000 + 200, 0),
    }
    code, _, error = judged(like(head, arrays[what]))
    assert code is not None
    assert code.startswith("out-of-scope")
    assert error is not None
    assert error.fix


@pytest.mark.parametrize("axis", [0, 1])
def test_half_heads_are_refused(axis: int) -> None:
    head = scan()
    half = np.take(head.array, range(head.shape[axis] // 2), axis=axis)
    code = judged(Volume(half, head.affine, head.source))[0]
    assert code in {"out-of-scope-anatomy", "out-of-scope-partial", "out-of-scope-size"}


@pytest.mark.parametrize("wrong", ["upside down", "front for top"])
def test_mislabelled_axes_are_refused(wrong: str) -> None:
    head = scan()
    array = head.array[:, :, ::-1] if wrong == "upside down" else head.array.transpose(0, 2, 1)
    code, _, error = judged(like(head, array))
    assert code == "out-of-scope-anatomy"
    assert error is not None
    assert "expected" in error.problem


def test_cut_crown_is_told_by_how_much_is_missing() -> None:
    head = scan(skull=False, pose=turned((8, 0, 0), 0.95))
    crown = int(np.flatnonzero((head.array > 0).any(axis=(0, 1)))[-1])

    def cut(mm: float) -> Volume:
        kept = crown - round(mm / 2.4)
        return Volume(head.array[:, :, :kept], head.affine, head.source)

    assert judged(cut(3.0))[:2] == (None, ["skull-stripped"])
    assert judged(cut(17.0))[:2] == (None, ["brain-cut", "skull-stripped"])
    code, _, error = judged(cut(24.0))
    assert code == "out-of-scope-partial"
    assert error is not None
    assert "field of view" in error.problem


def test_contrast_agent_is_noticed() -> None:
    head = scan(skull=False)
    field = ndimage.gaussian_filter(np.random.default_rng(3).normal(size=head.shape), 2.0)
    vessels = (np.abs(field) < np.quantile(np.abs(field), 0.02)) & (head.array > 60)
    assert "contrast-enhanced" in judged(like(head, np.where(vessels, 300.0, head.array)))[1]
    assert "contrast-enhanced" not in judged(head)[1]


def test_surface_coil_passes() -> None:
    head = scan()
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in head.shape), indexing="ij")
    near = np.exp(-np.sqrt(x**2 + (y + 1) ** 2 + z**2) / 0.5)
    assert judged(like(head, head.array * (0.1 + near)))[0] is None


def test_without_reference_only_intensities_are_checked() -> None:
    findings = check_plausibility(scan(SEQUENCES["t2"]))
    assert [finding.code for finding in findings] == ["anatomy-not-checked"]
    assert findings[0].level == "note"
    refused = check_plausibility(scan(CT_HU))
    assert [finding.code for finding in refused] == ["out-of-scope-ct"]


def test_same_scan_same_findings() -> None:
    head = scan(SEQUENCES["flair"], bias=0.3)
    assert check_plausibility(head, head_reference()) == check_plausibility(head, head_reference())


def test_thresholds_can_be_moved() -> None:
    head = scan()
    strict = GateThresholds(min_score=0.99)
    codes = [f.code for f in check_plausibility(head, head_reference(), strict)]
    assert codes == ["out-of-scope-anatomy"]


def test_input_is_not_changed() -> None:
    head = scan()
    before = head.array.copy()
    check_plausibility(head, head_reference())
    np.testing.assert_array_equal(head.array, before)
