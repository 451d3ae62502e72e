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
    first = prompt.logits[:, -1].float().log_softmax(-1)  # (batch, vocabulary)
    scores = first[:, [answer[0] for answer in candidates]]
    length = max(len(answer) for answer in candidates) - 1
    if length == 0:
        return scores
    # All candidates in one pass: few tokens each, and a pass reads every weight however few.
    fed, wanted, real = continuations(candidates, length, mask.device)
    cache = prompt.past_key_values
    cache.batch_repeat_interleave(len(candidates))
    fed = fed.repeat(len(mask), 1)  # (batch * candidates, length), as the cache's rows are
    rest = model.run_decoder(
        model.get_input_embeddings()(fed),
        # What pads an answer comes after it, where nothing of the answer looks.
        torch.cat([mask.repeat_interleave(len(candidates), 0), torch.ones_like(fed)], dim=1),
        past_key_values=cache,
        use_cache=True,
    )
    logits = rest.logits.float().unflatten(0, (len(mask), -1))  # (batch, candidates, length, ...)
    chosen = logits.gather(-1, wanted.expand(len(mask), -1, -1)[..., None])[..., 0]
    return scores + ((chosen - logits.logsumexp(-1)) * real).sum(-1)


def continuations(
    candidates: Sequence[Sequence[int]], length: int, device: torch.device
) -> tuple[Tensor, Tensor, Tensor]:
    """What is fed after the prompt, what is to follow each of it, and which of it is no padding.

    Returns:
        ``(candidates, length)`` each, padded on the right.
    """
    rows = [list(answer) + [0] * (length + 1 - len(answer)) for answer in candidates]
    ids = torch.tensor(rows, device=device)
    lengths = torch.tensor([len(answer) for answer in candidates], device=device)
    real = torch.arange(1, length + 1, device=device) < lengths[:, None]
    return ids[:, :-1], ids[:, 1:], real


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
