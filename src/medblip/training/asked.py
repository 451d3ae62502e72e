"""The samples of a stage that asks questions about scans: a scan, one question, one answer.

The scan alone answers them: the prompt holds what was said before and never the record, since
scores and diagnosis follow the same disease as the scan. Where the question compares with an
earlier session, that one's scan stands before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
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
from medblip.training.tokenised import question_and_answer
from medblip.vqa.priors import Visits, prior_cube
from medblip.vqa.prompting import said_before, shown, worded
from medblip.vqa.question_file import QUESTIONS_FILE
from medblip.vqa.questions import Question
from medblip.vqa.study_questions import asked_about, by_session, unrolled

STREAM = 2  # of a sample's random numbers; its image and its record have others
PREVIOUS_STREAM = 3  # of its previous scan, which is changed in another way than its image


NO_CHOICES: dict[str, Any] = {"choices": (), "right": 0}  # of a sample that contrasts none


@dataclass(frozen=True)
class Asked:
    """One thing to learn.

    Attributes:
        example: the session and its scan.
        question: about the scan; None for the diagnosis after the record.
        previous: cube of the scan before it; empty where the question compares with none.
    """

    example: Example
    question: Question | None = None
    previous: str = ""


def asked_items(
    examples: Sequence[Example],
    questions: Sequence[Question],
    *,
    diagnosis: bool,
    visits: Visits | None = None,
) -> list[Asked]:
    """What a stage asks: each question about these sessions, of a dialogue each turn.

    So the loss of a sample stays on one answer, and the turns before it are context.

    Args:
        diagnosis: ask each session's diagnosis too.
        visits: of the study; needed where questions compare with earlier sessions.

    Raises:
        InputError: no question is about these sessions.
    """
    pairs = asked_about(examples, by_session(questions))
    items = [
        Asked(example, turn, prior_cube(turn, visits or {}))
        for example, q in pairs
        for turn in unrolled(q)
    ]
    if not items:
        problem = f"none of {len(questions)} questions is about a session to train on"
        fix = "write questions about the study's own training sessions"
        raise InputError(QUESTIONS_FILE, problem, fix, code="no-questions")
    return [*(Asked(example) for example in examples if diagnosis), *items]


class AskedDataset(StageDataset):
    """The samples of one stage over sessions and questions, in the order of its schedule.

    Where diagnoses are asked too, they are drawn as often as all questions together, and images are
    contrasted with records and answers in the samples that ask the diagnosis.

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

    def __getitem__(self, index: int) -> dict[str, Any]:
        """As of :class:`StageDataset`; ``previous`` and its seed where there is an earlier scan."""
        sample = super().__getitem__(index)
        draw = self.schedule[index]
        previous = self.items[draw.example].previous
        if not previous or "image" not in sample:
            return sample
        seed = int(np.random.SeedSequence((draw.seed, PREVIOUS_STREAM)).generate_state(1)[0])
        earlier = replace(self.examples[draw.example], cube=previous)
        scan = self._image(earlier, replace(draw, seed=seed))
        return sample | {"previous": scan, "previous_seed": seed}

    def _groups(self) -> NDArray[np.int64] | None:
        balanced = groups_of(self.examples, self.stage.balance)
        if all(item.question for item in self.items):
            return balanced
        is_question = np.array([item.question is not None for item in self.items], np.int64)
        return is_question if balanced is None else 2 * balanced + is_question

    def _later(self) -> NDArray[np.bool_] | None:
        """What is open or follows other turns, unless nothing else is asked."""
        questions = [item.question for item in self.items]
        later = np.array([bool(q and (q.turns or not q.choices)) for q in questions])
        return None if later.all() else later

    def _texts(self, example: Example, draw: Draw) -> dict[str, Any]:
        item = self.items[draw.example]
        if item.question is None:
            return super()._texts(example, draw) | (NO_CHOICES if self.stage.itc_choices else {})
        asked, answer = question_and_answer_of(item.question, draw.seed, self.stage.choices_shown)
        record, before = self._record(example, draw), said_before(item.question)
        alone = self.stage.questions == "vqa"
        texts = self._ids(draw, record, before, asked, answer, bool(item.previous), alone)
        return texts | self._choices(item.question, draw) if self.stage.itc_choices else texts

    def _choices(self, question: Question, draw: Draw) -> dict[str, Any]:
        """The question with each of its choices, where they are contrasted."""
        if draw.shown not in ("both", "image") or not is_contrasted(question):
            return NO_CHOICES
        pairs = [question_and_answer(choice, question.text) for choice in question.choices]
        listed = [self.texts.contrasted(pair) for pair in pairs]
        return {"choices": listed, "right": question.answer_index}

    def _lengths(self) -> NDArray[np.int64]:
        """As for the diagnosis; of a question, with its choices if any sample may show them."""
        lengths = super()._lengths()
        if self.stage.language == 0:
            return lengths
        for at, item in enumerate(self.items):
            if item.question is not None:
                lengths[:, at] = self._asked_lengths(item.question, bool(item.previous))
        return lengths

    def _asked_lengths(self, question: Question, previous: bool) -> list[int]:
        """As the sample is shown, in the order of ``SHOWN``."""
        before = said_before(question)
        asked = worded(question, choices=self.stage.choices_shown > 0)
        answer = len(self.texts.answer(question.answer))
        whole = len(self.texts.prompt(before, True, asked, previous)) + answer
        prefix = len(self.texts.prompts.scans(previous=previous))
        return [whole - prefix * (said == "record") for said in SHOWN]


def is_contrasted(question: Question) -> bool:
    """Whether its choices can be told apart by one image: it is closed, alone, and answerable."""
    alone = not question.turns and question.prior is None
    return bool(question.choices) and question.answerable and alone


def question_and_answer_of(question: Question, seed: int, choices_shown: float) -> tuple[str, str]:
    """How one sample asks, and what is to be answered; the same whenever its seed is.

    A share of the closed questions is shown with the choices in an order of the sample's own; the
    others are asked as if they were open. Either is answered in words: a letter would have to be
    looked up before it is said, which a small language model learns much later than what the scan
    shows.

    Args:
        choices_shown: the share.
    """
    rng = np.random.default_rng((seed, STREAM))
    if not question.choices or rng.random() >= choices_shown:
        return question.text, question.answer
    return shown(question, rng.permutation(len(question.choices)).tolist()), question.answer
