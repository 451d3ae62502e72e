"""The losses: image queries against a text (Eq. 4), and the answer (Eq. 5)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

IGNORED = -100  # label of tokens that carry no loss


def same_text(ids: Tensor, mask: Tensor) -> Tensor:
    """Boolean ``(batch, batch)``: which rows hold the same tokens.

    Args:
        ids: ``(batch, length)`` token ids; mask ``(batch, length)``, True at real tokens.
    """
    plain = torch.where(mask.bool(), ids, torch.full_like(ids, -1))
    # Left padding would shift equal texts apart only if lengths differ, and then they differ.
    return (plain[:, None] == plain[None]).all(-1)


def contrastive_loss(
    image: Tensor,
    text: Tensor,
    temperature: Tensor,
    positives: Tensor,
    label_smoothing: float,
) -> Tensor:
    """Symmetric image-text contrastive loss.

    The similarity of an image and a text is the largest over the image's queries.

    Args:
        image: ``(n, queries, d)``, unit vectors.
        text: ``(n, d)``, unit vectors.
        temperature: positive scalar.
        positives: boolean ``(n, n)``; row i marks the texts that are right for image i. The
            identity gives BLIP-2's one-hot targets.
        label_smoothing: share of the target spread over all pairs.

    Returns:
        Scalar: mean of the image-to-text and text-to-image cross-entropies; 0 of no pair.
    """
    if len(image) == 0:
        return image.sum() + text.sum() + 0.0 * temperature  # with gradients, all of them 0
    # bfloat16 would round a similarity of 0.9 / 0.07 to steps of 0.06.
    with torch.autocast(image.device.type, enabled=False):
        products = torch.einsum("iqd,td->itq", at_least_float32(image), at_least_float32(text))
        similarity = products.amax(-1) / temperature  # (n, n)
        targets = positives.to(similarity.dtype)
        return 0.5 * (
            _soft_cross_entropy(similarity, targets, label_smoothing)
            + _soft_cross_entropy(similarity.T, targets.T, label_smoothing)
        )


def choice_loss(
    image: Tensor, text: Tensor, temperature: Tensor, places: Tensor, right: Tensor
) -> Tensor:
    """Contrast of an image with a closed question's right choice among all its choices.

    ITC(I, Q&A) of Eq. 4 sets an answer against those of other images, which says nothing where many
    images share one. Here it is set against the other answers to the same question.

    Args:
        image: ``(n, queries, d)``, unit vectors.
        text: ``(t, d)``, unit vectors of question and choice, each distinct one once.
        temperature: positive scalar.
        places: int ``(n, choices)``, the texts of each question's choices; -1 where it has fewer.
        right: int ``(n,)``, column of the right one.

    Returns:
        Scalar: mean cross-entropy; 0 of no question.
    """
    if len(image) == 0:
        return image.sum() + text.sum() + 0.0 * temperature  # with gradients, all of them 0
    with torch.autocast(image.device.type, enabled=False):
        products = torch.einsum("iqd,td->itq", at_least_float32(image), at_least_float32(text))
        similarity = products.amax(-1) / temperature  # (n, t)
        choices = similarity.gather(1, places.clamp(min=0))
        return F.cross_entropy(choices.masked_fill(places < 0, -torch.inf), right)


def at_least_float32(tensor: Tensor) -> Tensor:
    """The same in float32 if it was of a lower precision."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def _soft_cross_entropy(logits: Tensor, targets: Tensor, label_smoothing: float) -> Tensor:
    targets = targets / targets.sum(1, keepdim=True)
    return F.cross_entropy(logits, targets, label_smoothing=label_smoothing)


def gather_rows(rows: Tensor) -> Tensor:
    """Rows of all processes, with gradients; the same rows where there is one process.

    Every process must call it, and then compute the same from what it gets. They may hold
    different numbers of rows, or none; where the second axis differs too, as the length of padded
    texts does, zeros are added on the left.
    """
    parts, place = gather_parts(rows)
    if len(parts) > 1 and rows.requires_grad:
        # All processes compute the same, so the gradient that each would send for these rows is
        # the one that is found here. Data parallel training takes the mean of them afterwards.
        own = parts[place] = F.pad(rows, _padding(rows, parts[place].shape))
        own.register_hook(lambda gradient: gradient * len(parts))
    return torch.cat(parts)


def gather_parts(rows: Tensor) -> tuple[list[Tensor], int]:
    """Rows of each process, without gradients, and which of them are this one's.

    See :func:`gather_rows`.
    """
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return [rows], 0
    processes = dist.get_world_size()
    own = torch.tensor(rows.shape[:2], device=rows.device)
    shapes = [torch.zeros_like(own) for _ in range(processes)]
    dist.all_gather(shapes, own)
    counts, lengths = torch.stack(shapes).T.tolist()
    padded = F.pad(rows.detach(), _padding(rows, (max(counts), max(lengths))))
    parts = [torch.empty_like(padded) for _ in range(processes)]
    dist.all_gather(parts, padded.contiguous())
    return [part[:n] for part, n in zip(parts, counts, strict=True)], dist.get_rank()


def _padding(rows: Tensor, shape: Sequence[int]) -> list[int]:
    """For ``F.pad``: to ``shape`` in the first two axes, the second on its left."""
    inner = [0, 0] * (rows.ndim - 2)
    return [*inner, shape[1] - rows.shape[1], 0, 0, shape[0] - rows.shape[0]]


def positions_to_keep(labels: Tensor | None) -> int:
    """How many last positions hold the answers, and the one before them; 0 keeps all.

    Raises:
        ValueError: every label is ``IGNORED``.
    """
    if labels is None:
        return 0
    answered = (labels != IGNORED).any(0).nonzero()
    if len(answered) == 0:
        raise ValueError("labels hold no answer token: every position is -100")
    return labels.shape[1] - int(answered[0]) + 1


def answer_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy of the answer tokens (Eq. 5).

    Args:
        logits: ``(batch, kept, vocabulary)`` of the last positions.
        labels: ``(batch, length)``, ``IGNORED`` at all but answer tokens.
    """
    following = labels[:, labels.shape[1] - logits.shape[1] + 1 :]
    return F.cross_entropy(
        logits[:, :-1].flatten(0, 1).float(), following.flatten(), ignore_index=IGNORED
    )
