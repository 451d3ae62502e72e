"""Closed questions by likelihood: which choice is likeliest, whatever the order it is shown in.

A language model may favour a letter or a place. With every cyclic order of the choices each one
stands once in each place, so an additive preference for places cancels in the mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import log_softmax

from medblip.errors import UsageError

Normalising = Literal["sum", "mean"]
DEFAULT_NORMALISING: Normalising = "sum"  # what training maximises, and what labels are scored by

Floats = NDArray[np.float64]


def cyclic_orders(count: int) -> list[tuple[int, ...]]:
    """``count`` orders of as many choices: position -> choice; the first one changes nothing."""
    return [tuple((place + turn) % count for place in range(count)) for turn in range(count)]


def scores_of(
    log_likelihoods: ArrayLike,
    lengths: ArrayLike,
    normalising: Normalising = DEFAULT_NORMALISING,
) -> Floats:
    """Log-probabilities over the choices shown.

    Args:
        log_likelihoods: float ``(..., choices)``, summed over the tokens of each answer.
        lengths: int, the same shape or broadcast to it, tokens of each answer.
        normalising: ``sum`` takes them as they are; ``mean`` divides by the number of tokens, so
            that long answers are not at a disadvantage.

    Returns:
        float64 ``(..., choices)``; their exponentials sum to one.

    Raises:
        UsageError: a value is NaN, all of a question are minus infinity, or a length is below 1.
    """
    values, tokens = np.asarray(log_likelihoods, np.float64), np.asarray(lengths)
    if np.isnan(values).any() or (np.isneginf(values).all(axis=-1)).any() or (tokens < 1).any():
        problem = "expected numbers, one of them finite, and lengths of at least one token"
        raise UsageError("choice scores", problem, code="bad-likelihoods")
    scaled = values if normalising == "sum" else values / tokens
    normal: Floats = log_softmax(scaled, axis=-1)
    return normal


def mean_over_orders(scores: ArrayLike, orders: Sequence[Sequence[int]]) -> Floats:
    """Mean log-probability of each choice over the orders it was shown in.

    Args:
        scores: float ``(orders, choices)``, by position, of `scores_of`.
        orders: position -> choice, one for each row.

    Returns:
        float64 ``(choices,)``, by choice, normalised again.

    Raises:
        UsageError: the orders are no orders of as many choices.
    """
    by_position = np.asarray(scores, np.float64)
    order = np.asarray(orders)
    if order.shape != by_position.shape or (np.sort(order) != np.arange(order.shape[-1])).any():
        problem = f"orders {order.shape} do not fit scores {by_position.shape}"
        raise UsageError("choice scores", problem, code="bad-orders")
    by_choice = np.empty_like(by_position)
    np.put_along_axis(by_choice, order, by_position, axis=1)
    normal: Floats = log_softmax(by_choice.mean(axis=0))
    return normal


def chosen(scores: ArrayLike) -> int:
    """The likeliest choice; of equal ones the first, whose place tells nothing."""
    return int(np.argmax(np.asarray(scores, np.float64)))
