"""The losses against explicit loops."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from tiny import build, padded, prompt_rows, training_batch, volumes
from torch import Tensor

from medblip.model.configuration_medblip import LOSSES
from medblip.model.losses import (
    answer_loss,
    choice_loss,
    contrastive_loss,
    positions_to_keep,
    same_text,
)

TOLERANCE = 1e-12  # float64


def unit_vectors(*shape: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(*shape, generator=generator, dtype=torch.float64), dim=-1)


def looped_loss(
    image: Tensor, text: Tensor, temperature: float, positives: Tensor, smoothing: float
) -> float:
    n = len(image)
    similarity = [
        [max(float(query @ text[t]) for query in image[i]) / temperature for t in range(n)]
        for i in range(n)
    ]

    def cross_entropy(logits: list[float], right: list[bool]) -> float:
        normaliser = math.log(sum(math.exp(value) for value in logits))
        targets = [(1 - smoothing) * (hit / sum(right)) + smoothing / n for hit in right]
        return sum(t * (normaliser - value) for t, value in zip(targets, logits, strict=True))

    rows = positives.tolist()
    total = 0.0
    for i in range(n):
        total += cross_entropy(similarity[i], rows[i])
        total += cross_entropy([similarity[j][i] for j in range(n)], [rows[j][i] for j in range(n)])
    return total / (2 * n)


TWO_ALIKE = torch.eye(4, dtype=torch.bool)
TWO_ALIKE[0, 2] = TWO_ALIKE[2, 0] = True
LOPSIDED = torch.eye(4, dtype=torch.bool)
LOPSIDED[0, 1:3] = True


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize(
    "positives", [torch.eye(4).bool(), TWO_ALIKE, LOPSIDED], ids=["one-hot", "alike", "lopsided"]
)
def test_contrastive_loss_is_the_loop(positives: Tensor, smoothing: float) -> None:
    image, text = unit_vectors(4, 3, 8, seed=0), unit_vectors(4, 8, seed=1)
    temperature = torch.tensor(0.2, dtype=torch.float64)
    found = float(contrastive_loss(image, text, temperature, positives, smoothing))
    expected = looped_loss(image, text, 0.2, positives, smoothing)
    assert abs(found - expected) <= TOLERANCE, f"{found} for {expected}"


def test_contrastive_loss_has_the_gradient_of_its_differences() -> None:
    inputs = (unit_vectors(4, 3, 8, seed=0), unit_vectors(4, 8, seed=1), torch.tensor(0.3).double())
    for tensor in inputs:
        tensor.requires_grad_()
    assert torch.autograd.gradcheck(lambda *x: contrastive_loss(*x, TWO_ALIKE, 0.1), inputs)


def test_same_text_looks_at_real_tokens_alone() -> None:
    ids = torch.tensor([[0, 0, 7, 8], [9, 9, 7, 8], [0, 6, 7, 8], [0, 0, 7, 8]])
    mask = torch.tensor([[0, 0, 1, 1], [0, 0, 1, 1], [0, 1, 1, 1], [0, 1, 1, 1]])
    assert same_text(ids, mask).tolist() == [
        [True, True, False, False],
        [True, True, False, False],
        [False, False, True, False],
        [False, False, False, True],  # a real token with the padding's id is a token
    ]


@pytest.mark.parametrize("targets", ["same_text", "one_hot"])
def test_equal_texts_are_positives_unless_one_hot_is_asked_for(targets: str) -> None:
    rows = prompt_rows([3, 4], image=False)
    ids, mask = padded([rows[0], rows[1], rows[0]]).values()
    # In eval mode equal texts are equal vectors, and both targets then have the same loss;
    # dropout tells them apart.
    model = build(itc_targets=targets).train()
    with torch.no_grad():
        torch.manual_seed(0)
        states = model.query_image(*model.encode_image(volumes(3)))
        found = float(model.contrast(states, [(ids, mask)])[0])
        torch.manual_seed(0)
        states = model.query_image(*model.encode_image(volumes(3)))
        image = F.normalize(model.image_contrast(states), dim=-1).double()
        text = F.normalize(model.text_contrast(model.embed_text(ids, mask)), dim=-1).double()
    alike = torch.eye(3, dtype=torch.bool)
    alike[0, 2] = alike[2, 0] = True
    positives = {"same_text": alike, "one_hot": torch.eye(3, dtype=torch.bool)}
    expected = {
        name: looped_loss(image, text, 0.07, marked, 0.1) for name, marked in positives.items()
    }
    assert found == pytest.approx(expected.pop(targets), rel=1e-5)  # float32
    assert found != pytest.approx(expected.popitem()[1], rel=1e-3)


def test_the_temperature_stays_in_its_range_and_can_come_back() -> None:
    model = build()
    with torch.no_grad():
        model.temperature.fill_(-3.0)
    batch = training_batch(model)
    out = model(**batch)
    (out.itc_record + out.itc_answer).backward()
    assert float(model.temperature.detach()) == pytest.approx(0.01)
    assert float(model.temperature.grad) != 0.0


def test_contrast_rows_pick_the_images_of_the_texts() -> None:
    model = build()
    batch = training_batch(model)
    texts = {n: v for n, v in batch.items() if n.startswith("record")}
    rows = torch.tensor([2, 0])
    two = {name: value[:2] for name, value in texts.items()}
    with torch.no_grad():
        picked = model(pixel_values=batch["pixel_values"], contrast_rows=rows, **two)
        plain = model(pixel_values=batch["pixel_values"][rows], **two)
    assert float(picked.itc_record) == pytest.approx(float(plain.itc_record), rel=1e-5)


def test_choice_loss_is_the_loop_over_each_questions_own_choices() -> None:
    image, text = unit_vectors(3, 2, 8, seed=0), unit_vectors(5, 8, seed=1)
    places = torch.tensor([[0, 1, -1], [4, 2, 3], [1, 0, -1]])
    right = torch.tensor([1, 0, 1])
    expected = 0.0
    for i, (row, true) in enumerate(zip(places.tolist(), right.tolist(), strict=True)):
        own = [t for t in row if t >= 0]
        logits = [max(float(query @ text[t]) for query in image[i]) / 0.2 for t in own]
        expected += math.log(sum(math.exp(x) for x in logits)) - logits[true]
    found = choice_loss(image, text, torch.tensor(0.2, dtype=torch.float64), places, right)
    assert float(found) == pytest.approx(expected / 3, abs=TOLERANCE)


def test_choice_loss_of_no_question_has_gradients_of_zero() -> None:
    image = torch.zeros(0, 2, 8, requires_grad=True)
    text, heat = torch.zeros(0, 8, requires_grad=True), torch.tensor(0.1, requires_grad=True)
    places, right = torch.zeros(0, 1, dtype=torch.int64), torch.zeros(0, dtype=torch.int64)
    loss = choice_loss(image, text, heat, places, right)
    loss.backward()
    assert float(loss.detach()) == 0.0 and heat.grad is not None and float(heat.grad) == 0.0


def test_choices_go_through_the_model_and_all_of_them_are_needed() -> None:
    model = build()
    batch = training_batch(model)
    ids, mask = batch["record_ids"], batch["record_mask"]
    asked = {
        "choice_ids": ids,
        "choice_mask": mask,
        "choice_rows": torch.tensor([1, 0]),
        "choice_places": torch.tensor([[0, 1], [1, 0]]),
        "choice_right": torch.tensor([0, 1]),
    }
    with torch.no_grad():
        out = model(pixel_values=batch["pixel_values"], **asked)
        states = out.query_states[asked["choice_rows"]]
        heat, image, text = model.contrast_features(states, [(ids, mask)])
        expected = choice_loss(image, text, heat, asked["choice_places"], asked["choice_right"])
    assert float(out.itc_choices) == pytest.approx(float(expected), rel=1e-5)
    assert float(out.loss) == pytest.approx(float(expected), rel=1e-5)
    del asked["choice_places"]
    with pytest.raises(ValueError, match="need all of"):
        model(pixel_values=batch["pixel_values"], **asked)


@pytest.mark.parametrize("name", LOSSES)
def test_each_weight_scales_its_part_of_the_loss(name: str) -> None:
    model = build()
    batch = training_batch(model)
    weights = {"itc_record": 0.5, "itc_answer": 2.0, "itc_choices": 4.0, "language": 3.0}
    asked = {"choice_ids": batch["record_ids"], "choice_mask": batch["record_mask"]}
    asked |= {"choice_rows": torch.tensor([0, 1]), "choice_right": torch.tensor([0, 1])}
    batch |= asked | {"choice_places": torch.tensor([[0, 1], [0, 1]])}
    with torch.no_grad():
        model.config.loss_weights = weights
        out = model(**batch)
        expected = sum(w * float(getattr(out, part)) for part, w in weights.items())
        assert float(out.loss) == pytest.approx(expected, rel=1e-6)
        model.config.loss_weights = weights | {name: 0.0}
        less = expected - weights[name] * float(getattr(out, name))
        assert float(model(**batch).loss) == pytest.approx(less, rel=1e-6)


def test_answer_loss_is_taken_at_the_position_before_each_answer_token() -> None:
    labels = torch.tensor([[-100, -100, -100, 2], [-100, -100, 1, 0]])
    logits = torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(0))
    log = logits.log_softmax(-1)
    expected = -(log[0, 2, 2] + log[1, 1, 1] + log[1, 2, 0]) / 3
    keep = positions_to_keep(labels)
    assert keep == 3
    assert float(answer_loss(logits[:, -keep:], labels)) == pytest.approx(float(expected))
    assert float(answer_loss(logits, labels)) == pytest.approx(float(expected))
    assert positions_to_keep(None) == 0
    with pytest.raises(ValueError, match="no answer token"):
        positions_to_keep(torch.full((1, 3), -100))


def test_gathered_processes_of_different_sizes_are_one_batch(tmp_path: Path) -> None:
    """Two processes with two and three rows of texts of two and four tokens."""
    script = Path(__file__).with_name("gather_two_processes.py")
    command = [sys.executable, str(script), str(tmp_path / "store")]
    first, second = (
        subprocess.Popen([*command, rank], stdout=subprocess.PIPE, text=True) for rank in "01"
    )
    for process in (first, second):
        out, _ = process.communicate(timeout=120)
        assert process.returncode == 0
        assert out.strip() == "same loss, same gradients"
