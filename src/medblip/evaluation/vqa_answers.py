"""Replies to prompts about scans, kept on disk: an interrupted evaluation goes on.

All prompts about one image, or about the same two scans, are put to the model together, so that the
image is encoded once and what the prompts share is read once. What is asked without an image is
asked once, whoever it is about.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from medblip.evaluation.controls import BLANK_IMAGE, NO_IMAGE, Scorer
from medblip.evaluation.vqa_shown import (
    QUESTION_CONDITIONS,
    QuestionCondition,
    Scans,
    Shown,
    shown_of,
)
from medblip.model.replies import Ask, reply
from medblip.training.asked_validation import together
from medblip.training.metrics_file import MetricsFile
from medblip.training.precision import autocast
from medblip.vqa.questions import Question

PROMPTS = 32  # put to the model at a time
MAX_NEW_TOKENS = {True: 24, False: 96}  # of answers to closed questions, and to open ones


@dataclass(frozen=True, slots=True)
class Answered:
    """What a model made of one question under one condition.

    Attributes:
        log_likelihoods: a row for each cyclic order in which the choices were shown, a column for
            each place; one row where they were not shown, none for open questions.
        lengths: tokens of these answers, the same shape.
        generated: the answer in words, to the first order.
    """

    log_likelihoods: list[list[float]]
    lengths: list[list[int]]
    generated: str


@dataclass
class KeptReplies:
    """Replies of one run, in memory and on disk by set and condition.

    Attributes:
        folder: of the files, each ``questions.<set>.<condition>.jsonl``.
        scorer: the model with all it needs.
        progress: whether to show bars.
        choices: whether closed questions are shown with their choices, see
            `medblip.recipe.Recipe.shows_choices`.
        known: replies by `Shown.key`.
    """

    folder: Path
    scorer: Scorer
    progress: bool
    choices: bool = True
    known: dict[str, dict[str, Any]] = field(default_factory=dict)

    def answers(
        self,
        name: str,
        questions: Sequence[Question],
        scans: Sequence[Scans],
        condition: QuestionCondition,
    ) -> list[Answered]:
        """Put each question to the model about its image.

        Args:
            name: of the set, for the file.
            scans: what is shown for each question.
            condition: for the file, and for the bar.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        file = MetricsFile(self.folder / f"questions.{name}.{condition}.jsonl")
        self.known |= {row["key"]: row for row in file.read()}
        asked = [
            shown_of(q, seen, choices=self.choices)
            for q, seen in zip(questions, scans, strict=True)
        ]
        new = {one.key: one for listed in asked for one in listed if one.key not in self.known}
        title = f"Asking: {QUESTION_CONDITIONS[condition].title}"
        with tqdm(total=len(new), desc=title, unit="prompt", disable=not self.progress) as bar:
            for batch in _batches(list(new.values())):
                for row in self._ask(batch):
                    file.append(row)
                    self.known[row["key"]] = row
                bar.update(len(batch))
        return [self._answered(listed) for listed in asked]

    def _ask(self, batch: Sequence[Shown]) -> Iterator[dict[str, Any]]:
        """Replies to prompts about one image, or about the same two."""
        model, processor = self.scorer.model, self.scorer.processor
        prompts, device = processor.prompts, model.query_tokens.device
        scans = [name for name in (batch[0].previous, batch[0].image) if name != NO_IMAGE]
        announced = {"image": len(scans) > 0, "previous": len(scans) > 1}
        asks = [
            Ask(
                prompts.prompt(one.before, one.asked, **announced).ids,
                tuple(prompts.answer(answer) for answer in one.answers),
                one.generate,
            )
            for one in batch
        ]
        longest = MAX_NEW_TOKENS[bool(batch[0].answers)]
        with autocast(device, self.scorer.cache.precision):
            tokens, mask = together([self._tokens(name) for name in scans], device)
            replies = reply(model, asks, tokens, image_mask=mask, max_new_tokens=longest)
        for one, said in zip(batch, replies, strict=True):
            text = prompts.tokenizer.decode(list(said.generated), skip_special_tokens=True)
            yield {"key": one.key, "scores": list(said.scores), "generated": text.strip()}

    def _tokens(self, image: str) -> NDArray[np.float32]:
        cache = self.scorer.cache
        return cache.blank if image == BLANK_IMAGE else cache.tokens(image)

    def _answered(self, listed: Sequence[Shown]) -> Answered:
        replies = [self.known[one.key] for one in listed]
        answer = self.scorer.processor.prompts.answer
        return Answered(
            [reply["scores"] for reply in replies],
            [[len(answer(text)) for text in one.answers] for one in listed],
            replies[0]["generated"],
        )


def _batches(asked: Sequence[Shown]) -> Iterator[list[Shown]]:
    """Prompts about the same scans, closed or open ones, those of similar length together."""
    groups: dict[tuple[str, str, bool], list[Shown]] = defaultdict(list)
    for one in asked:
        groups[one.image, one.previous, bool(one.answers)].append(one)
    for group in groups.values():
        group.sort(key=lambda one: len(one.before) + len(one.asked))
        for start in range(0, len(group), PROMPTS):
            yield group[start : start + PROMPTS]
