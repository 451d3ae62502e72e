"""The samples of a stage that asks questions about scans: one scan, one question, one answer.

The scan alone answers them: the prompt holds what was said before and never the record, since
scores and diagnosis follow the same disease as the scan.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medblip.errors import InputError
from medblip.model.prompt import PromptBuilder
from medblip.recipe import StageSection
from medblip.study.record import RecordForm
from medblip.study.study import Example
from medblip.training.balancing import groups_of
from medblip.training.data import StageDataset
from medblip.training.schedule import SHOWN, Draw
from medblip.training.token_cache import LiveTokens
from medblip.vqa.prompting import lettered, said_before, shown
from medblip.vqa.question_file import QUESTIONS_FILE
from medblip.vqa.questions import Question
from medblip.vqa.study_questions import asked_about, by_session, unrolled

STREAM = 2  # of a sample's random numbers; its image and its record have others
LETTERED = 0.5  # share of the closed questions that are shown with their choices


@dataclass(frozen=True)
class Asked:
    """One thing to learn.

    Attributes:
        example: the session and its scan.
        question: about the scan; None for the diagnosis after the record.
    """

    example: Example
    question: Question | None = None


def asked_items(
    examples: Sequence[Example], questions: Sequence[Question], *, diagnosis: bool
) -> list[Asked]:
    """What a stage asks: each question about these sessions, of a dialogue each turn.

    So the loss of a sample stays on one answer, and the turns before it are context.

    Args:
        diagnosis: ask each session's diagnosis too.

    Raises:
        InputError: no question is about these sessions.
    """
    pairs = asked_about(examples, by_session(questions))
    items = [Asked(example, turn) for example, q in pairs for turn in unrolled(q)]
    if not items:
        problem = f"none of {len(questions)} questions is about a session to train on"
        fix = "write questions about the study's own training sessions"
        raise InputError(QUESTIONS_FILE, problem, fix, code="no-questions")
    return [*(Asked(example) for example in examples if diagnosis), *items]


class AskedDataset(StageDataset):
    """The samples of one stage over sessions and questions, in the order of its schedule.

    Where diagnoses are asked too, they are drawn as often as all questions together.

    Args:
        items: what is asked.
        form, cache, prompts, stage, seed: as for :class:`StageDataset`.
    """

    def __init__(
        self,
        items: Sequence[Asked],
        form: RecordForm,
        cache: LiveTokens,
        prompts: PromptBuilder,
        stage: StageSection,
        seed: int,
    ) -> None:
        self.items = items
        super().__init__([i.example for i in items], form, cache, prompts, stage, seed)

    def _groups(self) -> NDArray[np.int64] | None:
        balanced = groups_of(self.examples, self.stage.balance)
        if all(item.question for item in self.items):
            return balanced
        is_question = np.array([item.question is not None for item in self.items], np.int64)
        return is_question if balanced is None else 2 * balanced + is_question

    def _texts(self, example: Example, draw: Draw) -> dict[str, Any]:
        question = self.items[draw.example].question
        if question is None:
            return super()._texts(example, draw)
        asked, answer = question_and_answer_of(question, draw.seed)
        return self._ids(draw, self._record(example, draw), said_before(question), asked, answer)

    def _lengths(self) -> NDArray[np.int64]:
        """As for the diagnosis; of a question, with its choices, which half of its samples show."""
        lengths = super()._lengths()
        if self.stage.language == 0:
            return lengths
        prefix = len(self.texts.prompts.prefix)
        for at, item in enumerate(self.items):
            if item.question is not None:
                asked = self.texts.prompt(said_before(item.question), True, shown(item.question))
                whole = len(asked) + len(self.texts.answer(item.question.answer))
                lengths[:, at] = [whole - prefix * (said == "record") for said in SHOWN]
        return lengths


def question_and_answer_of(question: Question, seed: int) -> tuple[str, str]:
    """How one sample asks, and what is to be answered; the same whenever its seed is.

    About half the closed questions are shown with their choices in an order of the sample's own,
    and answered with letter and choice; the others are asked as if they were open.
    """
    rng = np.random.default_rng((seed, STREAM))
    if not question.choices or rng.random() >= LETTERED:
        return question.text, question.answer
    order = rng.permutation(len(question.choices)).tolist()
    place = order.index(question.answer_index)
    return shown(question, order), lettered(question, order)[place]
