"""Where the voxels lie in the world: sform, else qform, else a refusal, since left and right
cannot be told without either."""

from __future__ import annotations

import nibabel as nib
import numpy as np
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from medblip.errors import InputError
from medblip.findings import Finding
from medblip.volumes.assumed_orientation import (
    assumed_affine,
    parse_assumption,
    unused_assumption,
)

# Smallest volume of a voxel, relative to the product of its edges, that still spans 3D.
_FLAT = 1e-3
FARTHEST_MM = 1e6

FloatMatrix = NDArray[np.float64]


def world_affine(
    header: nib.Nifti1Header,
    shape: tuple[int, int, int],
    name: str,
    assume_orientation: str | None = None,
) -> tuple[FloatMatrix, tuple[Finding, ...]]:
    """The voxel -> RAS+ mm matrix ``(4, 4)`` and what is doubtful about it.

    Args:
        header: NIfTI-1 or NIfTI-2 header.
        shape: voxels along i, j, k.
        name: file name for messages.
        assume_orientation: direction in which each voxel axis grows, e.g. ``RAS``, used only where
            the header gives none; ``RAS!`` is used whatever the header says.

    Raises:
        UsageError: ``bad-orientation`` for anything else than such letters.
        InputError: ``bad-affine`` or ``left-right-unknown``.
    """
    assumption = parse_assumption(assume_orientation)
    if not assumption.imposed:
        sform, qform = _sform(header), _qform(header, name)
        affine = sform if sform is not None else qform
        if affine is not None:
            check_affine(affine, name)
            doubts = unused_assumption(affine, assumption, name)
            return affine, (*_disagreement(sform, qform, name), *doubts)
    lacking = "neither sform_code nor qform_code is set; expected one of them"
    affine, findings = assumed_affine(header["pixdim"][1:4], shape, assumption, name, lacking)
    check_affine(affine, name)
    return affine, findings


def check_affine(affine: FloatMatrix, name: str) -> None:
    """Refuse a matrix with NaN or infinity, or one that maps the grid onto a plane.

    Raises:
        InputError: ``bad-affine``.
    """
    rows = affine[:3]
    problem = ""
    if not np.isfinite(rows).all():
        problem = "holds NaN or infinity"
    elif np.abs(rows).max() > FARTHEST_MM:
        problem = f"holds values beyond {FARTHEST_MM:g}"
    else:
        edges = np.sqrt((rows[:, :3] ** 2).sum(axis=0))
        # Voxels below a micron or above a metre are not a scan's, whatever their angles.
        if edges.min() < 1e-3 or edges.max() > 1e3:
            problem = f"has voxel edges of {', '.join(f'{edge:.3g}' for edge in edges)} mm"
        elif abs(np.linalg.det(rows[:, :3] / edges)) < _FLAT:
            problem = "is singular: its axes lie in one plane"
    if problem:
        raise InputError(
            name,
            f"the affine (sform or qform) {problem}; expected an invertible matrix in mm",
            "correct the header, for example by converting the scan again from DICOM",
            code="bad-affine",
        )


def _sform(header: nib.Nifti1Header) -> FloatMatrix | None:
    with np.errstate(all="ignore"):  # what is wrong with the numbers is checked afterwards
        affine = header.get_sform(coded=True)[0]
    return None if affine is None else np.asarray(affine, dtype=np.float64)


def _qform(header: nib.Nifti1Header, name: str) -> FloatMatrix | None:
    if int(header["qform_code"]) <= 0:
        return None
    try:
        with np.errstate(all="ignore"):
            return np.asarray(header.get_qform(), dtype=np.float64)
    except (HeaderDataError, ValueError, np.linalg.LinAlgError):
        if int(header["sform_code"]) > 0:
            return None
        raise InputError(
            name,
            "header fields quatern_b, quatern_c, quatern_d and pixdim are not a rotation with "
            "positive voxel sizes; expected a valid qform",
            "correct the header, for example by converting the scan again from DICOM",
            code="bad-affine",
        ) from None


def _disagreement(
    sform: FloatMatrix | None, qform: FloatMatrix | None, name: str
) -> tuple[Finding, ...]:
    if sform is None or qform is None or not np.isfinite(qform).all():
        return ()
    handedness = np.sign(np.linalg.det(sform[:3, :3])), np.sign(np.linalg.det(qform[:3, :3]))
    if handedness[0] == handedness[1] or handedness[1] == 0:
        return ()
    finding = Finding(
        "sform-qform-disagree",
        "warning",
        name,
        "sform and qform are mirror images of each other; the sform is used",
        "check left and right in the picture",
    )
    return (finding,)
