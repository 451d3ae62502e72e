"""A look at held-out subjects of a stage that asks questions: its closed ones, by likelihood."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from medblip.model.losses import gather_rows
from medblip.model.modeling_medblip import MedBlipForConditionalGeneration
from medblip.model.prompt import PromptBuilder
from medblip.model.replies import Ask, reply
from medblip.study.record import RecordForm
from medblip.study.study import Example
from medblip.training.interrupts import cut_short_if_asked
from medblip.training.precision import autocast
from medblip.training.token_cache import LiveTokens
from medblip.training.validation import Validation
from medblip.vqa.prompting import lettered, said_before, shown
from medblip.vqa.questions import Question
from medblip.vqa.study_questions import by_session


def asked_validation(
    examples: Sequence[Example],
    questions: Sequence[Question],
    form: RecordForm,
    cache: LiveTokens,
    prompts: PromptBuilder,
    diagnosis: bool,
) -> AskedValidation | None:
    """A look at the closed, answerable questions about ``examples``; None if there are none."""
    closed = by_session(q for q in questions if q.choices and q.answerable)
    about = [closed.get((e.participant_id, e.session_id), []) for e in examples]
    asked = {e: q for e, q in zip(map(_key, examples), about, strict=True) if q}
    seen = [example for example in examples if _key(example) in asked]
    if not seen:
        return None
    return AskedValidation(seen, asked, form, cache, prompts, diagnosis)


def _key(example: Example) -> tuple[str, str]:
    return example.participant_id, example.session_id


class AskedValidation(Validation):
    """Measures a model on questions about ``examples``, shown with their choices.

    Args:
        asked: the questions about each example, by subject and session.
        diagnosis: measure the diagnosis too; both numbers are then the mean of the two.
    """

    def __init__(
        self,
        examples: Sequence[Example],
        asked: dict[tuple[str, str], list[Question]],
        form: RecordForm,
        cache: LiveTokens,
        prompts: PromptBuilder,
        diagnosis: bool,
    ) -> None:
        super().__init__(examples, form, cache, prompts, language=True)
        self.asked = asked
        self.diagnosis = diagnosis

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

    def _sums(self, model: MedBlipForConditionalGeneration, example: Example) -> torch.Tensor:
        """Right answers, log losses and questions of one scan, summed."""
        cut_short_if_asked()
        questions = self.asked[_key(example)]
        asks = [
            Ask(
                self.prompts.prompt(said_before(question), shown(question)).ids,
                tuple(self.prompts.answer(answer) for answer in lettered(question)),
            )
            for question in questions
        ]
        tokens = torch.from_numpy(self.cache.tokens(example.cube))[None]
        replies = reply(model, asks, tokens.to(model.query_tokens.device))
        sums = torch.zeros(3)
        for question, one in zip(questions, replies, strict=True):
            scores = torch.tensor(one.scores).log_softmax(0)
            right = question.answer_index
            sums += torch.tensor([float(scores.argmax() == right), -float(scores[right]), 1.0])
        return sums
