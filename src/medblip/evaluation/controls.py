"""What keeps a vision-language model honest: the same subjects with an input withheld or wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from medblip.model import MedBlipForConditionalGeneration, MedBlipProcessor
from medblip.study.labels import LABELS
from medblip.study.record import RecordForm
from medblip.study.study import Example
from medblip.training.precision import autocast
from medblip.training.scoring import score_labels
from medblip.training.token_cache import TokenCache

Condition = Literal["full", "record", "image", "other_image", "blank_image"]
BATCH = 20


@dataclass(frozen=True)
class ControlText:
    """How a condition is told to a reader; ``withholds`` names the input it does without."""

    title: str
    explanation: str
    withholds: Literal["image", "record", ""]


CONTROLS: dict[Condition, ControlText] = {
    "full": ControlText("Image and record", "The model as it is used.", ""),
    "record": ControlText("Record only", "No image, and the prompt announces none.", "image"),
    "image": ControlText("Image only", "The record is left out of the prompt.", "record"),
    "other_image": ControlText(
        "Another subject's image",
        "The record with the scan of another test subject, drawn without regard to the label.",
        "image",
    ),
    "blank_image": ControlText(
        "Blank image", "The record with an empty volume that the prompt still announces.", "image"
    ),
}


@dataclass(frozen=True)
class Scorer:
    """A model with all it needs to score study examples under any condition."""

    model: MedBlipForConditionalGeneration
    processor: MedBlipProcessor
    cache: TokenCache
    form: RecordForm

    def score(
        self, examples: Sequence[Example], condition: Condition, *, seed: int = 0, progress: bool
    ) -> NDArray[np.float32]:
        """Log-probability of each answer, ``(examples, len(LABELS))``."""
        if not examples:
            return np.zeros((0, len(LABELS)), np.float32)
        shown = other_subjects(examples, seed) if condition == "other_image" else list(examples)
        starts = range(0, len(examples), BATCH)
        title = CONTROLS[condition].title
        bar = tqdm(starts, desc=f"Answering: {title}", unit="batch", disable=not progress)
        parts = [
            self._score_batch(examples[s : s + BATCH], shown[s : s + BATCH], condition) for s in bar
        ]
        return np.concatenate(parts)

    def _score_batch(
        self, examples: Sequence[Example], shown: Sequence[Example], condition: Condition
    ) -> NDArray[np.float32]:
        records = ["" if condition == "image" else self.form.text(e.fields) for e in examples]
        with autocast(self.model.query_tokens.device, self.cache.precision):
            scores = score_labels(
                self.model, self.processor.prompts, records, self._tokens(shown, condition)
            )
        array: NDArray[np.float32] = scores.float().cpu().numpy()
        return array

    def _tokens(
        self, shown: Sequence[Example], condition: Condition
    ) -> list[NDArray[np.float32]] | None:
        if condition == "record":
            return None
        if condition == "blank_image":
            return [self.cache.blank] * len(shown)
        return [self.cache.tokens(e.cube) for e in shown]


def other_subjects(examples: Sequence[Example], seed: int) -> list[Example]:
    """For each example the scan of another subject, each scan used about once.

    A shuffled order is shifted until no subject meets its own scan.
    """
    subjects = [e.participant_id for e in examples]
    if len(set(subjects)) < 2:
        return list(examples)
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(examples))
    partner = np.empty(len(examples), int)
    partner[order] = np.roll(order, 1)
    for i in range(len(examples)):
        if subjects[partner[i]] == subjects[i]:
            partner[i] = rng.choice([j for j, s in enumerate(subjects) if s != subjects[i]])
    return [examples[j] for j in partner]
