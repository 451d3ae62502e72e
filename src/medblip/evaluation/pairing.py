"""Whose scan stands in for a subject's own: someone else's, of the same label or of another.

With a scan of the same label a model that reads only the disease loses nothing; with one of
another label it should answer for the scan. `medblip.evaluation.controls.other_subjects` draws
without regard to the label.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from medblip.errors import InputError
from medblip.evaluation.intervals import bad_predictions

PairRule = Literal["same_label", "other_label"]


def partners(
    labels: Sequence[Any], subjects: Sequence[str], rule: PairRule, seed: int
) -> NDArray[np.int64]:
    """For each row another subject's row, ``(rows,)``; each row is used about once.

    Args:
        labels: ``(rows,)``.
        subjects: ``(rows,)``.
        rule: what the partner's label must be.
        seed: of the draw.

    Raises:
        InputError: lists of different lengths, or a row for which no other subject will do.
    """
    if not 0 < len(labels) == len(subjects):
        raise bad_predictions(
            f"found {len(labels)} labels and {len(subjects)} subjects; expected one number > 0"
        )
    _, label = np.unique(np.asarray(labels), return_inverse=True)
    _, who = np.unique(np.asarray(subjects), return_inverse=True)
    rng = np.random.default_rng(seed)
    chosen = _turned(label, rule, rng)
    for row in range(len(label)):
        same = label == label[row]
        allowed = (who != who[row]) & (same if rule == "same_label" else ~same)
        if not allowed.any():
            raise InputError(
                "wrong-image control",
                f"a row has no other subject of {rule.replace('_', ' ')}; expected one at least",
                "use a test set with two subjects of each label, or leave this control out",
                code="no-partner",
            )
        if not allowed[chosen[row]]:
            chosen[row] = rng.choice(np.flatnonzero(allowed))
    return chosen


def _turned(
    label: NDArray[np.int64], rule: PairRule, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Each row once: rows sorted by label, in random order within, turned as a ring.

    A turn by one within each label keeps the label. A turn by the commonest label's count leaves
    every label, as long as no label has over half of the rows.
    """
    shuffled = rng.permutation(len(label))
    order = shuffled[np.argsort(label[shuffled], kind="stable")]
    chosen = np.empty(len(label), dtype=np.int64)
    if rule == "other_label":
        chosen[order] = np.roll(order, int(np.bincount(label).max()))
        return chosen
    for c in np.unique(label):
        ring = order[label[order] == c]
        chosen[ring] = np.roll(ring, 1)
    return chosen
