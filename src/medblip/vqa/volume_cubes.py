"""Volumes of a public question set as the cubes that a model reads, cached by their content.

NIfTI, MGH and DICOM go the way of every scan. M3D's ``.npy`` files hold neither voxel sizes nor
directions, so both are assumed: each axis spans the same length, as M3D's own models take it, and
slices, rows and columns grow as `PLANES` says for the plane that the file's name tells.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medblip.errors import InputError
from medblip.findings import Finding
from medblip.volumes import Cube, Preprocessing, SourceFacts, Volume, load_cube, read_cube, to_ras
from medblip.volumes.assumed_orientation import Assumption, assumed_affine
from medblip.volumes.cache import Gate, cube_file_name, write_cube
from medblip.volumes.cube import bounds_of
from medblip.volumes.grids import Grid, axis_weights
from medblip.volumes.locating import locate, unreadable
from medblip.vqa.m3d_volume import read_m3d_volume

ARRAY_SUFFIX = ".npy"
# Rows run down a picture and columns to its right, in which the patient's left is on the right
# (axial, coronal) or the back is (sagittal). The order of the slices is known of no file.
PLANES = {"axial": "SPL", "coronal": "PIL", "sagittal": "LIP"}
UNNAMED = "axial"  # most of M3D's volumes
VERSION = "m3d-npy-1"  # raise it whenever the same file would give another cube


@dataclass(frozen=True)
class VolumeCubes:
    """Makes cubes of the volumes below one folder, one at a time.

    Attributes:
        root: folder that paths start from and may not lead out of.
        cubes: the volume cache's folder.
        settings: the preprocessing that the model was trained with.
        gate, gate_version: as for ``load_cube``; arrays without geometry do not pass it.
    """

    root: Path
    cubes: Path
    settings: Preprocessing
    gate: Gate | None = None
    gate_version: str = ""

    def cube(self, path: str) -> Cube:
        """The cube of one volume, with ``cache_file`` set.

        Raises:
            InputError: it is not there, leads out of the root, is damaged or of another kind, or
                the gate refuses it.
            UsageError: ``cache-unwritable``.
        """
        if path.casefold().endswith(ARRAY_SUFFIX):
            return self._of_array(path)
        return load_cube(
            self.root / path,
            self.settings,
            self.cubes,
            root=self.root,
            gate=self.gate,
            gate_version=self.gate_version,
        )

    def _of_array(self, path: str) -> Cube:
        file = locate(self.root / path, self.root)
        plane = plane_of(file.file_name)
        try:
            digest = file.sha256()
            kept = self.cubes / cube_file_name(digest, self.settings, (VERSION, plane))
            with suppress(InputError):  # missing or damaged: it is made again
                return read_cube(kept, file.name)
            array = read_m3d_volume(path, self.root)
        except OSError as error:
            raise unreadable(file.name, error) from None
        cube = array_cube(array, self.settings.size, plane, file.name)
        write_cube(replace(cube, source_sha256=digest), kept)
        return replace(cube, source_sha256=digest, cache_file=kept.name)


def plane_of(name: str) -> str:
    """The plane that a file's name tells, e.g. ``Axial_non_contrast.npy``; else `UNNAMED`."""
    return next((plane for plane in PLANES if plane in name.casefold()), UNNAMED)


def array_cube(array: NDArray[np.float32], size: int, plane: str, name: str) -> Cube:
    """The cube of an array without geometry; the whole of it, with 0 as background.

    Args:
        array: float32 ``(slices, rows, columns)``, 0 to 1.
        size: voxels along each edge of the cube.
        plane: of `PLANES`.
        name: for messages.

    Raises:
        InputError: ``no-contrast`` where the cube would be empty.
    """
    shape = (array.shape[0], array.shape[1], array.shape[2])
    sizes = (size / shape[0], size / shape[1], size / shape[2])
    letters = PLANES[plane]
    affine, _ = assumed_affine(sizes, shape, Assumption(letters), name, "it holds none")
    upright = to_ras(Volume(array, affine, name)).array
    voxels = np.rint(resized(upright, size) * 255).astype(np.uint8)
    if not voxels.any():
        problem = "no contrast: nothing in it is brighter than the background"
        raise InputError(name, problem, "prepare it as M3D-Cap does", code="no-contrast")
    of_cube = np.eye(4)
    of_cube[:3, 3] = -(size - 1) / 2
    return Cube(
        array=voxels,
        affine=of_cube,
        bounds=bounds_of(voxels),
        facts=SourceFacts(shape, sizes, letters),
        findings=(_assumed(name, letters),),
        source=name,
    )


def resized(array: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    """``(x, y, z)`` -> ``(size, size, size)``, each axis for itself, smoothed where it shrinks.

    At the borders the outermost voxels go on.
    """
    steps = np.array(array.shape) / size
    to_source = np.diag([*steps, 1.0])
    to_source[:3, 3] = (steps - 1) / 2  # voxel centres, not corners
    grid = Grid(to_source, (0, 0, 0), (size, size, size))
    for axis, count in enumerate(array.shape):
        weights = axis_weights(grid, axis, count)
        weights /= weights.sum(axis=1, keepdims=True)
        array = np.moveaxis(np.tensordot(weights, array, (1, axis)), 0, axis)
    return array


def _assumed(name: str, letters: str) -> Finding:
    problem = (
        f"it holds no voxel sizes and no directions: slices, rows and columns are taken to grow "
        f"as {letters}, and each axis to be as long as the others"
    )
    return Finding("geometry-assumed", "warning", name, problem)
