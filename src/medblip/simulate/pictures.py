"""A scan on the matrix of a cohort's protocol, from its seeds alone; files are made of these."""

from __future__ import annotations

from dataclasses import dataclass, replace

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from medblip.simulate.anatomy import Anatomy
from medblip.simulate.cohort import Site
from medblip.simulate.individual import Pattern
from medblip.simulate.people import Person, Visit
from medblip.simulate.scanner import (
    BRAIN_CENTRE_MM,
    ROTATION_RAD,
    Head,
    own_atrophy_mm,
    own_shape,
    render,
    rotation,
)

# The template is an average in a space that is larger than people are: so much smaller are heads.
SIZE, SIZE_SD = 1.07, 0.03
CENTRE_SD_MM = 2.0
MIN_VOXELS = 16  # an image is never made coarser than this along an axis

_VISIT_STREAM = 1000  # apart from the numbers that `scanner.acquire` draws with


@dataclass(frozen=True)
class Protocol:
    """A scanner with its matrix.

    Attributes:
        site: contrast, noise, voxel order and size.
        matrix: voxels in the site's RAS+ sense.
    """

    site: Site
    matrix: tuple[int, int, int]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels in the order of the file."""
        i, j, k = (self.matrix[axis] for axis in _axes(self.site.axcodes))
        return (i, j, k)

    def scaled(self, scale: float) -> Protocol:
        """The same field of view in ``scale`` times as many voxels along each axis."""
        x, y, z = (max(MIN_VOXELS, round(n * scale)) for n in self.matrix)
        mm = [s * n / m for s, n, m in zip(self.site.voxel_mm, self.matrix, (x, y, z), strict=True)]
        return Protocol(replace(self.site, voxel_mm=(mm[0], mm[1], mm[2])), (x, y, z))


def protocol(
    name: str,
    axcodes: str,
    matrix: tuple[int, int, int],
    voxel_mm: tuple[float, float, float],
    *,
    tesla: float = 3.0,
    gamma: float = 1.0,
    noise: float = 0.03,
    intensity: float = 600.0,
    stripped: bool = False,
) -> Protocol:
    """A protocol whose ``matrix`` and ``voxel_mm`` are given in the order of the file."""
    axes = _axes(axcodes)
    x, y, z = (matrix[axes.index(axis)] for axis in range(3))
    mm = [voxel_mm[axes.index(axis)] for axis in range(3)]
    site = Site(
        name,
        (mm[0], mm[1], mm[2]),
        axcodes,
        gamma=gamma,
        bias=0.1,
        noise=noise,
        field_strength_t=tesla,
        skull_stripped=stripped,
        intensity=intensity,
    )
    return Protocol(site, (x, y, z))


@dataclass(frozen=True)
class Acquisition:
    """One scan of one head.

    Attributes:
        seed: the person's.
        severity, age_deviation, pattern: the head's state at the visit.
        protocol: of the scanner.
        visit: number of the visit, which draws the position.
        run: draws the noise; scans of one visit share the position.
        averaged: runs that the image is the mean of.
        upright: whether it was registered to the template.
    """

    seed: tuple[int, ...]
    severity: float
    age_deviation: float
    pattern: Pattern
    protocol: Protocol
    visit: int
    run: int = 1
    averaged: int = 1
    upright: bool = False

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.protocol.shape


def acquisition(person: Person, visit: Visit, protocol: Protocol, run: int = 1) -> Acquisition:
    """A scan of ``person`` at ``visit``."""
    return Acquisition(
        person.seed,
        visit.severity,
        visit.age_deviation,
        visit.pattern,
        protocol,
        visit.number,
        run,
    )


@dataclass(frozen=True)
class Picture:
    """``array`` int16 in the file's voxel order and its ``affine`` to RAS+ mm."""

    array: NDArray[np.int16]
    affine: NDArray[np.float64]


def make_picture(anatomy: Anatomy, scan: Acquisition) -> Picture:
    """The voxels; the same arguments give the same bytes."""
    shared = np.random.default_rng((*scan.seed, 0))
    head = Head(own_shape(shared), own_atrophy_mm(scan, scan.pattern))
    size = SIZE + SIZE_SD * shared.normal()
    place = np.random.default_rng((*scan.seed, _VISIT_STREAM + scan.visit))
    turn, shift = place.normal(0.0, ROTATION_RAD, 3), place.normal(0.0, CENTRE_SD_MM, 3)
    pose = np.eye(3) if scan.upright else rotation(turn) * size
    centre = np.array(BRAIN_CENTRE_MM) + (0.0 if scan.upright else shift)

    site, matrix = scan.protocol.site, scan.protocol.matrix
    affine = np.diag([*site.voxel_mm, 1.0])
    affine[:3, 3] = centre - np.array(site.voxel_mm) * (np.array(matrix) - 1) / 2
    noise = site.noise / np.sqrt(scan.averaged)
    own = np.random.default_rng((*scan.seed, _VISIT_STREAM + scan.visit, scan.run))
    quiet = replace(site, noise=float(noise))
    return Picture(*render(anatomy, head, pose, matrix, affine, quiet, own))


def _axes(axcodes: str) -> list[int]:
    """World axis (0 is right-left) of each voxel axis."""
    return [int(axis) for axis, _ in nib.orientations.axcodes2ornt(axcodes)]
