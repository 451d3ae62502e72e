"""The losses: image queries against a text (Eq. 4), and the answer (Eq. 5)."""

from __future__ import annotations

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor
from torch.distributed.nn.functional import all_gather

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
        Scalar: mean of the image-to-text and text-to-image cross-entropies.
    """
    similarity = torch.einsum("iqd,td->itq", image, text).amax(-1) / temperature  # (n, n)
    targets = positives.to(similarity.dtype)
    return 0.5 * (
        _soft_cross_entropy(similarity, targets, label_smoothing)
        + _soft_cross_entropy(similarity.T, targets.T, label_smoothing)
    )


def _soft_cross_entropy(logits: Tensor, targets: Tensor, label_smoothing: float) -> Tensor:
    targets = targets / targets.sum(1, keepdim=True)
    return F.cross_entropy(logits, targets, label_smoothing=label_smoothing)


def gather_rows(rows: Tensor) -> Tensor:
    """Rows of all processes, with gradients; the same rows where there is one process.

    Every process must call it. They may hold different numbers of rows; where the second axis
    differs too, as the length of padded texts does, zeros are added on the left.
    """
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return rows
    own = torch.tensor(rows.shape[:2], device=rows.device)
    shapes = [torch.zeros_like(own) for _ in range(dist.get_world_size())]
    dist.all_gather(shapes, own)
    count, length = torch.stack(shapes).amax(0).tolist()
    inner = [0, 0] * (rows.ndim - 2)
    padding = [*inner, length - rows.shape[1], 0, 0, count - rows.shape[0]]
    parts = all_gather(F.pad(rows, padding))
    return torch.cat([part[: int(shape[0])] for part, shape in zip(parts, shapes, strict=True)])


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
