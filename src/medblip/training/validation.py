"""A look at held-out subjects during training: likelihood answers, accuracy and log loss."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F

from medblip.model.losses import gather_rows
from medblip.model.modeling_medblip import MedBlipForConditionalGeneration
from medblip.model.prompt import PromptBuilder, pad_left
from medblip.study.labels import ANSWERS, LABELS
from medblip.study.record import RecordForm
from medblip.study.study import Example
from medblip.training.agreement import place
from medblip.training.collating import stack_tokens
from medblip.training.interrupts import cut_short_if_asked
from medblip.training.precision import autocast
from medblip.training.scoring import score_labels
from medblip.training.token_cache import LiveTokens
from medblip.training.tokenised import CONTRAST_LENGTH, question_and_answer

BATCH = 16


class Validation:
    """Measures a model on ``examples`` with image and record.

    Args:
        language: score answers with the language model; else by the contrastive similarity of
            image and question-and-answer, which is all that stage 1 trains.
    """

    def __init__(
        self,
        examples: Sequence[Example],
        form: RecordForm,
        cache: LiveTokens,
        prompts: PromptBuilder,
        language: bool,
    ) -> None:
        self.examples = examples
        self.form = form
        self.cache = cache
        self.prompts = prompts
        self.language = language
        self.truth = torch.tensor([LABELS.index(e.label) for e in examples])

    @torch.no_grad()  # not inference mode: sharded towers keep what they gathered in it
    def measure(self, model: MedBlipForConditionalGeneration) -> dict[str, float]:
        """``validation_accuracy`` (0 to 1) and ``validation_log_loss`` (nats).

        Several processes share the examples, and each gets the same numbers.
        """
        training = model.training
        model.eval()
        score = self._language_scores if self.language else self._contrast_scores
        with autocast(model.query_tokens.device, self.cache.precision):
            own = torch.cat([score(model, batch) for batch in self._batches()]).float()
        scores = gather_rows(own)[: len(self.examples)].cpu()
        model.train(training)
        return {
            "validation_accuracy": float((scores.argmax(1) == self.truth).float().mean()),
            "validation_log_loss": float(F.cross_entropy(scores, self.truth)),
        }

    def _batches(self) -> Iterator[Sequence[Example]]:
        own = self._own()
        for start in range(0, len(own), BATCH):
            cut_short_if_asked()
            yield own[start : start + BATCH]

    def _own(self) -> list[Example]:
        """This process's share: as many as any other's, so that some are seen twice at the end."""
        rank, processes = place()
        share = -(-len(self.examples) // processes)
        rows = range(rank * share, (rank + 1) * share)
        return [self.examples[row % len(self.examples)] for row in rows]

    def _language_scores(
        self, model: MedBlipForConditionalGeneration, batch: Sequence[Example]
    ) -> torch.Tensor:
        records = [self.form.text(e.fields) for e in batch]
        tokens = [self.cache.tokens(e.cube) for e in batch]
        return score_labels(model, self.prompts, records, tokens)

    def _contrast_scores(
        self, model: MedBlipForConditionalGeneration, batch: Sequence[Example]
    ) -> torch.Tensor:
        device = model.query_tokens.device
        texts = [
            self.prompts.contrast_text(question_and_answer(ANSWERS[label]), CONTRAST_LENGTH)
            for label in LABELS
        ]
        ids, mask = (
            torch.tensor(x).to(device) for x in pad_left(texts, self.prompts.tokenizer.pad_token_id)
        )
        answers = F.normalize(model.text_contrast(model.embed_text(ids, mask)), dim=-1)
        tokens, mask = stack_tokens([self.cache.tokens(e.cube) for e in batch])
        states = model.query_image(tokens.to(device), mask.to(device))
        images = F.normalize(model.image_contrast(states), dim=-1)
        similarity = torch.einsum("iqd,td->itq", images, answers).amax(-1)
        return similarity / model.temperature
