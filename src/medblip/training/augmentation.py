"""Changes of volumes in training, on the device that trains.

A volume is changed by its own seed alone, one at a time: so it is changed alike in any batch and on
any number of processes, and only one sampling grid is in memory. Background stays background, since
tokens of it may be skipped; and nothing is ever mirrored, since left and right mean something.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from torch import Tensor

from medblip.recipe import AugmentSection
from medblip.training.pixels import WHITE, scale

STREAM = 2  # of a sample's random numbers; its record has others
DARKEST = 1 / WHITE  # of what is not background
COARSE = 4  # points of the bias field along each axis


@dataclass(frozen=True)
class Change:
    """What is done to one volume.

    Attributes:
        affine: ``(3, 4)``, from a place in the changed volume to the one it came from; both in
            half edges from the middle, in the order of ``grid_sample``: last axis first.
        exponent: of intensities.
        bias: ``(4, 4, 4)`` factors, spread smoothly over the volume.
        noise: sd.
    """

    affine: NDArray[np.float64]
    exponent: float
    bias: NDArray[np.float64]
    noise: float


class Augmentation:
    """Draws a change for each volume and applies it.

    Args:
        section: how much of each; 0 leaves a kind of change out altogether.
    """

    def __init__(self, section: AugmentSection) -> None:
        self.section = section
        self.moves = bool(section.rotate_degrees or section.scale or section.shift)

    def __call__(self, volumes: Tensor, seeds: Tensor) -> Tensor:
        """``(n, 1, D, H, W)`` float32 in [0, 1] to the same, by ``seeds (n,)`` of their samples."""
        if not self.section.wanted or not len(volumes):
            return volumes
        pairs = zip(volumes, seeds.tolist(), strict=True)
        return torch.stack([self._changed(volume, seed) for volume, seed in pairs])

    def draw(self, seed: int) -> Change:
        """The change of one sample; all is drawn, so that one kind does not depend on another."""
        section, rng = self.section, np.random.default_rng((seed, STREAM))
        angles = rng.uniform(-1, 1, 3) * section.rotate_degrees
        size = 1 + rng.uniform(-1, 1) * section.scale
        shift = rng.uniform(-1, 1, 3) * 2 * section.shift  # an edge is two half edges
        exponent = 1 + rng.uniform(-1, 1) * section.gamma
        bias = 1 + rng.uniform(-1, 1, (COARSE,) * 3) * section.bias_field
        back = Rotation.from_euler("xyz", angles, degrees=True).as_matrix().T / size
        affine = np.concatenate([back, -(back @ shift)[:, None]], axis=1)
        return Change(affine, exponent, bias, section.noise)

    def _changed(self, volume: Tensor, seed: int) -> Tensor:
        change = self.draw(seed)
        if self.moves:
            volume = _moved(volume, change.affine)
        if self.section.gamma:
            volume = volume**change.exponent
        if self.section.bias_field:
            volume = (volume * _smooth(change.bias, volume)).clamp(max=1.0)
        return _noisy(volume, change.noise, seed) if change.noise else volume


def _moved(volume: Tensor, affine: NDArray[np.float64]) -> Tensor:
    """``(1, D, H, W)`` sampled anew, trilinearly; what comes from outside is background."""
    theta = torch.tensor(affine, dtype=volume.dtype, device=volume.device)[None]
    grid = F.affine_grid(theta, [1, *volume.shape], align_corners=False)
    moved = F.grid_sample(volume[None], grid, align_corners=False)[0]
    # Less than half a grey level is background, as rounding to bytes would have it.
    return moved.masked_fill(moved < DARKEST / 2, 0.0)


def _smooth(bias: NDArray[np.float64], like: Tensor) -> Tensor:
    coarse = torch.tensor(bias, dtype=like.dtype, device=like.device)[None, None]
    return F.interpolate(coarse, like.shape[1:], mode="trilinear", align_corners=True)[0]


def _noisy(volume: Tensor, sd: float, seed: int) -> Tensor:
    """Noise on all but background, none of which becomes or stops being background."""
    generator = torch.Generator(volume.device).manual_seed(seed)
    noise = torch.randn(volume.shape, generator=generator, device=volume.device)
    noisy = (volume + sd * noise).clamp(DARKEST, 1.0)
    return torch.where(volume > 0, noisy, volume)


@torch.no_grad()
def with_pixels(inputs: dict[str, Any], augmentation: Augmentation) -> dict[str, Any]:
    """A batch whose ``volumes`` of bytes and ``seeds`` became ``pixel_values``, where they lie.

    Args:
        inputs: as :class:`medblip.training.collating.Collator` makes them.
    """
    if "volumes" not in inputs:
        return inputs
    rest = {name: value for name, value in inputs.items() if name not in ("volumes", "seeds")}
    pixels = augmentation(scale(inputs["volumes"]), inputs["seeds"])
    return {**rest, "pixel_values": pixels}
