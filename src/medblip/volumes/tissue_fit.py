"""How well a template's tissue mixture explains a scan under a trial affine, and how to improve it.

At each template point the mixture is known: so much outside, gray matter, white matter, fluid. For
the right affine the scan's intensities there are one value per tissue, mixed, whatever the pulse
sequence made of each tissue. The score is the share of the intensities' variance that such a
mixture explains (R², 0 to 1); Levenberg-Marquardt steps on the affine raise it.

A trial affine is ``(3, 4)``: centred template coordinates in units of ``UNIT_MM`` to scan mm.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medblip.volumes.interpolation import trilinear
from medblip.volumes.reference import Floats, Reference

UNIT_MM = 60.0  # brings rotation, zoom and shift to one scale
STEPS = 15
SMALLEST_GAIN = 1e-5
HOLD = 0.1  # weight that keeps the affine near its start where the scan says nothing
BRIGHTEST = 1.3  # intensities are cut at this multiple of the brightest tissue: vessels, fat
GAIN_LIMITS = (0.33, 3.0)
EVENING_ROUNDS = 3
_LINEAR = np.arange(12).reshape(3, 4)[:, :3].ravel()  # the trial's entries that are not shifts


@dataclass(frozen=True)
class TissueFit:
    """One scan on one grid, to be read at template points.

    Attributes:
        image: float64 ``(i + 2, j + 2, k + 2)``, the scan with a border of zeros.
        inverse: float64 ``(4, 4)``, scan mm to voxel index of the unpadded scan.
        points: float64 ``(points, 4)``, template coordinates and a one.
        mixture: float64 ``(points, 4)``, fractions of outside, gray, white, fluid.
        gain: float64 ``(points,)``, what evens the scan's brightness out.
        ceiling: intensities above it are cut.
        covered_only: whether points outside the field of view are left out; else they read zero,
            which keeps a template on the scan but squeezes it into a field of view that cuts it.
    """

    image: Floats
    inverse: Floats
    points: Floats
    mixture: Floats
    gain: Floats
    ceiling: float = np.inf
    covered_only: bool = False

    @classmethod
    def on(
        cls, image: NDArray[np.floating[Any]], affine: Floats, reference: Reference, every: int = 1
    ) -> TissueFit:
        """Fit ``reference`` to ``image``, at every ``every``-th template point only."""
        points = (reference.points - reference.centre)[::every] / UNIT_MM
        points = np.concatenate([points, np.ones((len(points), 1))], axis=1)
        padded = np.pad(image.astype(np.float64), 1)
        inverse = np.linalg.inv(affine)
        weights = np.ones(len(points))
        return cls(padded, inverse.astype(np.float64), points, reference.mixture[::every], weights)

    def voxels(self, trial: Floats) -> Floats:
        """Scan voxel coordinates ``(points, 3)`` of the template points."""
        return self.points @ trial.T @ self.inverse[:3, :3].T + self.inverse[:3, 3]

    def covered(self, voxels: Floats) -> NDArray[np.bool_]:
        """Which of the voxel coordinates lie in the field of view."""
        edge = np.array(self.image.shape) - 2.5
        inside: NDArray[np.bool_] = np.all((voxels > -0.5) & (voxels < edge), axis=1)
        return inside

    def read(self, trial: Floats) -> tuple[Floats, Floats]:
        """Intensities ``(points,)`` and their gradients per voxel ``(points, 3)``."""
        voxels = self.voxels(trial)
        values, gradients = trilinear(self.image, voxels + 1)
        values = values * self.gain
        gradients = gradients * self.gain[:, None]
        cut = values > self.ceiling
        return np.minimum(values, self.ceiling), np.where(cut[:, None], 0.0, gradients)

    def score(self, trial: Floats) -> float:
        """R² of the mixture, 0 where the scan is flat."""
        rows = self._rows(trial)
        return explained_share(self.read(trial)[0][rows], self.mixture[rows])

    def evened(self, trial: Floats) -> TissueFit:
        """The same fit with a smooth brightness trend within the brain taken out.

        The trend is a quadratic of position by which the tissues' values are multiplied; it and
        the values are found in turn.
        """
        plain = replace(self, gain=np.ones_like(self.gain), ceiling=np.inf)
        values = plain.read(trial)[0]
        seen = self.covered(self.voxels(trial))
        inside = seen & (self.mixture[:, 0] < 0.5)
        trend = quadratic(self.points[:, :3])
        gain = self.gain
        for _ in range(EVENING_ROUNDS):
            tissues = least_squares(self.mixture[seen], (values * gain)[seen])
            level = self.mixture[inside] @ tissues
            weights = least_squares(level[:, None] * trend[inside], values[inside])
            gain = 1.0 / np.clip(trend @ weights, *GAIN_LIMITS)
        brightest = float(least_squares(self.mixture[seen], (values * gain)[seen])[1:].max())
        return replace(self, gain=gain, ceiling=BRIGHTEST * brightest if brightest > 0 else np.inf)

    def climb(self, start: Floats, steps: int = STEPS) -> Floats:
        """The affine near ``start`` that explains most; Levenberg-Marquardt."""
        trial, best, best_cost, damping = start, start, np.inf, 1e-3
        normal, slope = np.eye(12), np.zeros(12)
        for _ in range(steps):
            residual, jacobian = self._unexplained(trial)
            drift = HOLD / UNIT_MM * (trial - start).ravel()[_LINEAR]
            cost = float(residual @ residual + drift @ drift)
            if cost >= best_cost:
                damping *= 8
            else:
                settled = best_cost - cost < SMALLEST_GAIN
                best, best_cost, damping = trial, cost, max(damping / 4, 1e-6)
                if settled:
                    break
                normal, slope = jacobian.T @ jacobian, jacobian.T @ residual
                normal[_LINEAR, _LINEAR] += (HOLD / UNIT_MM) ** 2
                slope[_LINEAR] += HOLD / UNIT_MM * drift
            damped = normal + np.diag(damping * np.diag(normal) + 1e-12)
            trial = best - np.linalg.solve(damped, slope).reshape(3, 4)
        return best

    def _unexplained(self, trial: Floats) -> tuple[Floats, Floats]:
        """What the mixture leaves of the unit-norm intensities, and its derivative by ``trial``."""
        rows = self._rows(trial)
        values, gradients = (array[rows] for array in self.read(trial))
        values = values - values.mean()
        norm = max(float(np.linalg.norm(values)), 1e-12)
        values = values / norm
        gradients = gradients @ self.inverse[:3, :3]
        jacobian = (gradients[:, :, None] * self.points[rows, None, :]).reshape(-1, 12)
        jacobian = (jacobian - jacobian.mean(axis=0)) / norm
        jacobian -= np.outer(values, values @ jacobian)  # the norm changes too
        both = np.concatenate([values[:, None], jacobian], axis=1)
        both -= self.mixture[rows] @ least_squares(self.mixture[rows], both)
        return both[:, 0], both[:, 1:]

    def _rows(self, trial: Floats) -> slice | NDArray[np.bool_]:
        """The points that count."""
        return self.covered(self.voxels(trial)) if self.covered_only else slice(None)


def explained_share(values: Floats, columns: Floats) -> float:
    """R² of the least-squares fit of ``columns`` ``(n, c)`` to ``values`` ``(n,)``."""
    total = float(((values - values.mean()) ** 2).sum())
    left = float(((values - columns @ least_squares(columns, values)) ** 2).sum())
    return 1.0 - left / total if total > 0 else 0.0


def least_squares(columns: Floats, values: Floats) -> Floats:
    """Weights ``(c, ...)`` for values ``(n, ...)``; the smallest where columns do not decide."""
    # A few well-scaled columns over many points: the normal equations are exact enough and quick.
    solved = np.linalg.lstsq(columns.T @ columns, columns.T @ values, rcond=None)[0]
    return solved.astype(np.float64)


def quadratic(points: Floats) -> Floats:
    """Monomials up to degree two, ``(n, 10)``, of ``(n, 3)`` coordinates."""
    x, y, z = points.T
    return np.stack([np.ones_like(x), x, y, z, x * x, y * y, z * z, x * y, x * z, y * z], axis=1)
