"""Training: losses fall, gradients are the same recomputed, and stock Trainer counts right."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest
import torch
from common_inputs import KINDS, config_of
from peft import LoraConfig, get_peft_model
from tiny import build, gradients, largest_difference, training_batch
from torch import Tensor
from torch.utils.data import Dataset
from transformers import Trainer, TrainingArguments
from transformers.modeling_layers import GradientCheckpointingLayer

from medblip.model import MedBlipForConditionalGeneration

TOLERANCE = 1e-4  # of gradients, relative to the largest of all


def without_dropout(language: str) -> MedBlipForConditionalGeneration:
    model = build(language)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        if isinstance(getattr(module, "dropout", None), float):
            module.dropout = 0.0
    return model.train()


@pytest.mark.filterwarnings("ignore:.*use_reentrant:UserWarning")
@pytest.mark.parametrize("language", KINDS)
@pytest.mark.parametrize("reentrant", [None, True, False])
def test_recomputed_layers_give_the_same_gradients(language: str, reentrant: bool | None) -> None:
    model = without_dropout(language)
    batch = training_batch(model)
    expected = gradients(lambda: model(**batch).loss, model)
    options = {} if reentrant is None else {"use_reentrant": reentrant}
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs=options)
    layers = [m for m in model.modules() if isinstance(m, GradientCheckpointingLayer)]
    assert all(layer.gradient_checkpointing for layer in layers)
    assert any(layer.training for layer in layers)
    if reentrant:  # which sees no gradient unless the input of a block wants one
        model.enable_input_require_grads()
    found = gradients(lambda: model(**batch).loss, model)
    assert found.keys() == expected.keys()
    largest = max(float(gradient.abs().max()) for gradient in expected.values())
    for name, gradient in expected.items():
        assert largest_difference(found[name], gradient) <= TOLERANCE * largest, name


def test_checkpointing_can_be_switched_on_and_off() -> None:
    model = build()
    layers = [m for m in model.modules() if isinstance(m, GradientCheckpointingLayer)]
    for on in (False, True, False):
        (model.gradient_checkpointing_enable if on else model.gradient_checkpointing_disable)()
        assert {layer.gradient_checkpointing for layer in layers} == {on}
        assert model.is_activation_checkpointing == on


def test_checkpointing_may_be_set_in_the_configuration() -> None:
    config = config_of()
    config.gradient_checkpointing = True  # as in transformers 3
    model = MedBlipForConditionalGeneration(config)
    assert model.is_activation_checkpointing
    assert not hasattr(model.config, "gradient_checkpointing")


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")
def test_checkpointing_is_switched_through_peft() -> None:
    model = build(lora=None)
    wrapped = get_peft_model(model, LoraConfig(target_modules=r"language_model\..*\.q_proj"))
    wrapped.gradient_checkpointing_enable()
    assert model.is_activation_checkpointing
    wrapped.train()
    wrapped(**training_batch(model)).loss.backward()
    got = {n for n, p in wrapped.named_parameters() if p.grad is not None}
    assert got == {n for n, _ in wrapped.named_parameters() if "lora_" in n}


@pytest.mark.parametrize("language", KINDS)
def test_inputs_of_the_language_model_can_be_made_to_want_gradients(language: str) -> None:
    model = build(language)
    ids = torch.tensor([[7]])
    assert not model.get_input_embeddings()(ids).requires_grad  # it is frozen
    model.enable_input_require_grads()
    assert model.get_input_embeddings()(ids).requires_grad
    model.disable_input_require_grads()
    assert not model.get_input_embeddings()(ids).requires_grad


@pytest.mark.parametrize("language", KINDS)
def test_a_tiny_batch_is_learnt_by_heart(language: str) -> None:
    model = build(language, initializer_range=0.02).train()
    batch = training_batch(model)
    optimizer = torch.optim.AdamW((p for p in model.parameters() if p.requires_grad), lr=1e-2)
    torch.manual_seed(0)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = model(**batch).language
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.5 * losses[0], (losses[0], losses[-1])


class Rows(Dataset[dict[str, Tensor]]):
    def __init__(self, batch: dict[str, Tensor]) -> None:
        self.rows = [{k: v[i] for k, v in batch.items()} for i in range(2)]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return self.rows[index]


def trained(folder: Path, size: int) -> MedBlipForConditionalGeneration:
    """Two rows in one step of plain gradient descent: at once, or one after the other."""
    model = build().eval()
    names = ("input_ids", "attention_mask", "labels", "pixel_values")
    batch = {name: training_batch(model)[name] for name in names}
    # Answers of one length, so that the mean over both is the mean of the means.
    batch["labels"] = batch["labels"].masked_fill(batch["labels"] >= 0, -100)
    batch["labels"][:, -2:] = batch["input_ids"][:, -2:]
    options: dict[str, Any] = {
        "optim": "sgd",
        "learning_rate": 0.1,
        "max_grad_norm": 0.0,
        "lr_scheduler_type": "constant",
    }
    arguments = TrainingArguments(
        str(folder),
        per_device_train_batch_size=size,
        gradient_accumulation_steps=2 // size,
        max_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
        **options,
    )
    trainer = Trainer(model, arguments, train_dataset=Rows(batch))
    assert not trainer.model_accepts_loss_kwargs
    model.train = lambda mode=True: model  # type: ignore[method-assign]  # without dropout
    trainer.train()
    return model


def test_stock_trainer_takes_the_mean_over_accumulated_steps(tmp_path: Path) -> None:
    """A model that swallows any argument would be taken for one that divides by itself."""
    once, twice = (trained(tmp_path, size) for size in (2, 1))
    moved = 0.0
    start = dict(build().named_parameters())
    for name, parameter in once.named_parameters():
        other = twice.get_parameter(name)
        difference = largest_difference(parameter, other)
        assert difference <= 1e-5 * max(1.0, float(parameter.detach().abs().max())), name
        moved = max(moved, largest_difference(parameter, start[name]))
    assert moved > 1e-3


def test_arguments_of_forward_are_the_columns_trainer_keeps() -> None:
    names = set(inspect.signature(MedBlipForConditionalGeneration.forward).parameters)
    assert names >= {"input_ids", "labels", "pixel_values", "record_ids", "answer_ids"}
