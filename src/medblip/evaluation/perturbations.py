"""A scan or a record made worse in steps: where do the answers begin to give?

Each kind has five levels; 0 changes nothing, and the same seed draws the same noise, field and
axis at each level, so that only its amount grows. Background (0) stays background: its tokens may
be skipped, and the head's outline is no noise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import affine_transform
from scipy.spatial.transform import Rotation

from medblip.errors import UsageError

Bytes = NDArray[np.uint8]
Perturbation = Literal["noise", "bias_field", "rotation"]

LEVELS = (0, 1, 2, 3, 4)
NOISE_SD = (0.0, 0.03, 0.06, 0.12, 0.24)  # of the brightest grey level
BIAS = (0.0, 0.2, 0.4, 0.8, 1.6)  # natural logarithm, from the middle to the farthest corner
ROTATION_DEGREES = (0.0, 5.0, 10.0, 20.0, 40.0)
FIELDS_MISSING = (0.0, 0.25, 0.5, 0.75, 1.0)  # share of the record's fields
WHITE = 255.0


def perturb_cube(cube: Bytes, kind: Perturbation, level: int, seed: int) -> Bytes:
    """A cube with one thing wrong.

    Args:
        cube: uint8 ``(D, H, W)``; the head is 1 to 255, all else 0.
        kind: ``noise`` is Rician, ``bias_field`` smooth shading, ``rotation`` about the middle.
        level: one of `LEVELS`; 0 gives ``cube`` back.
        seed: e.g. of the scan, so that each has noise of its own.

    Raises:
        UsageError: no such kind or level, or an array that is no cube of bytes.
    """
    if kind not in _CHANGES:
        _refuse(f"kind {kind!r}", f"one of {', '.join(_CHANGES)}")
    if cube.dtype != np.uint8 or cube.ndim != 3:
        _refuse(f"an array of {cube.dtype} {cube.shape}", "uint8 (D, H, W)")
    _check_level(level)
    if level == 0:
        return cube
    return _CHANGES[kind](cube, level, np.random.default_rng(seed))


def drop_fields(
    fields: Mapping[str, str], said: Sequence[str], level: int, seed: int
) -> dict[str, str]:
    """A record without some of its fields; each level drops those of the level below too.

    Args:
        fields: name -> value; absent = missing.
        said: the fields that the record says; the share is of those that are there.
        level: one of `LEVELS`; 0 drops none and 4 all.
        seed: which fields go first.

    Raises:
        UsageError: no such level.
    """
    _check_level(level)
    there = [name for name in said if name in fields]
    order = np.random.default_rng(seed).permutation(len(there))
    gone = {there[i] for i in order[: round(FIELDS_MISSING[level] * len(there))]}
    return {name: value for name, value in fields.items() if name not in gone}


def _noisy(cube: Bytes, level: int, rng: np.random.Generator) -> Bytes:
    """Rician: the length of a signal with Gaussian noise on both of its parts."""
    sd = NOISE_SD[level] * WHITE
    real = cube + sd * rng.standard_normal(cube.shape, dtype=np.float32)
    imaginary = sd * rng.standard_normal(cube.shape, dtype=np.float32)
    return _inside(np.hypot(real, imaginary), cube > 0)


def _shaded(cube: Bytes, level: int, rng: np.random.Generator) -> Bytes:
    """Brighter to one side and darker to the other, with a bend: a quadratic in log intensity."""
    axes = np.meshgrid(*(np.linspace(-1, 1, n) for n in cube.shape), indexing="ij", sparse=True)
    slope, bend = rng.standard_normal(3), rng.standard_normal(3)
    field = sum(s * x + b * x**2 for s, b, x in zip(slope, bend, axes, strict=True))
    field = field - field[tuple(n // 2 for n in cube.shape)]
    shading = np.exp(BIAS[level] * field / np.abs(field).max())
    return _inside(cube * shading, cube > 0)


def _rotated(cube: Bytes, level: int, rng: np.random.Generator) -> Bytes:
    axis = rng.standard_normal(3)
    turn = np.deg2rad(ROTATION_DEGREES[level]) * axis / np.linalg.norm(axis)
    matrix = Rotation.from_rotvec(turn).as_matrix()
    middle = (np.array(cube.shape) - 1) / 2
    offset = middle - matrix @ middle
    turned = affine_transform(cube.astype(np.float32), matrix, offset, order=1)
    head = affine_transform((cube > 0).astype(np.float32), matrix, offset, order=1) >= 0.5
    return _inside(turned, head)


def _inside(values: NDArray[np.floating], head: NDArray[np.bool_]) -> Bytes:
    """To bytes: the head is 1 to 255, all else 0."""
    rounded: Bytes = np.where(head, np.rint(values).clip(1, WHITE), 0).astype(np.uint8)
    return rounded


_CHANGES: dict[Perturbation, Callable[[Bytes, int, np.random.Generator], Bytes]] = {
    "noise": _noisy,
    "bias_field": _shaded,
    "rotation": _rotated,
}


def _check_level(level: int) -> None:
    if level not in LEVELS:
        _refuse(f"level {level}", f"one of {', '.join(map(str, LEVELS))}")


def _refuse(found: str, expected: str) -> None:
    raise UsageError("perturbation", f"found {found}, expected {expected}", code="bad-perturbation")
