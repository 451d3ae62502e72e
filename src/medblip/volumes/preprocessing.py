"""From a scan in any orientation and field of view to one upright cube of bytes.

The paper pads the volume to a cube and resizes it. Here the cube is laid around the head, not
around the field of view, so that the same head fills it whatever was scanned around it, and the
affine alone decides where right, front and top are.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from medblip.errors import InputError, UsageError
from medblip.volumes.cube import Cube, SourceFacts, bounds_of
from medblip.volumes.extras import BIAS_TOOLS, STRIP_TOOLS, treated
from medblip.volumes.gray_levels import Window, fill_gray_levels
from medblip.volumes.grids import Grid
from medblip.volumes.head_box import head_box
from medblip.volumes.head_mask import Head, find_head
from medblip.volumes.memory_layout import Layout
from medblip.volumes.order_statistics import quantile
from medblip.volumes.orientation import to_ras
from medblip.volumes.volume import StoredVolume, Volume

Floats = NDArray[np.float32]
Matrix = NDArray[np.float64]
SAMPLES = 200_000  # voxels of the head that its percentiles are taken from, at least


@dataclass(frozen=True)
class Preprocessing:
    """How a scan becomes a cube; equal settings give equal cubes and equal fingerprints.

    Attributes:
        size: voxels along each edge of the cube (the paper's 224; the embedded model's 112).
        fov_mm: edge of the cube in mm. None lets the longest edge of the head's box fill the
            cube, as the paper's resizing does; a number keeps the physical scale of every head.
        lower_percentile, upper_percentile: intensities within the head that become 1 and 255.
        max_height_mm: what lies lower than this below the top of the head is left out.
        margin_mm: room kept around the head's box.
        bias, strip: tools that treat the scan first, see ``extras``: ``n4`` and ``deepbet``; none
            by default.
    """

    version: ClassVar[str] = "2"  # raise it whenever the same scan would give another cube

    size: int = 112
    fov_mm: float | None = None
    lower_percentile: float = 1.0
    upper_percentile: float = 99.5
    max_height_mm: float = 180.0
    margin_mm: float = 2.0
    bias: str = ""
    strip: str = ""

    def __post_init__(self) -> None:
        _require(8 <= self.size <= 1024, "size", self.size, "8 to 1024 voxels")
        _require(
            self.fov_mm is None or 50 <= self.fov_mm <= 1000, "fov_mm", self.fov_mm, "50 to 1000 mm"
        )
        percentiles = (self.lower_percentile, self.upper_percentile)
        _require(
            0 <= percentiles[0] < percentiles[1] <= 100,
            "lower_percentile, upper_percentile",
            percentiles,
            "0 <= lower < upper <= 100",
        )
        _require(self.max_height_mm > 0, "max_height_mm", self.max_height_mm, "more than 0 mm")
        _require(0 <= self.margin_mm <= 100, "margin_mm", self.margin_mm, "0 to 100 mm")
        for field, tool, known in (
            ("bias", self.bias, BIAS_TOOLS),
            ("strip", self.strip, STRIP_TOOLS),
        ):
            _require(tool in ("", *known), field, tool, f"nothing or {', '.join(known)}")

    def fingerprint(self) -> str:
        """16 hex digits that change with any setting and with the version of the code."""
        # A tool that is not used leaves no trace, so that cubes keep their names as tools come.
        settings = {name: value for name, value in asdict(self).items() if value != ""}
        text = json.dumps({"version": self.version, **settings}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def preprocess(volume: Volume | StoredVolume, preprocessing: Preprocessing | None = None) -> Cube:
    """Turn upright, find the head, cut to it, scale its intensities, resample to a cube.

    Args:
        volume: a scan in any orientation, float32 without NaN.
        preprocessing: settings; ``Preprocessing()`` if None.

    Returns:
        A ``Cube`` of uint8 ``(size, size, size)``, RAS+, the head centred, background 0.

    Raises:
        InputError: ``no-head-found`` or ``no-contrast``, or ``treatment-failed`` by a tool.
        UsageError: ``missing-extra`` if a tool is not installed.
    """
    settings = preprocessing or Preprocessing()
    if isinstance(volume, StoredVolume):
        treats = settings.bias or settings.strip
        volume = volume.scaled() if treats else volume.unscaled
    ras = treated(to_ras(volume), bias=settings.bias, strip=settings.strip)
    head = find_head(ras)
    box = _head_box_mm(ras, head, settings)
    affine = _cube_affine(box, settings)
    grid = _block_of(box, affine, ras, settings)
    window = _window(head, grid.source_box(ras.shape), settings, ras.source)

    array = np.zeros((settings.size,) * 3, dtype=np.uint8)
    target = tuple(slice(a, a + n) for a, n in zip(grid.start, grid.shape, strict=True))
    fill_gray_levels(array[target], ras.array, grid, head, window)
    facts = SourceFacts(ras.shape, ras.voxel_sizes, volume.axcodes)
    return Cube(array, affine, bounds_of(array), facts, ras.findings, volume.source)


def _require(condition: bool, field: str, found: object, expected: str) -> None:
    if not condition:
        raise UsageError(
            f"preprocessing.{field}",
            f"is {found}; expected {expected}",
            "correct the recipe",
            code="bad-preprocessing",
        )


def _head_box_mm(ras: Volume, head: Head, settings: Preprocessing) -> Matrix:
    """Lowest and highest corner ``(2, 3)`` of the head's box in mm, with the margin."""
    parallel = Grid(ras.affine, (0, 0, 0), ras.shape).is_parallel()
    box = head_box(head, ras, settings.max_height_mm, parallel=parallel)
    return box + np.array([[-settings.margin_mm], [settings.margin_mm]])


def _cube_affine(box: Matrix, settings: Preprocessing) -> Matrix:
    """Cube voxel -> mm: axes along the world's, the box in the middle."""
    edge = float((box[1] - box[0]).max()) if settings.fov_mm is None else settings.fov_mm
    voxel = edge / settings.size
    affine = np.diag([voxel, voxel, voxel, 1.0])
    affine[:3, 3] = box.mean(axis=0) - voxel * (settings.size - 1) / 2
    return affine


def _block_of(box: Matrix, affine: Matrix, ras: Volume, settings: Preprocessing) -> Grid:
    """The cube's voxels whose centres lie in the box; all others stay 0."""
    indices = (box - affine[:3, 3]) / affine[0, 0]
    low = np.clip(np.ceil(indices[0] - 1e-6), 0, settings.size - 1).astype(int)
    high = np.clip(np.floor(indices[1] + 1e-6), low, settings.size - 1).astype(int)
    x, y, z = (int(n) for n in low)
    i, j, k = (int(n) for n in high - low + 1)
    return Grid(np.linalg.inv(ras.affine) @ affine, (x, y, z), (i, j, k))


def _window(
    head: Head, part: tuple[slice, slice, slice], settings: Preprocessing, name: str
) -> Window:
    """The range of the head's intensities within the part, from its sampled voxels."""
    sampled = tuple(
        slice(-(-cut.start // stride), -(-cut.stop // stride))
        for cut, stride in zip(part, head.blocks.strides, strict=True)
    )
    mask, values = head.mask[sampled], head.departures[sampled]
    slowest = Layout.of(mask).order[0]
    step = max(1, int(np.count_nonzero(mask)) // SAMPLES)
    thinned = (slice(None),) * slowest + (slice(None, None, step),)
    inside = _selected(values[thinned], mask[thinned])
    if not inside.size:
        raise InputError(
            name,
            "no voxel of the head lies in the cube; expected a head",
            "check that the file is a scan of a head",
            code="no-head-found",
        )
    low, high = (
        quantile(inside, percentile / 100)
        for percentile in (settings.lower_percentile, settings.upper_percentile)
    )
    if high > low:
        return Window(low, high)
    raise InputError(
        name,
        f"no contrast: nearly every voxel of the head is {head.background + low:g}; expected a "
        "scan",
        "give the scan itself, not a mask",
        code="no-contrast",
    )


def _selected(values: Floats, mask: NDArray[np.bool_]) -> Floats:
    """``values[mask]`` in memory's order, which is faster where axes are permuted."""
    order = Layout.of(mask).order
    selected: Floats = values.transpose(order)[mask.transpose(order)]
    return selected
