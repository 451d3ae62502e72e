"""Many prompts about one image: the image is encoded once, and what they share is read once.

Each prompt has candidate answers of its own, whose log-probabilities are wanted, or is answered by
the likeliest token again and again (greedy), or both.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from medblip.model.likelihood import continuations, score_answers
from medblip.model.modeling_medblip import MedBlipForConditionalGeneration
from medblip.model.prompt import pad_left


@dataclass(frozen=True, slots=True)
class Ask:
    """One prompt.

    Attributes:
        ids: of the prompt; it announces an image exactly if one is given.
        answers: ids of each candidate, end-of-sequence token included; may be none.
        generate: whether an answer is to be generated.
    """

    ids: list[int]
    answers: tuple[list[int], ...] = ()
    generate: bool = False


@dataclass(frozen=True, slots=True)
class Reply:
    """What a model makes of one prompt.

    Attributes:
        scores: summed log-probability of each candidate.
        generated: ids of the generated answer, without its end-of-sequence token.
    """

    scores: tuple[float, ...]
    generated: tuple[int, ...] = ()


@dataclass(frozen=True)
class ReadPrompts:
    """Prompts that a causal language model has read.

    Attributes:
        cache: its keys and values.
        mask: ``(rows, length)``, 1 where the cache holds a token of the prompt.
        logits: float32 ``(rows, vocabulary)`` of the token that follows.
    """

    cache: Any
    mask: Tensor
    logits: Tensor

    def taken(self, rows: Sequence[int]) -> ReadPrompts:
        """Some rows, in this order and as often; what is fed to them leaves these untouched."""
        index = torch.tensor(rows, device=self.mask.device)
        cache = copy.deepcopy(self.cache)
        cache.batch_select_indices(index)
        return ReadPrompts(cache, self.mask[index], self.logits[index])


@torch.no_grad()
def reply(
    model: MedBlipForConditionalGeneration,
    asks: Sequence[Ask],
    image_tokens: Tensor | None = None,
    *,
    image_mask: Tensor | None = None,
    max_new_tokens: int = 40,
) -> list[Reply]:
    """Answer prompts about one image, about two scans of one subject, or about none.

    Args:
        image_tokens: ``(1, tokens, width)`` of the image; of two scans ``(2, tokens, width)``, the
            previous one first; None where the prompts announce none.
        image_mask: ``(scans, tokens)``, needed where two scans have different numbers of tokens.
        max_new_tokens: of a generated answer.
    """
    if not asks:
        return []
    if model.config.is_encoder_decoder:
        image = {"image_tokens": image_tokens, "image_mask": image_mask}
        return [_reply_by_encoder(model, ask, image, max_new_tokens) for ask in asks]
    prefix = prefix_of(model, image_tokens, image_mask)
    read = read_prompts(model, [ask.ids for ask in asks], prefix)
    scores = score_each(model, read, [ask.answers for ask in asks])
    wanted = [row for row, ask in enumerate(asks) if ask.generate]
    said = generate_greedily(model, read.taken(wanted), max_new_tokens) if wanted else []
    texts = dict(zip(wanted, said, strict=True))
    return [Reply(tuple(s), tuple(texts.get(row, ()))) for row, s in enumerate(scores)]


def prefix_of(
    model: MedBlipForConditionalGeneration,
    image_tokens: Tensor | None,
    image_mask: Tensor | None = None,
) -> Tensor | None:
    """The prefix ``(scans, queries, language width)`` of each scan's tokens; None of none."""
    if image_tokens is None:
        return None
    return model.make_prefix(model.query_image(image_tokens, image_mask))


def read_prompts(
    model: MedBlipForConditionalGeneration, rows: Sequence[list[int]], prefix: Tensor | None
) -> ReadPrompts:
    """Read prompts of one image, or of the same two: their common beginning once, then the rest.

    Args:
        prefix: ``(scans of a prompt, queries, width)``; None where the prompts announce no image.
    """
    device = model.query_tokens.device
    ids, mask = (torch.tensor(x, device=device) for x in pad_left(rows, 0))
    prefixes = None if prefix is None else prefix.repeat(len(rows), 1, 1)
    embeddings = model.embed_prompt(ids, mask, prefixes)
    longest = ids.shape[1]
    # At least one token of each is left: its logits are what is wanted.
    shared = min(common_start(rows), min(map(len, rows)) - 1)
    cache = None
    if shared:
        start = longest - len(rows[0])
        head = embeddings[:1, start : start + shared]
        told = torch.ones(1, shared, dtype=mask.dtype, device=device)
        cache = model.run_decoder(head, told, keep=1, use_cache=True).past_key_values
        cache.batch_repeat_interleave(len(rows))
    lengths = torch.tensor([len(row) - shared for row in rows], device=device)
    width = longest - shared
    rest = (torch.arange(width, device=device) >= width - lengths[:, None]).to(mask.dtype)
    whole = torch.cat([torch.ones(len(rows), shared, dtype=mask.dtype, device=device), rest], 1)
    return go_on(model, cache, embeddings[:, shared:], whole)


def common_start(rows: Sequence[Sequence[int]]) -> int:
    """How many ids all rows begin with."""
    columns = enumerate(zip(*rows, strict=False))
    return next((at for at, ids in columns if len(set(ids)) > 1), min(map(len, rows)))


def go_on(
    model: MedBlipForConditionalGeneration, cache: Any, embeddings: Tensor, mask: Tensor
) -> ReadPrompts:
    """Read more after what a cache holds, all of which ``mask`` is about."""
    more = {} if cache is None else {"past_key_values": cache}
    result = model.run_decoder(embeddings, mask, keep=1, use_cache=True, **more)
    return ReadPrompts(result.past_key_values, mask, result.logits[:, -1].float())


def score_each(
    model: MedBlipForConditionalGeneration,
    read: ReadPrompts,
    answers: Sequence[Sequence[Sequence[int]]],
) -> list[list[float]]:
    """Summed log-probability of each candidate of each row; candidates may differ by row."""
    rows = [row for row, listed in enumerate(answers) for _ in listed]
    flat = [answer for listed in answers for answer in listed]
    if not flat:
        return [[] for _ in answers]
    first = read.logits.log_softmax(-1)
    scores = first[torch.tensor(rows), torch.tensor([answer[0] for answer in flat])]
    length = max(map(len, flat)) - 1
    if length:
        after = read.taken(rows)
        fed, wanted, real = continuations(flat, length, read.mask.device)
        result = model.run_decoder(
            model.get_input_embeddings()(fed),
            # What pads an answer comes after it, where nothing of the answer looks.
            torch.cat([after.mask, torch.ones_like(fed)], dim=1),
            past_key_values=after.cache,
            use_cache=True,
        )
        logits = result.logits.float()
        chosen = logits.gather(-1, wanted[..., None])[..., 0]
        scores = scores + ((chosen - logits.logsumexp(-1)) * real).sum(-1)
    values = iter(scores.tolist())
    return [[next(values) for _ in listed] for listed in answers]


def generate_greedily(
    model: MedBlipForConditionalGeneration, read: ReadPrompts, max_new_tokens: int
) -> list[list[int]]:
    """The likeliest token again and again, up to the end-of-sequence token, which is left out.

    What is fed extends the cache of ``read``: all tokens but the last.
    """
    ends = torch.tensor(end_ids(model), device=read.mask.device)
    said: list[list[int]] = [[] for _ in read.mask]
    open_rows = torch.ones(len(said), dtype=torch.bool, device=read.mask.device)
    while True:
        tokens = read.logits.argmax(-1)
        open_rows = open_rows & ~torch.isin(tokens, ends)
        for row in open_rows.nonzero()[:, 0].tolist():
            said[row].append(int(tokens[row]))
        if not open_rows.any() or max(map(len, said)) == max_new_tokens:
            return said
        mask = torch.cat([read.mask, torch.ones_like(read.mask[:, :1])], dim=1)
        read = go_on(model, read.cache, model.get_input_embeddings()(tokens[:, None]), mask)


def end_ids(model: MedBlipForConditionalGeneration) -> list[int]:
    """What ends an answer, as the language model's own settings say."""
    ends = model.generation_config.eos_token_id
    return [] if ends is None else ends if isinstance(ends, list) else [ends]


def _reply_by_encoder(
    model: MedBlipForConditionalGeneration,
    ask: Ask,
    image: dict[str, Tensor | None],
    max_new_tokens: int,
) -> Reply:
    device = model.query_tokens.device
    ids = torch.tensor([ask.ids], device=device)
    mask, scores, said = torch.ones_like(ids), (), ()
    if ask.answers:
        scored = score_answers(model, ask.answers, ids, mask, **image)
        scores = tuple(scored[0].tolist())
    if ask.generate:
        made = model.generate(ids, mask, **image, max_new_tokens=max_new_tokens, do_sample=False)
        start_and_end = {*end_ids(model), model.config.text_config.decoder_start_token_id}
        said = tuple(token for token in made[0].tolist() if token not in start_and_end)
    return Reply(scores, said)


__all__ = ["Ask", "ReadPrompts", "Reply", "reply"]
