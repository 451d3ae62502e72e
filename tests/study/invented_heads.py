"""Cubes of invented heads: one shape with a front, a top and a side, and a texture of one's own."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

SIZE = 36
Cube = NDArray[np.uint8]


@cache
def head(person: int, visit: int = 0) -> Cube:
    """uint8 ``(36, 36, 36)``, RAS+; another visit of a person is another scan of the same head."""
    rng = np.random.default_rng(person)
    axis = np.linspace(-1.1, 1.1, SIZE)
    x, y, z = np.meshgrid(axis, axis, axis, indexing="ij")
    width, length, height = 0.8, 1.0, 0.9
    widths = rng.normal(1, 0.02, 3)
    inside = (x / width / widths[0]) ** 2 + (y / length / widths[1]) ** 2
    inside = inside + (z / height / widths[2]) ** 2 < 1
    # Brighter in front, above, and to the left: so that a turned head is another head.
    texture = 130 + 40 * y + 25 * z - 20 * x + 14 * _patches(rng)
    if visit:
        texture = texture + 10 * _patches(np.random.default_rng([person, visit]))
    return np.where(inside, np.clip(texture, 1, 255), 0).astype(np.uint8)


def _patches(rng: np.random.Generator) -> NDArray[np.float64]:
    return np.kron(rng.standard_normal((9, 9, 9)), np.ones((SIZE // 9,) * 3))


def copy_of(cube: Cube, kind: str) -> Cube:
    """The same scan saved otherwise: ``noise``, ``scale``, ``shift``, ``mirror`` or ``all``."""
    rng = np.random.default_rng(7)
    array = cube.astype(np.float64)
    if kind in ("scale", "all"):
        array = 0.8 * array
    if kind in ("noise", "all"):
        array = array + rng.normal(0, 5, array.shape) * (cube > 0)
    if kind in ("shift", "all"):
        array = np.roll(array, (1, -1, 1), axis=(0, 1, 2))
    if kind == "mirror":
        array = array[::-1]
    return np.clip(array, 0, 255).astype(np.uint8)
