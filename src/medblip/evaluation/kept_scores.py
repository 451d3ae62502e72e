"""Scores on disk: an interrupted evaluation goes on, and no question is put to the model twice."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medblip.evaluation.controls import CONTROLS, Condition, ModelInput, Scorer
from medblip.storage import write_text
from medblip.study.labels import LABELS
from medblip.study.study import Example

Row = NDArray[np.float32]


@dataclass
class KeptScores:
    """Scores of one run, in memory by what the model was shown and on disk by set and condition.

    Attributes:
        folder: of the files, each ``<set>.<condition>.tsv``.
        scorer: scores what is not known yet.
        progress: whether to show bars.
        known: scores by `input_key`.
    """

    folder: Path
    scorer: Scorer
    progress: bool
    known: dict[str, Row] = field(default_factory=dict)

    def scores(
        self, name: str, examples: Sequence[Example], condition: Condition
    ) -> NDArray[np.float32]:
        """Log-probability of each answer, ``(examples, len(LABELS))``.

        Args:
            name: of the set of examples, for the file.
            examples: may hold one image under several sessions, and images of other sets.
            condition: what of each the model is shown.
        """
        file = self.folder / f"{name}.{condition}.tsv"
        inputs = self.scorer.inputs(examples, condition)
        keys = [input_key(shown) for shown in inputs]
        on_disk = _read(file)
        self.known |= on_disk
        new = {k: i for k, i in zip(keys, inputs, strict=True) if k not in self.known}
        title = CONTROLS[condition].title
        scored = self.scorer.score(list(new.values()), title=title, progress=self.progress)
        self.known |= dict(zip(new, scored, strict=True))
        rows = np.stack([self.known[k] for k in keys]) if keys else scored
        if set(keys) != set(on_disk):
            _write(file, examples, keys, rows)
        return rows


def input_key(shown: ModelInput) -> str:
    """Name of what the model is shown: equal inputs have one name, whoever they are of."""
    return hashlib.sha256("\0".join(shown).encode()).hexdigest()[:24]


def _read(file: Path) -> Mapping[str, Row]:
    if not file.exists():
        return {}
    table = pd.read_csv(file, sep="\t", dtype={"input": str})
    if not {"input", *LABELS} <= set(table.columns):
        return {}  # of an earlier version
    return dict(zip(table["input"], table[list(LABELS)].to_numpy(np.float32), strict=True))


def _write(
    file: Path, examples: Sequence[Example], keys: Sequence[str], rows: NDArray[np.float32]
) -> None:
    table = pd.DataFrame(rows.astype(np.float64), columns=list(LABELS))
    table.insert(0, "input", keys)
    table.insert(0, "image", [f"{e.participant_id}/{e.session_id}/{e.image}" for e in examples])
    write_text(file, table.to_csv(sep="\t", index=False))
