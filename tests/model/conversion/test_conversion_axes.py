"""The reference reads voxels as its files order them; converted filters read RAS+ volumes."""

from __future__ import annotations

import itertools

import nibabel as nib
import numpy as np
import pytest
import torch
from published import Eva3d, randomised
from torch import Tensor

from medblip.errors import UsageError
from medblip.model.conversion.scan_axes import positions_to_ras, to_ras
from medblip.model.patch_embedding import PatchEmbedding3d
from model.tiny import relative_difference

TOLERANCE = 1e-5  # float32, one convolution summed in another order
EDGE, PATCH, GRID = 16, 8, 2
ORIENTATIONS = [
    "".join(axes[i][sign] for i, sign in zip(order, signs, strict=True))
    for axes in (("RL", "AP", "SI"),)
    for order in itertools.permutations(range(3))
    for signs in itertools.product((0, 1), repeat=3)
]


def ras_volume() -> np.ndarray:
    return np.random.default_rng(0).uniform(size=(EDGE, EDGE, EDGE)).astype(np.float32)


def as_the_reference_reads(volume: np.ndarray, stored_as: str) -> Tensor:
    """The file of this orientation, in the axis order of ``SimpleITK.GetArrayFromImage``.

    SimpleITK hands out the voxels as they lie in the file, the last axis first, whatever the
    header says of directions.
    """
    image = nib.Nifti1Image(volume, np.eye(4))  # voxel axes to the right, front and top
    turn = nib.orientations.ornt_transform(
        nib.orientations.axcodes2ornt("RAS"), nib.orientations.axcodes2ornt(stored_as)
    )
    stored = image.as_reoriented(turn)
    assert "".join(nib.aff2axcodes(stored.affine)) == stored_as
    return torch.from_numpy(np.array(stored.dataobj).transpose(2, 1, 0))[None, None]


def test_there_are_48_orientations() -> None:
    assert len(set(ORIENTATIONS)) == 48


@pytest.mark.parametrize("stored_as", ORIENTATIONS)
def test_each_patch_gets_the_token_that_the_reference_gives_it(stored_as: str) -> None:
    theirs = randomised(Eva3d(layers=1))
    width = theirs.cls_token.shape[-1]
    ours = PatchEmbedding3d(width, EDGE, PATCH)
    with torch.no_grad():
        proj = theirs.patch_embed_3d["proj"]
        ours.projection.weight.copy_(to_ras(proj.weight, stored_as))
        ours.projection.bias.copy_(proj.bias)
        ours.cls_token.copy_(theirs.cls_token)
        ours.positions.copy_(positions_to_ras(theirs.pos_embed_3d, stored_as))
        found = ours(torch.from_numpy(ras_volume())[None, None])
        expected = theirs.embed(as_the_reference_reads(ras_volume(), stored_as))
    # The same tokens in another order: attention does not know it.
    in_our_order = positions_to_ras(expected, stored_as)
    difference = relative_difference(found, in_our_order)
    assert difference <= TOLERANCE, f"largest relative difference {difference}"


def test_a_wrong_orientation_gives_other_tokens() -> None:
    theirs = randomised(Eva3d(layers=1))
    kernel = theirs.patch_embed_3d["proj"].weight
    for stored_as in ORIENTATIONS[1:]:
        assert not torch.equal(to_ras(kernel, stored_as), to_ras(kernel, "RAS")), stored_as


def test_a_ras_file_only_has_its_axes_in_another_order() -> None:
    tensor = torch.arange(24.0).reshape(2, 3, 4)
    assert torch.equal(to_ras(tensor, "RAS"), tensor.permute(2, 1, 0))
    assert torch.equal(to_ras(tensor, "LPS"), tensor.permute(2, 1, 0).flip(0, 1))
    assert torch.equal(to_ras(tensor, "lps"), to_ras(tensor, "LPS"))


@pytest.mark.parametrize("stored_as", ["", "RA", "RAR", "RLS", "XYZ", "RASS", "R A"])
def test_what_names_no_orientation_is_refused(stored_as: str) -> None:
    with pytest.raises(UsageError, match="--stored-as"):
        to_ras(torch.zeros(2, 2, 2), stored_as)
