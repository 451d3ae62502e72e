"""Study examples to log-probabilities of their possible answers: validation and controls alike."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from medblip.model.likelihood import score_answers
from medblip.model.modeling_medblip import MedBlipForConditionalGeneration
from medblip.model.prompt import PromptBuilder, pad_left
from medblip.study.labels import ANSWERS, LABELS, QUESTION
from medblip.training.collating import stack_tokens


def score_labels(
    model: MedBlipForConditionalGeneration,
    prompts: PromptBuilder,
    records: Sequence[str],
    tokens: Sequence[NDArray[np.float32]] | None,
) -> torch.Tensor:
    """Summed log-probability of each label's answer to the paper's question.

    Args:
        records: one text a row, may be empty.
        tokens: image tokens ``(n, width)`` a row; None for prompts that announce no image.

    Returns:
        ``(rows, len(LABELS))`` on the model's device.
    """
    device = model.query_tokens.device
    rows = [prompts.prompt(text, QUESTION, image=tokens is not None).ids for text in records]
    ids, mask = (torch.tensor(x).to(device) for x in pad_left(rows, prompts.tokenizer.pad_token_id))
    image: dict[str, torch.Tensor] = {}
    if tokens is not None:
        stacked, image_mask = stack_tokens(tokens)
        image = {"image_tokens": stacked.to(device), "image_mask": image_mask.to(device)}
    candidates = [prompts.answer(ANSWERS[label]) for label in LABELS]
    return score_answers(model, candidates, ids, mask, **image)
