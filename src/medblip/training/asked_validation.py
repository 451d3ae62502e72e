"""A look at held-out subjects of a stage that asks questions: its closed ones, by likelihood."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medblip.model.losses import gather_rows
from medblip.model.modeling_medblip import MedBlipForConditionalGeneration
from medblip.model.prompt import PromptBuilder
from medblip.model.replies import Ask, Reply, reply
from medblip.study.record import RecordForm
from medblip.study.study import Example
from medblip.training.collating import stack_tokens
from medblip.training.interrupts import cut_short_if_asked
from medblip.training.precision import autocast
from medblip.training.token_cache import LiveTokens
from medblip.training.validation import Validation
from medblip.vqa.priors import Visits, prior_cube
from medblip.vqa.prompting import said_before, worded
from medblip.vqa.questions import Question
from medblip.vqa.study_questions import by_session


def asked_validation(
    examples: Sequence[Example],
    questions: Sequence[Question],
    form: RecordForm,
    cache: LiveTokens,
    prompts: PromptBuilder,
    diagnosis: bool,
    visits: Visits | None = None,
    *,
    choices: bool = True,
    kind: type[AskedValidation] | None = None,
) -> AskedValidation | None:
    """A look at the closed, answerable questions about ``examples``; None if there are none.

    Args:
        visits: of the study; needed where questions compare with earlier sessions.
        choices: show the choices in the prompt.
        kind: how they are asked; with the language model if None.
    """
    closed = by_session(q for q in questions if q.choices and q.answerable)
    about = [closed.get((e.participant_id, e.session_id), []) for e in examples]
    asked = {e: q for e, q in zip(map(_key, examples), about, strict=True) if q}
    seen = [example for example in examples if _key(example) in asked]
    if not seen:
        return None
    made = kind or AskedValidation
    return made(seen, asked, form, cache, prompts, diagnosis, visits or {}, choices)


def compared(
    looked_at: Sequence[Example], everyone: Sequence[Example], questions: Sequence[Question]
) -> list[Example]:
    """``looked_at``, and the later sessions of these subjects that questions compare with others.

    Args:
        looked_at: the first session of some subjects, which compares with none.
        everyone: all sessions of the split.
    """
    subjects = {example.participant_id for example in looked_at}
    comparing = by_session(question for question in questions if question.prior)
    later = [e for e in everyone if e.participant_id in subjects and _key(e) in comparing]
    return [*looked_at, *(example for example in later if example not in looked_at)]


def _key(example: Example) -> tuple[str, str]:
    return example.participant_id, example.session_id


class AskedValidation(Validation):
    """Measures a model on questions about ``examples``.

    Args:
        asked: the questions about each example, by subject and session.
        diagnosis: measure the diagnosis too; both numbers are then the mean of the two.
        visits: of the study.
        choices: show the choices in the prompt.
    """

    LANGUAGE: ClassVar[bool] = True  # how the diagnosis is measured, too

    def __init__(
        self,
        examples: Sequence[Example],
        asked: dict[tuple[str, str], list[Question]],
        form: RecordForm,
        cache: LiveTokens,
        prompts: PromptBuilder,
        diagnosis: bool,
        visits: Visits,
        choices: bool,
    ) -> None:
        super().__init__(examples, form, cache, prompts, language=self.LANGUAGE)
        self.asked = asked
        self.diagnosis = diagnosis
        self.visits = visits
        self.choices = choices

    @torch.no_grad()
    def measure(self, model: MedBlipForConditionalGeneration) -> dict[str, float]:
        """As of :class:`Validation`; the log loss is over the choices of each question."""
        measured = self._questions(model)
        if not self.diagnosis:
            return measured
        other = super().measure(model)
        return {name: (value + other[name]) / 2 for name, value in measured.items()}

    def _questions(self, model: MedBlipForConditionalGeneration) -> dict[str, float]:
        training = model.training
        model.eval()
        with autocast(model.query_tokens.device, self.cache.precision):
            own = torch.stack([self._sums(model, example) for example in self._own()])
        sums = gather_rows(own.to(model.query_tokens.device))[: len(self.examples)].sum(0)
        model.train(training)
        right, loss, count = sums.tolist()
        return {"validation_accuracy": right / count, "validation_log_loss": loss / count}

    def _asked(self, example: Example) -> list[Question]:
        cut_short_if_asked()
        return self.asked[_key(example)]

    def _sums(self, model: MedBlipForConditionalGeneration, example: Example) -> torch.Tensor:
        """Right answers, log losses and questions of one scan, summed."""
        groups: dict[str, list[Question]] = defaultdict(list)
        for question in self._asked(example):
            groups[prior_cube(question, self.visits)].append(question)
        sums = torch.zeros(3)
        for previous, questions in groups.items():
            replies = self._replies(model, questions, example.cube, previous)
            for question, one in zip(questions, replies, strict=True):
                sums += self._measured(torch.tensor(one.scores), question)
        return sums

    @staticmethod
    def _measured(scores: torch.Tensor, question: Question) -> torch.Tensor:
        """Whether the likeliest choice is right, the log loss, and 1."""
        normal, right = scores.float().log_softmax(0), question.answer_index
        return torch.tensor([float(normal.argmax() == right), -float(normal[right]), 1.0])

    def _replies(
        self,
        model: MedBlipForConditionalGeneration,
        questions: Sequence[Question],
        cube: str,
        previous: str,
    ) -> list[Reply]:
        """To questions about one scan, and the previous one where there is a name of one."""
        asks = [
            Ask(
                self.prompts.prompt(
                    said_before(question),
                    worded(question, choices=self.choices),
                    previous=bool(previous),
                ).ids,
                tuple(self.prompts.answer(answer) for answer in question.choices),
            )
            for question in questions
        ]
        scans = [self.cache.tokens(name) for name in (previous, cube) if name]
        tokens, mask = together(scans, model.query_tokens.device)
        return reply(model, asks, tokens, image_mask=mask)


def together(
    scans: Sequence[NDArray[np.float32]], device: torch.device
) -> tuple[Tensor | None, Tensor | None]:
    """The scans of one prompt as `medblip.model.replies.reply` takes them.

    Args:
        scans: tokens ``(n, width)`` of each, the previous one first; none for no scan.

    Returns:
        ``(scans, tokens, width)``, and where there are two their mask ``(scans, tokens)``.
    """
    if not scans:
        return None, None
    if len(scans) == 1:
        return torch.from_numpy(scans[0])[None].to(device), None
    tokens, mask = stack_tokens(scans)
    return tokens.to(device), mask.to(device)
