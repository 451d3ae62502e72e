"""Frames of a series put into one stack, or the reason why they make none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medblip.errors import InputError
from medblip.findings import Finding
from medblip.volumes.dicom_ends import check_ends
from medblip.volumes.dicom_frames import Frame

# Scanners round to five or six digits; a localizer's planes differ by whole units.
_SAME_DIRECTION = 1e-3
_SAME_SPACING = 1e-3
# As highdicom: neighbours may be 1% nearer or farther than the mean.
_EVEN = 0.01
# Cosine between the stack's direction and the slices' normal: 2.6 degrees, as highdicom. What
# tilt is left below is in the affine.
_UPRIGHT = 1e-3
_BESIDE = 0.05  # of a step
_SAME_PLACE_MM = 1e-3
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True)
class Stack:
    """Frames in order.

    Attributes:
        frames: along the third voxel axis.
        affine: float64 ``(4, 4)``, (column, row, slice) index to RAS+ mm.
        findings: doubts.
    """

    frames: list[Frame]
    affine: NDArray[np.float64]
    findings: tuple[Finding, ...]


def stack(frames: Sequence[Frame], name: str) -> Stack:
    """Order frames of one size along their normal and find the affine.

    Args:
        frames: of one series, no frame twice.
        name: of the series, for messages.

    Raises:
        InputError: ``mixed-geometry`` where some are oriented or spaced otherwise (a localizer),
            ``duplicate-slices`` where two lie in one place, ``missing-slices`` for gaps,
            ``uneven-slices``, ``gantry-tilt``, ``missing-end-slices``, ``bad-affine``, and
            ``too-few-slices`` for a single one.
    """
    if len(frames) < 2:
        raise InputError(
            name,
            "is one slice; expected all slices of a series",
            "give the folder that holds them",
            code="too-few-slices",
        )
    _check_alike(frames, name)
    along_row, along_column = np.split(np.asarray(frames[0].orientation), 2)
    normal = np.cross(along_row, along_column)
    _check_directions(along_row, along_column, name)
    places = np.asarray([frame.position for frame in frames])
    order = np.argsort(places @ normal, kind="stable")
    ordered, places = [frames[i] for i in order], places[order]
    _check_steps(places @ normal, ordered, name)
    step = (places[-1] - places[0]) / (len(places) - 1)
    _check_upright(places, step, normal, name)
    findings = check_ends(ordered, name)

    affine = np.eye(4)
    affine[:3, 0] = along_row * frames[0].spacing[1]  # PixelSpacing names the rows first
    affine[:3, 1] = along_column * frames[0].spacing[0]
    affine[:3, 2] = step
    affine[:3, 3] = places[0]
    return Stack(ordered, _LPS_TO_RAS @ affine, findings)


def _check_alike(frames: Sequence[Frame], name: str) -> None:
    for facts, tolerance, what in (
        ([frame.orientation for frame in frames], _SAME_DIRECTION, "orientation"),
        ([frame.spacing for frame in frames], _SAME_SPACING, "spacing of pixels"),
    ):
        values = np.asarray(facts)
        usual = np.median(values, axis=0)
        allowed = tolerance * max(1.0, float(np.abs(usual).max()))
        others = int((np.abs(values - usual) > allowed).any(axis=1).sum())
        if others:
            raise InputError(
                name,
                f"{others} of {len(frames)} slices have another {what} than the rest; expected one "
                "stack (a localizer or another series lies among them)",
                "choose the slices of one stack, for example by a pattern of file names",
                code="mixed-geometry",
            )


def _check_directions(
    along_row: NDArray[np.float64], along_column: NDArray[np.float64], name: str
) -> None:
    lengths = [float(np.linalg.norm(along_row)), float(np.linalg.norm(along_column))]
    if max(abs(length - 1) for length in lengths) > 0.01 or abs(along_row @ along_column) > 0.01:
        raise InputError(
            name,
            "DICOM field ImageOrientationPatient is not two unit vectors at a right angle",
            "export the series again",
            code="bad-affine",
        )


def _check_steps(heights: NDArray[np.float64], ordered: Sequence[Frame], name: str) -> None:
    """Whether the slices, given in order of their height along the normal, are evenly apart."""
    steps = np.diff(heights)
    if steps.min() < _SAME_PLACE_MM:
        copies = Counter(np.round(heights / _SAME_PLACE_MM).astype(int).tolist())
        raise InputError(
            name,
            f"{int((steps < _SAME_PLACE_MM).sum())} of {len(ordered)} slices lie where another "
            f"one lies (up to {max(copies.values())} in one place); expected one in each place",
            "choose one echo, time point or copy, for example by a pattern of file names",
            code="duplicate-slices",
        )
    usual = float(np.median(steps))
    gaps = steps > 1.5 * usual
    if gaps.any():
        missing = int(np.round(steps[gaps] / usual - 1).sum())
        raise InputError(
            name,
            f"about {missing} slice(s) are missing inside the stack: {len(ordered)} slices "
            f"{usual:.3g} mm apart, with {int(gaps.sum())} gap(s) of up to {steps.max():.3g} mm; "
            "expected even steps",
            "download the series again",
            code="missing-slices",
        )
    if not np.allclose(steps, steps.mean(), rtol=_EVEN, atol=0):
        raise InputError(
            name,
            f"slices are {steps.min():.4g} to {steps.max():.4g} mm apart; expected even steps",
            "convert the series with a tool that resamples it: dcm2niix -z y FOLDER",
            code="uneven-slices",
        )


def _check_upright(
    places: NDArray[np.float64],
    step: NDArray[np.float64],
    normal: NDArray[np.float64],
    name: str,
) -> None:
    cosine = float(step @ normal / np.linalg.norm(step))
    if 1 - cosine > _UPRIGHT:
        raise InputError(
            name,
            f"slices are stacked {np.degrees(np.arccos(min(cosine, 1))):.1f} degrees off their "
            "normal (a tilted gantry); expected an upright stack",
            "convert the series with a tool that corrects it: dcm2niix -z y FOLDER",
            code="gantry-tilt",
        )
    line = places[0] + np.arange(len(places))[:, None] * step
    off = float(np.abs(places - line).max())
    if off > max(_BESIDE * float(np.linalg.norm(step)), 0.01):
        raise InputError(
            name,
            f"slices lie up to {off:.3g} mm beside a straight line; expected a straight stack",
            "export the series again",
            code="uneven-slices",
        )
