"""One of two processes that hold parts of a batch; compares their loss with the whole batch's.

Run as ``python gather_two_processes.py STORE RANK``.
"""

from __future__ import annotations

import sys
from datetime import timedelta

import torch
import torch.distributed as dist
import torch.nn.functional as F

from medblip.model.losses import contrastive_loss, gather_rows, same_text

ROWS = (slice(0, 2), slice(2, 5))


def main(store: str, rank: int) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", f"file://{store}", rank=rank, world_size=2, timeout=timedelta(seconds=60)
    )
    torch.manual_seed(0)
    image, text = F.normalize(torch.randn(5, 3, 8), dim=-1), F.normalize(torch.randn(5, 8), dim=-1)
    ids = torch.tensor([[0, 0, 5, 6], [0, 0, 5, 7], [0, 0, 5, 6], [3, 4, 5, 6], [0, 4, 5, 6]])
    mask = (ids > 0).long()
    own = ROWS[rank]
    length = int(mask[own].sum(1).max())
    leaves = [x[own].clone().requires_grad_() for x in (image, text)]
    positives = same_text(gather_rows(ids[own, -length:]), gather_rows(mask[own, -length:]))
    loss = contrastive_loss(
        *(gather_rows(x) for x in leaves), torch.tensor(0.1), positives, label_smoothing=0.1
    )
    loss.backward()

    whole = [x.clone().requires_grad_() for x in (image, text)]
    expected = contrastive_loss(*whole, torch.tensor(0.1), same_text(ids, mask), 0.1)
    expected.backward()
    assert torch.allclose(loss, expected, rtol=1e-6)
    for leaf, full in zip(leaves, whole, strict=True):
        # Each of the two processes has the same loss, and their gradients are summed here; data
        # parallel training takes the mean afterwards.
        assert torch.allclose(leaf.grad, 2 * full.grad[own], rtol=1e-5, atol=1e-7)
    print("same loss, same gradients")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
