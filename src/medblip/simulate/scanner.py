"""One simulated T1 scan: the template, deformed by atrophy and chance, seen by one scanner.

One composed resampling: output voxel -> world -> rotated and scaled head -> displaced template
coordinate -> intensity; then the scanner's contrast, bias field and Rician noise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import nibabel as nib
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from medblip.simulate.anatomy import FIELD_STEP_MM, Anatomy
from medblip.simulate.cohort import Session, Site, Subject
from medblip.simulate.individual import Pattern, Sides

# Largest displacement in mm per unit of severity z and of age deviation. The first two are
# amplitudes of 1.6 z + 0.5 age in voxels of 2.1 mm; cortical thinning is weaker.
MM_PER_SEVERITY: Mapping[str, float] = {"ventricles": 3.3, "medial_temporal": 3.3, "cortex": 1.2}
MM_PER_AGE: Mapping[str, float] = {"ventricles": 1.0, "medial_temporal": 1.0, "cortex": 0.4}

WARP_LATTICE = 6
WARP_MM = 2.7
ROTATION_RAD = 0.05
SCALE_SD = 0.04
MIDLINE_MM = 4.0  # where left goes over into right
COARSE_MM = 4.0
BRAIN_CENTRE_MM = (0.0, -18.0, 12.0)
# Field of view in mm (right-left, posterior-anterior, inferior-superior): mean and jitter.
FOV_MM = {True: (165.0, 200.0, 172.0), False: (190.0, 228.0, 200.0)}
FOV_JITTER_MM = 10.0


@dataclass(frozen=True)
class Scan:
    """``array`` int16 in the site's voxel order, ``affine`` to RAS+ mm, and the true change."""

    array: NDArray[np.int16]
    affine: NDArray[np.float64]
    truth: Mapping[str, float]


@dataclass(frozen=True)
class Head:
    """What all scans of a head at one visit share.

    Attributes:
        lattice: float32 ``(3, n, n, n)``, the person's own shape as displacements in mm.
        amounts: atrophy by region and side, largest displacement in mm.
    """

    lattice: NDArray[np.float32]
    amounts: Mapping[str, Sides]


def acquire(anatomy: Anatomy, subject: Subject, session: Session) -> Scan:
    """Scan ``subject`` at ``session``; the same arguments give the same bytes."""
    number = int(session.session_id.removeprefix("ses-"))
    shared = np.random.default_rng((*subject.seed, 0))  # anatomy: the same at each visit
    own = np.random.default_rng((*subject.seed, number))  # position and noise: new each visit
    head = Head(own_shape(shared), {r: Sides(mm, mm) for r, mm in session_mm(session).items()})
    scale = 1.0 + SCALE_SD * shared.normal()

    shape, affine = _draw_grid(own, subject.site)
    pose = rotation(own.normal(0.0, ROTATION_RAD, 3)) * scale
    array, affine = render(anatomy, head, pose, shape, affine, subject.site, own)
    shares = mean_shares(anatomy)
    change = {f"{name}_mean_mm": mm for name, mm in mean_mm(shares, head.amounts).items()}
    if session.prior_session_id:
        gained = {name: Sides(mm, mm) for name, mm in session.gained_mm.items()}
        change |= {f"{name}_gained_mm": mm for name, mm in mean_mm(shares, gained).items()}
    return Scan(array, affine, change)


def own_shape(rng: np.random.Generator) -> NDArray[np.float32]:
    """A person's own head shape; see `Head`."""
    shape: NDArray[np.float32] = rng.normal(0.0, WARP_MM, (3, *(WARP_LATTICE,) * 3)).astype(
        np.float32
    )
    return shape


def render(
    anatomy: Anatomy,
    head: Head,
    pose: NDArray[np.float64],
    shape: tuple[int, int, int],
    affine: NDArray[np.float64],
    site: Site,
    rng: np.random.Generator,
) -> tuple[NDArray[np.int16], NDArray[np.float64]]:
    """Voxels in the site's order, and their affine to RAS+ mm.

    Args:
        head: whose.
        pose: ``(3, 3)`` world -> upright head of template size, about the brain's centre.
        shape, affine: RAS+ grid of the output.
        site: contrast, noise and voxel order.
        rng: of bias field and noise.
    """
    coordinates = _template_coordinates(anatomy, shape, affine, pose, head.lattice, head.amounts)
    template = anatomy.brain if site.skull_stripped else anatomy.head
    image = _sample(torch.from_numpy(template), anatomy.origin, 1.0, coordinates)[0]
    return _reorient(_scanner_signal(image.numpy(), site, rng), affine, site.axcodes)


class Latent(Protocol):
    """What a person's state at a visit does to the brain."""

    @property
    def severity(self) -> float: ...

    @property
    def age_deviation(self) -> float: ...


def atrophy_mm(state: Latent) -> dict[str, float]:
    """Largest displacement in mm of each region at a visit, of a person like all others."""
    return {
        name: MM_PER_SEVERITY[name] * state.severity + MM_PER_AGE[name] * state.age_deviation
        for name in MM_PER_SEVERITY
    }


def session_mm(session: Session) -> dict[str, float]:
    """Largest displacement in mm of each region at a visit, with what is the visit's own."""
    return {name: mm + session.own_mm.get(name, 0.0) for name, mm in atrophy_mm(session).items()}


def own_atrophy_mm(state: Latent, pattern: Pattern) -> dict[str, Sides]:
    """Largest displacement in mm of each region and side at a visit."""
    return {
        name: Sides(*(mm + MM_PER_SEVERITY[name] * more for more in pattern[name]))
        for name, mm in atrophy_mm(state).items()
    }


def mean_mm(shares: Mapping[str, Share], amounts: Mapping[str, Sides]) -> dict[str, float]:
    """Mean displacement in mm of each region's tissue: what the image shows of it."""
    means = {}
    for name, share in shares.items():
        halves = zip(amounts[name], share.amounts, share.voxels, strict=True)
        means[name] = sum(mm * s * n for mm, s, n in halves) / sum(share.voxels)
    return means


@dataclass(frozen=True)
class Share:
    """A region's mean displacement as a share of its largest, and its voxels, by side."""

    amounts: Sides
    voxels: Sides


def mean_shares(anatomy: Anatomy) -> dict[str, Share]:
    """By region; the midline is world x = 0."""
    shares = {}
    for name, field in anatomy.fields.items():
        norm = np.sqrt((field**2).sum(axis=0))
        x = anatomy.origin[0] + FIELD_STEP_MM * np.arange(norm.shape[0])
        halves = [norm[side][anatomy.regions[name][side]] for side in (x < 0, x >= 0)]
        shares[name] = Share(
            Sides(*(float(half.mean()) for half in halves)), Sides(*(half.size for half in halves))
        )
    return shares


def _draw_grid(
    rng: np.random.Generator, site: Site
) -> tuple[tuple[int, int, int], NDArray[np.float64]]:
    """Shape and RAS+ affine of the output: jittered field of view round a jittered centre."""
    extent = np.array(FOV_MM[site.skull_stripped]) + rng.uniform(0, FOV_JITTER_MM, 3)
    voxel = np.array(site.voxel_mm)
    i, j, k = np.ceil(extent / voxel).astype(int)
    shape = (int(i), int(j), int(k))
    centre = np.array(BRAIN_CENTRE_MM) + rng.normal(0.0, 2.0, 3)
    affine = np.diag([*voxel, 1.0])
    affine[:3, 3] = centre - voxel * (np.array(shape) - 1) / 2
    return shape, affine


def rotation(angles: NDArray[np.float64]) -> NDArray[np.float64]:
    matrix = np.eye(3)
    for axis, angle in enumerate(angles):
        a, b = [n for n in range(3) if n != axis]
        turn = np.eye(3)
        turn[a, a] = turn[b, b] = np.cos(angle)
        turn[a, b], turn[b, a] = -np.sin(angle), np.sin(angle)
        matrix = turn @ matrix
    return matrix


def _template_coordinates(
    anatomy: Anatomy,
    shape: tuple[int, int, int],
    affine: NDArray[np.float64],
    linear: NDArray[np.float64],
    lattice: NDArray[np.float32],
    amounts: Mapping[str, Sides],
) -> torch.Tensor:
    """Template world mm of each output voxel, ``(3, i, j, k)``.

    The map is smooth, so it is made on a coarse grid with the same corners and then enlarged.
    """
    voxel = affine.diagonal()[:3]
    coarse = [max(2, int(n * v / COARSE_MM)) for n, v in zip(shape, voxel, strict=True)]
    axes = [
        torch.linspace(float(o), float(o + (n - 1) * v), c)
        for o, n, v, c in zip(affine[:3, 3], shape, voxel, coarse, strict=True)
    ]
    world = torch.stack(torch.meshgrid(*axes, indexing="ij"))  # (3, ci, cj, ck)
    centre = torch.tensor(BRAIN_CENTRE_MM).view(3, 1, 1, 1)
    matrix = torch.from_numpy(linear.astype(np.float32))
    head = torch.einsum("ab,bijk->aijk", matrix, world - centre) + centre

    warp = F.interpolate(
        torch.from_numpy(lattice)[None], size=coarse, mode="trilinear", align_corners=True
    )[0]
    displaced = head + warp
    for name, sides in amounts.items():
        field = torch.from_numpy(anatomy.fields[name])
        amount = _blend(sides, head[0])
        displaced = displaced + amount * _sample(field, anatomy.origin, FIELD_STEP_MM, head)
    return F.interpolate(displaced[None], size=shape, mode="trilinear", align_corners=True)[0]


def _blend(sides: Sides, x: torch.Tensor) -> torch.Tensor | float:
    """The amount at world ``x`` in mm: left below 0, right above, smooth between."""
    if sides.left == sides.right:
        return sides.left
    right = (torch.tanh(x / MIDLINE_MM) + 1.0) / 2.0
    return sides.left * (1.0 - right) + sides.right * right


def _sample(
    image: torch.Tensor, origin: NDArray[np.float64], step: float, world: torch.Tensor
) -> torch.Tensor:
    """Trilinear values of ``image`` ``([c,] x, y, z)`` at ``world`` ``(3, i, j, k)`` in mm."""
    image = image if image.ndim == 4 else image[None]
    size = torch.tensor(image.shape[1:], dtype=torch.float32).view(3, 1, 1, 1)
    start = torch.from_numpy(origin.astype(np.float32)).view(3, 1, 1, 1)
    unit = (world - start) / step * (2.0 / (size - 1.0)) - 1.0
    # grid_sample wants the last axis first.
    grid = unit.flip(0).permute(1, 2, 3, 0)[None]
    return F.grid_sample(image[None], grid, align_corners=True, padding_mode="zeros")[0]


def _scanner_signal(
    image: NDArray[np.float32], site: Site, rng: np.random.Generator
) -> NDArray[np.int16]:
    """Contrast (gamma), bias field and Rician noise; background of stripped scans stays 0."""
    inside = image > 0.02
    signal = np.clip(image, 0.0, None) ** site.gamma
    lattice = torch.from_numpy(rng.normal(0.0, site.bias, (1, 1, 3, 3, 3)).astype(np.float32))
    bias = F.interpolate(lattice, size=image.shape, mode="trilinear", align_corners=True)[0, 0]
    signal = signal * torch.exp(bias).numpy()
    noise = rng.standard_normal((2, *image.shape), dtype=np.float32) * site.noise
    signal = np.sqrt((signal + noise[0]) ** 2 + noise[1] ** 2)
    if site.skull_stripped:
        signal = np.where(inside, signal, 0.0)
    scaled: NDArray[np.int16] = np.clip(np.rint(signal * site.intensity), 0, 32767).astype(np.int16)
    return scaled


def _reorient(
    array: NDArray[np.int16], affine: NDArray[np.float64], axcodes: str
) -> tuple[NDArray[np.int16], NDArray[np.float64]]:
    current = nib.orientations.axcodes2ornt("RAS")
    wanted = nib.orientations.axcodes2ornt(axcodes)
    transform = nib.orientations.ornt_transform(current, wanted)
    turned = nib.orientations.apply_orientation(array, transform)
    turned_affine = affine @ nib.orientations.inv_ornt_aff(transform, array.shape)
    return np.ascontiguousarray(turned), turned_affine
