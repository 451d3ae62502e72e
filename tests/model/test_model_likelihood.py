"""Candidate answers scored with a shared prompt against a full forward pass for each."""

from __future__ import annotations

import pytest
import torch
from tiny import (
    END,
    LANGUAGES,
    build,
    largest_difference,
    padded,
    prompt_rows,
    volumes,
    with_answers,
)
from torch import Tensor

from medblip.model import MedBlipForConditionalGeneration
from medblip.model.likelihood import score_answers

TOLERANCE = 1e-3  # nats, of sums of about -50 in float32
CANDIDATES = [[20, 21, 22, END], [33, END], [44], [20, 21, 60, 61, 62, END]]


def brute_force(
    model: MedBlipForConditionalGeneration, prompt: list[int], pixels: Tensor | None
) -> list[float]:
    """Log-probability of each candidate from its own forward pass over prompt and answer."""
    scores = []
    for answer in CANDIDATES:
        with torch.no_grad():
            out = model(**with_answers(model, [prompt], [answer]), pixel_values=pixels)
        scores.append(-float(out.language) * len(answer))
    return scores


@pytest.mark.parametrize("image", [True, False])
@pytest.mark.parametrize("language", LANGUAGES)
def test_scores_are_those_of_a_pass_for_each_candidate(language: str, image: bool) -> None:
    model = build(language)
    prompts = prompt_rows([9, 4, 6], image=image)
    pixels = volumes(3) if image else None
    found = score_answers(model, CANDIDATES, **padded(prompts), pixel_values=pixels)
    expected = torch.tensor(
        [
            brute_force(model, prompt, None if pixels is None else pixels[i : i + 1])
            for i, prompt in enumerate(prompts)
        ]
    )
    assert found.shape == (3, len(CANDIDATES))
    assert found.dtype == torch.float32
    difference = largest_difference(found, expected)
    assert difference <= TOLERANCE, f"largest difference {difference}"
    assert largest_difference(found[0], found[1]) > 0.1


@pytest.mark.parametrize("language", ["llama", "t5"])
def test_the_order_of_candidates_does_not_matter(language: str) -> None:
    """The key-value cache must be back at the prompt after each of them."""
    model = build(language)
    inputs = padded(prompt_rows([5])) | {"pixel_values": volumes(1)}
    scores = score_answers(model, CANDIDATES, **inputs)
    turned = score_answers(model, CANDIDATES[::-1], **inputs).flip(1)
    difference = largest_difference(scores, turned)
    assert difference <= TOLERANCE, f"largest difference {difference}"


def test_all_one_token_answers_together_have_probability_one() -> None:
    model = build()
    size = model.config.text_config.vocab_size
    inputs = padded(prompt_rows([5])) | {"pixel_values": volumes(1)}
    scores = score_answers(model, [[token] for token in range(size)], **inputs)
    assert float(scores.exp().sum()) == pytest.approx(1.0, abs=1e-4)
