"""Likelihood answers: each candidate's log-probability after one prompt, run once for all."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from medblip.model.modeling_medblip import MedBlipForConditionalGeneration


@torch.inference_mode()
def score_answers(
    model: MedBlipForConditionalGeneration,
    candidates: Sequence[Sequence[int]],
    input_ids: Tensor,
    attention_mask: Tensor,
    pixel_values: Tensor | None = None,
    image_tokens: Tensor | None = None,
    image_mask: Tensor | None = None,
) -> Tensor:
    """Summed log-probability of each candidate answer after each prompt.

    The prompt runs once; causal models keep its key-value cache for all candidates,
    encoder-decoder models its encoder output.

    Args:
        candidates: token ids of each answer, end-of-sequence token included.
        input_ids, attention_mask: left-padded prompts ``(batch, length)``.
        pixel_values, image_tokens, image_mask: as in the model's ``forward``.

    Returns:
        float32 ``(batch, candidates)``.
    """
    embeddings, mask, _ = model.prepare_prompt(
        input_ids, attention_mask, pixel_values, image_tokens, image_mask
    )
    score = _score_encoder_decoder if model.config.is_encoder_decoder else _score_causal
    return score(model, candidates, embeddings, mask)


def _score_causal(
    model: MedBlipForConditionalGeneration,
    candidates: Sequence[Sequence[int]],
    embeddings: Tensor,
    mask: Tensor,
) -> Tensor:
    prompt = model.run_decoder(embeddings, mask, keep=1, use_cache=True)
    cache = prompt.past_key_values
    first = prompt.logits[:, -1].float().log_softmax(-1)  # (batch, vocabulary)
    scores = []
    for answer in candidates:
        score = first[:, answer[0]]
        if len(answer) > 1:
            fed = torch.tensor(answer[:-1], device=mask.device).expand(len(mask), -1)
            rest = model.run_decoder(
                model.get_input_embeddings()(fed),
                torch.cat([mask, torch.ones_like(fed)], dim=1),
                past_key_values=cache,
                use_cache=True,
            )
            cache.crop(-fed.shape[1])  # back to the prompt, for the next candidate
            score = score + _sum_log_probabilities(rest.logits, answer[1:])
        scores.append(score)
    return torch.stack(scores, dim=1)


def _score_encoder_decoder(
    model: MedBlipForConditionalGeneration,
    candidates: Sequence[Sequence[int]],
    embeddings: Tensor,
    mask: Tensor,
) -> Tensor:
    language_model = model.language_model
    encoded = language_model.get_encoder()(inputs_embeds=embeddings, attention_mask=mask)
    scores = []
    for answer in candidates:
        labels = torch.tensor(answer, device=mask.device).repeat(len(mask), 1)
        result = language_model(encoder_outputs=encoded, attention_mask=mask, labels=labels)
        scores.append(_sum_log_probabilities(result.logits, answer))
    return torch.stack(scores, dim=1)


def _sum_log_probabilities(logits: Tensor, answer: Sequence[int]) -> Tensor:
    """``logits (batch, n, vocabulary)`` that predict the ``n`` tokens of ``answer``."""
    wanted = torch.tensor(list(answer), device=logits.device).expand(len(logits), -1)
    chosen = logits.float().log_softmax(-1).gather(-1, wanted[..., None])
    return chosen[..., 0].sum(1)


__all__ = ["score_answers"]
