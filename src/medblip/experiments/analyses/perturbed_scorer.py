"""The model shown scans or records that were made worse; nothing of it enters a token cache."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from medblip.evaluation.controls import Condition, ModelInput, Scorer
from medblip.evaluation.perturbations import Perturbation, drop_fields, perturb_cube
from medblip.study.study import Example
from medblip.volumes import map_cube_array

Change = Perturbation | Literal["missing_fields"]

CHANGES: tuple[Change, ...] = (*get_args(Perturbation), "missing_fields")
_MARK = " + "  # in no name of a cube


@dataclass(frozen=True)
class PerturbedScorer(Scorer):
    """As `Scorer`, with one thing wrong.

    A changed scan has a name of its own, by which its scores are kept, and its tokens are made
    when they are asked for. The same scan is changed alike in every run.

    Attributes:
        change, level: see `medblip.evaluation.perturbations`.
    """

    change: Change = "noise"
    level: int = 0

    @classmethod
    def of(cls, scorer: Scorer, change: Change, level: int) -> PerturbedScorer:
        return cls(
            scorer.model, scorer.processor, scorer.cache, scorer.form, change=change, level=level
        )

    def inputs(
        self, examples: Sequence[Example], condition: Condition, *, seed: int = 0
    ) -> list[ModelInput]:
        """What the model sees of each example, made worse."""
        if self.change == "missing_fields":
            return super().inputs([self._without(e) for e in examples], condition, seed=seed)
        shown = super().inputs(examples, condition, seed=seed)
        mark = f"{_MARK}{self.change} {self.level}"
        return [given._replace(image=f"{given.image}{mark}") for given in shown]

    def _without(self, example: Example) -> Example:
        said = self.form.fields
        fields = drop_fields(example.fields, said, self.level, _seed(example.cube))
        return replace(example, fields=fields)

    def _tokens(self, image: str) -> NDArray[np.float32]:
        cube, changed, _ = image.partition(_MARK)
        if not changed or self.change == "missing_fields":
            return super()._tokens(image)
        array = map_cube_array(self.cache.cubes / cube)
        worse = perturb_cube(array, self.change, self.level, _seed(cube))
        return self.cache.encode(worse).astype(np.float32)


def _seed(cube: str) -> int:
    """Of a scan: each has noise of its own, the same every time."""
    return zlib.crc32(cube.encode())
