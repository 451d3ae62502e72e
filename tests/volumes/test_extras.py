"""Optional tools: what they do to a volume, and what is said where they are not installed."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest

from medblip.errors import InputError, UsageError
from medblip.volumes import Preprocessing, Volume, preprocess, to_ras
from medblip.volumes.extras import treated
from phantoms import MARKER, head_volume, reoriented

FIELD = 0.4  # logarithm of the bias at the edges of the field of view


class EllipsoidBet:
    """Stands in for deepbet's class: the brain is an ellipsoid round the middle of the world."""

    def __init__(self, *, no_gpu: bool) -> None:
        assert no_gpu

    def run(self, image: nib.Nifti1Image) -> tuple[object, nib.Nifti1Image, float]:
        index = np.stack(np.meshgrid(*map(np.arange, image.shape), indexing="ij"), axis=-1)
        points = nib.affines.apply_affine(image.affine, index)
        mask = ((points / (64, 80, 60)) ** 2).sum(axis=-1) <= 1
        return None, nib.Nifti1Image(mask.astype(np.uint8), image.affine), 0.0


def test_bias_field_is_taken_out() -> None:
    pytest.importorskip("SimpleITK")
    head = head_volume((40, 46, 40), voxel_mm=5)
    ramp = np.linspace(-1, 1, head.shape[0], dtype=np.float32)[:, None, None]
    biased = Volume(head.array * np.exp(FIELD * ramp), head.affine, "scan.nii")

    corrected = treated(biased, bias="n4")

    inside = head.array > 90
    left = np.log(corrected.array[inside] / head.array[inside])
    slope = np.polyfit(np.broadcast_to(ramp, head.shape)[inside], left, 1)[0]
    assert abs(slope) < 0.25 * FIELD
    assert corrected.array.dtype == np.float32
    assert [(f.code, f.level) for f in corrected.findings] == [("treated", "note")]
    np.testing.assert_array_equal(treated(biased, bias="n4").array, corrected.array)


def test_brain_is_cut_out_where_it_lies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "deepbet", SimpleNamespace(BrainExtraction=EllipsoidBet))
    settings = Preprocessing(size=32, strip="deepbet")
    head = head_volume((60, 72, 64), voxel_mm=3.2)
    turned = reoriented(head, (2, 0, 1), (-1, 1, -1))

    brain = treated(to_ras(turned), strip="deepbet")
    cube, same = preprocess(turned, settings), preprocess(head, settings)

    marker = tuple(np.linalg.solve(brain.affine, [*MARKER, 1])[:3].round().astype(int))
    assert brain.array[marker] == head.array[marker] == 140
    assert brain.array[0].max() == brain.array.min() == head.array.min()
    np.testing.assert_array_equal(cube.array, same.array)
    assert cube.bounds != preprocess(head, Preprocessing(size=32)).bounds
    assert "deepbet" in cube.findings[0].problem


def test_a_tool_that_is_not_installed_is_named_with_its_extra(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    head = head_volume((30, 36, 32), voxel_mm=6)
    for module, settings in (
        ("SimpleITK", Preprocessing(bias="n4")),
        ("deepbet", Preprocessing(strip="deepbet")),
    ):
        monkeypatch.setitem(sys.modules, module, None)  # importing it fails
        with pytest.raises(UsageError, match=r"medblip\[strip\]") as caught:
            preprocess(head, settings)
        assert caught.value.code == "missing-extra"


@pytest.mark.parametrize("result", ["raises", "empty"])
def test_a_tool_that_fails_refuses_the_scan(result: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing(EllipsoidBet):
        def run(self, image: nib.Nifti1Image) -> tuple[object, nib.Nifti1Image, float]:
            if result == "raises":
                raise AssertionError("Not enough foreground")
            return None, nib.Nifti1Image(np.zeros(image.shape, np.uint8), image.affine), 0.0

    monkeypatch.setitem(sys.modules, "deepbet", SimpleNamespace(BrainExtraction=Failing))
    with pytest.raises(InputError) as caught:
        treated(head_volume((30, 36, 32), voxel_mm=6), strip="deepbet")
    assert caught.value.code == "treatment-failed"


def test_tools_change_the_fingerprint_and_nothing_else_does() -> None:
    chosen = [Preprocessing(), Preprocessing(bias="n4"), Preprocessing(strip="deepbet")]
    assert len({settings.fingerprint() for settings in chosen}) == 3
    assert Preprocessing().fingerprint() == Preprocessing(bias="", strip="").fingerprint()
    # Cubes keep their names until the same scan gives another cube.
    assert Preprocessing().fingerprint() == "643913986fa02f1d"


@pytest.mark.parametrize("options", [{"bias": "n3"}, {"strip": "hd-bet"}])
def test_unknown_tools_are_refused(options: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="expected nothing or"):
        Preprocessing(**options)  # type: ignore[arg-type]
