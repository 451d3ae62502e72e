"""The tissue mixture of a template brain, as points with fractions: what the gate aligns."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medblip.errors import InputError

Floats = NDArray[np.float64]

POINT_SPACING_MM = 4.0
MARGIN_VOXELS = 8  # so that the shell around the brain exists where a template is cut close


@dataclass(frozen=True)
class Reference:
    """Tissue mixture of a template brain at low resolution.

    Attributes:
        points: float64 ``(points, 3)``, RAS+ world mm: all of the brain and one step around it.
        gray, white, brain: float64 ``(points,)``, fractions 0 to 1 of the volume around a point.
        depth: float64 ``(points,)``, mm below the brain's surface; 0 outside.
    """

    points: Floats
    gray: Floats
    white: Floats
    brain: Floats
    depth: Floats

    @property
    def fluid(self) -> Floats:
        """What is brain but neither gray nor white: ventricles and sulci."""
        return np.clip(self.brain - self.gray - self.white, 0.0, 1.0)

    @property
    def mixture(self) -> Floats:
        """``(points, 4)``: fractions of outside, gray, white and fluid."""
        return np.stack([1.0 - self.brain, self.gray, self.white, self.fluid], axis=1)

    @property
    def centre(self) -> Floats:
        """Middle of the brain, world mm."""
        middle: Floats = self.points[self.brain > 0.5].mean(axis=0)
        return middle

    @classmethod
    def from_folder(cls, folder: Path) -> Reference:
        """Read ``t1.nii.gz`` (skull-stripped, 0 outside), ``gm.nii.gz`` and ``wm.nii.gz``.

        Raises:
            InputError: a file is missing or unreadable, or the three grids differ.
        """
        t1, affine = _read_map(folder / "t1.nii.gz")
        tissues = []
        for name in ("gm.nii.gz", "wm.nii.gz"):
            array, other = _read_map(folder / name)
            if array.shape != t1.shape or not np.allclose(other, affine, atol=1e-3):
                raise InputError(
                    str(folder / name),
                    f"its grid of {array.shape} voxels is not that of t1.nii.gz, {t1.shape}",
                    "take all three maps from one template",
                    code="reference-grid",
                )
            tissues.append(array)
        return cls.from_maps(tissues[0], tissues[1], t1 > 0, affine)

    @classmethod
    def from_maps(
        cls,
        gray: NDArray[Any],
        white: NDArray[Any],
        brain: NDArray[Any],
        affine: Floats,
    ) -> Reference:
        """Build from three ``(x, y, z)`` maps on one grid.

        Args:
            gray, white: tissue probabilities, on any scale whose maximum means certain.
            brain: mask, non-zero inside.
            affine: ``(4, 4)``, voxel to RAS+ world mm.
        """
        inside = (np.asarray(brain) > 0).astype(np.float32)
        maps = (inside, inside * gray / np.max(gray), inside * white / np.max(white))
        grid = affine @ np.array([*np.eye(4)[:, :3].T, [-MARGIN_VOXELS] * 3 + [1.0]]).T
        blocks = [block_average(np.pad(m, MARGIN_VOXELS), grid, POINT_SPACING_MM) for m in maps]
        mask, low = blocks[0]
        step = float(np.cbrt(abs(np.linalg.det(low[:3, :3]))))
        depth = ndimage.distance_transform_edt(mask > 0.5) * step
        index = np.argwhere(ndimage.distance_transform_edt(mask <= 0.5) <= 1.0)
        at = tuple(index.T)
        points = index @ low[:3, :3].T + low[:3, 3]
        gm, wm = blocks[1][0], blocks[2][0]
        return cls(points, *(m[at].astype(np.float64) for m in (gm, wm, mask, depth)))


def block_average(
    array: NDArray[np.floating[Any]], affine: Floats, spacing: float
) -> tuple[NDArray[np.floating[Any]], Floats]:
    """Average whole blocks of voxels so that none is much larger than ``spacing`` mm.

    Exact about position and free of aliasing; voxels at the far border that fill no block are
    left out. Axes that are coarse already are kept.

    Returns:
        the smaller array and its affine (voxel to world mm).
    """
    sizes = np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
    factors = np.clip(np.floor(spacing / sizes + 0.25).astype(int), 1, array.shape)
    small = array
    for axis in (2, 1, 0):
        count = small.shape[axis] // factors[axis]
        kept = small[(*[slice(None)] * axis, slice(count * factors[axis]))]
        shape = (*small.shape[:axis], count, factors[axis], *small.shape[axis + 1 :])
        small = kept.reshape(shape).mean(axis=axis + 1, dtype=np.float32)
    low = affine.copy()
    low[:3, :3] = affine[:3, :3] * factors
    low[:3, 3] = affine[:3, 3] + affine[:3, :3] @ ((factors - 1) / 2)
    return small, low


def _read_map(path: Path) -> tuple[NDArray[np.float32], Floats]:
    try:
        image: Any = nib.load(path)
        canonical: Any = nib.as_closest_canonical(image)
        return np.asarray(canonical.dataobj, dtype=np.float32), np.asarray(canonical.affine)
    except (OSError, EOFError, ValueError, nib.filebasedimages.ImageFileError) as error:
        raise InputError(
            str(path),
            f"the template map cannot be read: {error}",
            "fetch the template again",
            code="reference-unreadable",
        ) from error
