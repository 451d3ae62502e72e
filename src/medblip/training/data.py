"""The samples of a stage: what its schedule draws, as arrays, before they are put into a batch.

All that is random in a sample comes from its own seed. So it is the same in any batch, on any
process and in any worker.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from medblip.model.prompt import PromptBuilder
from medblip.recipe import StageSection
from medblip.study.labels import ANSWERS, QUESTION
from medblip.study.record import RecordForm
from medblip.study.study import Example
from medblip.training.balancing import groups_of
from medblip.training.field_dropout import FieldDropout
from medblip.training.schedule import SHOWN, Draw, make_schedule
from medblip.training.token_cache import LiveTokens, TokenCache
from medblip.training.token_changes import change_tokens
from medblip.training.tokenised import TokenisedTexts, question_and_answer
from medblip.volumes import map_cube_array


class StageDataset(Dataset[dict[str, Any]]):
    """The samples of one stage, in the order of its schedule.

    Args:
        examples: training sessions.
        form: how records are said.
        cache: gives image tokens; or, if it keeps none, the samples hold cubes to be encoded.
        prompts: builds token ids.
        stage, seed: shape and order of the schedule.
    """

    def __init__(
        self,
        examples: Sequence[Example],
        form: RecordForm,
        cache: LiveTokens,
        prompts: PromptBuilder,
        stage: StageSection,
        seed: int,
    ) -> None:
        self.examples = examples
        self.form = form
        self.cache = cache
        self.texts = TokenisedTexts(prompts)
        self.stage = stage
        self.dropout = FieldDropout(stage.field_dropout, examples, form.fields)
        self.blank: NDArray[Any] = (
            cache.blank if isinstance(cache, TokenCache) else cache.blank_cube
        )
        lengths = self._lengths() if stage.bucket else None
        groups, later = self._groups(), self._later()
        self.schedule = make_schedule(len(examples), stage, seed, groups, lengths, later)

    def __len__(self) -> int:
        return len(self.schedule)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """One sample.

        Returns:
            ``image``, tokens or cube, and ``seed``, unless the record is shown alone;
            ``contrasted`` in a stage with a contrastive loss, and with it the ids ``record`` and
            ``question_answer`` of what has an image of its own; the ids ``prompt`` and
            ``answer`` in a stage with the language loss.
        """
        draw = self.schedule[index]
        example = self.examples[draw.example]
        sample: dict[str, Any] = {}
        if draw.shown != "record":
            sample |= {"image": self._image(example, draw), "seed": draw.seed}
        return sample | self._texts(example, draw)

    def _groups(self) -> NDArray[np.int64] | None:
        return groups_of(self.examples, self.stage.balance)

    def _later(self) -> NDArray[np.bool_] | None:
        """What the first part of the stage leaves out."""
        return None

    def _texts(self, example: Example, draw: Draw) -> dict[str, Any]:
        record = self._record(example, draw)
        said = "" if draw.shown == "image" else record
        return self._ids(draw, record, said, QUESTION, ANSWERS[example.label])

    def _record(self, example: Example, draw: Draw) -> str:
        return self.form.text(self.dropout.left(example.fields, draw.seed))

    def _ids(
        self,
        draw: Draw,
        record: str,
        said: str,
        question: str,
        answer: str,
        previous: bool = False,
        contrasted: bool = True,
    ) -> dict[str, Any]:
        """The texts of the stage's losses; ``said`` stands in the prompt before the question.

        Without ``contrasted`` neither record nor answer is contrasted with the image.
        """
        texts: dict[str, Any] = {}
        if self.stage.itc_record > 0 or self.stage.itc_answer > 0:
            texts["contrasted"] = contrasted and draw.shown in ("both", "image")
            if texts["contrasted"]:
                texts["record"] = self.texts.contrasted(record)
                pair = question_and_answer(answer, question)
                texts["question_answer"] = self.texts.contrasted(pair)
        if self.stage.language > 0:
            image = draw.shown != "record"
            texts["prompt"] = self.texts.prompt(said, image, question, previous and image)
            texts["answer"] = self.texts.answer(answer)
        return texts

    def _image(self, example: Example, draw: Draw) -> NDArray[Any]:
        if draw.shown == "blank":
            return self.blank
        if not isinstance(self.cache, TokenCache):
            return map_cube_array(self.cache.cubes / example.cube)
        rng = np.random.default_rng(draw.seed)
        return change_tokens(self.cache.tokens(example.cube), self.stage, rng)

    def _lengths(self) -> NDArray[np.int64]:
        """``(len(SHOWN), examples)``: tokens of what is padded, with no field dropped."""
        records = [self.form.text(example.fields) for example in self.examples]
        if self.stage.language == 0:
            lengths = [len(self.texts.contrasted(record)) for record in records]
            return np.tile(np.array(lengths, np.int64), (len(SHOWN), 1))
        whole = np.array([len(self.texts.prompt(record, True)) for record in records], np.int64)
        prompts = {
            "both": whole,
            "blank": whole,
            "record": whole - len(self.texts.prompts.prefix),
            "image": np.full_like(whole, len(self.texts.prompt("", True))),
        }
        answers = [len(self.texts.answer(ANSWERS[example.label])) for example in self.examples]
        return np.stack([prompts[shown] + answers for shown in SHOWN])
