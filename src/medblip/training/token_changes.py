"""What training does to the image tokens of a sample: some are left out, the others blurred."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from medblip.recipe import StageSection


def change_tokens(
    tokens: NDArray[np.float32], stage: StageSection, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Drop image tokens at random (never CLS) and add noise of the tokens' own size.

    On the processor and not on the device: it is drawn from the sample's seed alone, whatever else
    is in the batch, and what is dropped need not travel.

    Args:
        tokens: ``(n, width)``, CLS first.
    """
    if stage.token_dropout > 0:
        keep = rng.random(len(tokens)) >= stage.token_dropout
        keep[0] = True
        tokens = tokens[keep]
    if stage.token_noise > 0:
        noise = rng.standard_normal(tokens.shape, dtype=np.float32)
        tokens = tokens + noise * (stage.token_noise * float(tokens.std()))
    return tokens
