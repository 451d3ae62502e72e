"""The learned entry of a volume into a 2D vision transformer.

Section 3.1 of the paper: a 3D convolution with kernel = stride = patch, a learned CLS token and
learned positions, 7 x 7 x 7 = 343 patches at 224 voxels and patch 32.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medblip.model.vision import PatchFilter2d


class PatchProjection(nn.Conv3d):
    """A convolution with kernel = stride, as the matrix product over cut patches that it is.

    Said so, it takes no scratch memory; as a convolution in bfloat16 it takes gigabytes at the
    paper's size. ``(batch, 1, D, H, W)`` -> ``(batch, patches, width)``, the last axis fastest.
    """

    def forward(self, volumes: Tensor) -> Tensor:
        p = self.kernel_size[0]
        g = volumes.shape[-1] // p
        split = volumes.reshape(-1, g, p, g, p, g, p)
        patches = split.permute(0, 1, 3, 5, 2, 4, 6).reshape(-1, g**3, p**3)
        return F.linear(patches, self.weight.flatten(1), self.bias)


class PatchEmbedding3d(nn.Module):
    """``(batch, 1, D, H, W)`` in [0, 1] -> ``(batch, 1 + patches, width)``, CLS first.

    Raises:
        ValueError: in ``forward``, volumes of another size than ``volume_size``; the convolution
            would leave the rest out silently.
    """

    def __init__(self, width: int, volume_size: int, patch_size: int) -> None:
        super().__init__()
        self.volume_shape = (1, volume_size, volume_size, volume_size)
        self.patch_size = patch_size
        self.grid = volume_size // patch_size
        self.projection = PatchProjection(1, width, kernel_size=patch_size, stride=patch_size)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.positions = nn.Parameter(torch.zeros(1, 1 + self.grid**3, width))

    def forward(self, volumes: Tensor) -> Tensor:
        if volumes.shape[1:] != self.volume_shape:
            raise ValueError(
                f"volumes are {tuple(volumes.shape)}; expected (batch, {self.volume_shape}): "
                "preprocess them at the model's volume_size"
            )
        tokens = self.projection(volumes.to(self.projection.weight.dtype))
        cls = self.cls_token.expand(tokens.shape[0], -1, -1)
        return torch.cat([cls, tokens], dim=1) + self.positions

    def foreground(self, volumes: Tensor) -> Tensor:
        """Boolean ``(batch, 1 + patches)``: tokens whose patch is not all background, and CLS."""
        largest = F.max_pool3d(volumes, self.patch_size, self.patch_size).flatten(1)
        cls = torch.ones(len(volumes), 1, dtype=torch.bool, device=volumes.device)
        return torch.cat([cls, largest > 0], dim=1)

    @torch.no_grad()
    def inflate(self, source: PatchFilter2d) -> None:
        """Start from a 2D encoder's own patch filter, positions and CLS.

        A gray voxel stands for an RGB pixel of the same value: the filter's channels are summed
        with the image normalisation folded in, resized in the plane and spread evenly over depth,
        so that a volume constant along depth gives the 2D encoder's own response.
        """
        std, mean = source.std.view(1, 3, 1, 1), source.mean.view(1, 3, 1, 1)
        gray = (source.weight / std).sum(1)  # (width, p, p)
        bias = source.bias - (source.weight * mean / std).sum((1, 2, 3))
        p = self.patch_size
        resized = F.interpolate(gray[None], size=(p, p), mode="bicubic", antialias=True)[0]
        resized = resized * (gray.shape[-1] / p) ** 2  # as many pixels again to be summed over
        # What the resizing still lost of the response to a flat image is spread evenly.
        resized = resized + (gray.sum((1, 2)) - resized.sum((1, 2))).view(-1, 1, 1) / p**2
        depth = resized[:, None].expand(-1, p, -1, -1) / p
        self.projection.weight.copy_(depth[:, None])
        self.projection.bias.copy_(bias)  # type: ignore[union-attr]  # it has one
        self._copy_positions(source)

    def _copy_positions(self, source: PatchFilter2d) -> None:
        width = self.positions.shape[-1]
        side = int(source.positions.shape[0] ** 0.5)
        plane = source.positions.T.reshape(1, width, side, side)
        plane = F.interpolate(plane, size=(self.grid, self.grid), mode="bicubic", antialias=True)
        volume = plane[0][:, None].expand(-1, self.grid, -1, -1)  # (width, D, H, W)
        self.positions[0, 1:].copy_(volume.flatten(1).T)
        self.positions[0, 0].copy_(source.cls_position)
        self.cls_token.copy_(source.cls_token.view(1, 1, width))
