"""A look at held-out subjects of a stage that contrasts the choices of closed questions."""

from __future__ import annotations

import torch

from medblip.model.modeling_medblip import MedBlipForConditionalGeneration
from medblip.study.study import Example
from medblip.training.asked_validation import AskedValidation
from medblip.training.collating import pad
from medblip.training.tokenised import CONTRAST_LENGTH, question_and_answer
from medblip.vqa.questions import Question


class ChoiceValidation(AskedValidation):
    """As its base, by the similarity of image and question with each choice.

    That is all that a stage without a language model learns of questions.
    """

    LANGUAGE = False

    def _sums(self, model: MedBlipForConditionalGeneration, example: Example) -> torch.Tensor:
        device = model.query_tokens.device
        tokens = torch.from_numpy(self.cache.tokens(example.cube))[None].to(device)
        states = model.query_image(tokens)
        sums = [self._one(model, states, question) for question in self._asked(example)]
        return torch.stack(sums).sum(0)

    def _one(
        self, model: MedBlipForConditionalGeneration, states: torch.Tensor, question: Question
    ) -> torch.Tensor:
        """Whether it is right, its log loss, and 1."""
        pairs = [question_and_answer(choice, question.text) for choice in question.choices]
        texts = [self.prompts.contrast_text(pair, CONTRAST_LENGTH) for pair in pairs]
        ids, mask = (x.to(states.device) for x in pad(texts, self.prompts.tokenizer.pad_token_id))
        temperature, image, text = model.contrast_features(states, [(ids, mask)])
        similarity = torch.einsum("qd,td->tq", image[0].float(), text.float()).amax(-1)
        return self._measured(similarity / temperature, question)
