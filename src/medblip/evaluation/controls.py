"""What keeps a vision-language model honest: the same subjects with an input withheld or wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol, TypeVar

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

# In the place of a cube's name.
NO_IMAGE = ""
BLANK_IMAGE = "(blank)"
_STANDING: dict[Condition, str] = {"record": NO_IMAGE, "blank_image": BLANK_IMAGE}


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


class ModelInput(NamedTuple):
    """What the model is shown of one example; two equal ones get the same answer.

    Attributes:
        record: text; empty where none is given.
        image: name of a cube, `NO_IMAGE` or `BLANK_IMAGE`.
    """

    record: str
    image: str


@dataclass(frozen=True)
class Scorer:
    """A model with all it needs to score study examples under any condition."""

    model: MedBlipForConditionalGeneration
    processor: MedBlipProcessor
    cache: TokenCache
    form: RecordForm

    def inputs(
        self, examples: Sequence[Example], condition: Condition, *, seed: int = 0
    ) -> list[ModelInput]:
        """What the model sees of each example under a condition."""
        records = ["" if condition == "image" else self.form.text(e.fields) for e in examples]
        if condition in _STANDING:
            images = [_STANDING[condition]] * len(examples)
        elif condition == "other_image":
            images = [e.cube for e in other_subjects(examples, seed)]
        else:
            images = [e.cube for e in examples]
        return [ModelInput(*pair) for pair in zip(records, images, strict=True)]

    def score(
        self, inputs: Sequence[ModelInput], *, title: str, progress: bool
    ) -> NDArray[np.float32]:
        """Log-probability of each answer, ``(inputs, len(LABELS))``; all with an image, or none."""
        if not inputs:
            return np.zeros((0, len(LABELS)), np.float32)
        starts = range(0, len(inputs), BATCH)
        bar = tqdm(starts, desc=f"Answering: {title}", unit="batch", disable=not progress)
        return np.concatenate([self._score_batch(inputs[s : s + BATCH]) for s in bar])

    def _score_batch(self, inputs: Sequence[ModelInput]) -> NDArray[np.float32]:
        records = [i.record for i in inputs]
        without = inputs[0].image == NO_IMAGE
        tokens = None if without else [self._tokens(i.image) for i in inputs]
        with autocast(self.model.query_tokens.device, self.cache.precision):
            scores = score_labels(self.model, self.processor.prompts, records, tokens)
        array: NDArray[np.float32] = scores.float().cpu().numpy()
        return array

    def _tokens(self, image: str) -> NDArray[np.float32]:
        return self.cache.blank if image == BLANK_IMAGE else self.cache.tokens(image)


class OfSubject(Protocol):
    """What belongs to a subject."""

    @property
    def participant_id(self) -> str: ...


Owned = TypeVar("Owned", bound=OfSubject)


def other_subjects(examples: Sequence[Owned], seed: int) -> list[Owned]:
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
