"""The vocabulary can be resized; the placeholder of the image stays outside of it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from common_inputs import KINDS, new_model, prompts
from tiny import LANGUAGES, QUERIES, based_model, build, tokenizer, vocabulary
from torch import nn

from medblip.model import MedBlipForConditionalGeneration, MedBlipImageProcessor, MedBlipProcessor

SIZE = len(vocabulary())


@pytest.mark.parametrize("language", LANGUAGES)
def test_embeddings_are_the_language_models(language: str) -> None:
    model = new_model(language)
    assert isinstance(model.get_input_embeddings(), nn.Embedding)
    other = nn.Embedding(SIZE, 32)
    model.set_input_embeddings(other)
    assert model.get_input_embeddings() is model.language_model.get_input_embeddings() is other
    head = nn.Linear(32, SIZE, bias=False)
    model.set_output_embeddings(head)
    assert model.get_output_embeddings() is model.language_model.get_output_embeddings() is head


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_larger_vocabulary_keeps_the_old_tokens(language: str) -> None:
    model = build(language)
    old = model.get_input_embeddings().weight.clone()
    model.resize_token_embeddings(SIZE + 10)
    new = model.get_input_embeddings()
    assert new.num_embeddings == model.get_output_embeddings().weight.shape[0] == SIZE + 10
    assert model.config.text_config.vocab_size == SIZE + 10
    assert model.language_model.config.vocab_size == SIZE + 10
    assert torch.equal(new.weight[:SIZE], old)
    assert not new.weight.requires_grad  # it was frozen, and so it stays


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_smaller_one_too(language: str) -> None:
    model = build(language)
    old = model.get_input_embeddings().weight.clone()
    model.resize_token_embeddings(SIZE - 15)
    assert torch.equal(model.get_input_embeddings().weight, old[: SIZE - 15])
    assert model.config.text_config.vocab_size == SIZE - 15
    assert model.config.image_token_id == SIZE  # still outside


def test_to_a_multiple_and_not_at_all() -> None:
    model = build()
    assert model.resize_token_embeddings() is model.get_input_embeddings()
    assert model.get_input_embeddings().num_embeddings == SIZE
    model.resize_token_embeddings(SIZE, pad_to_multiple_of=64)
    assert model.config.text_config.vocab_size == model.config.image_token_id == 320


@pytest.mark.parametrize("language", KINDS)
def test_untied_and_tied_output_maps_follow(language: str) -> None:
    model = build(language)
    tied = model.get_output_embeddings().weight is model.get_input_embeddings().weight
    assert tied == (language != "llama")
    model.resize_token_embeddings(SIZE + 3)
    assert (model.get_output_embeddings().weight is model.get_input_embeddings().weight) == tied


@pytest.mark.parametrize("language", KINDS)
def test_the_placeholder_moves_with_the_vocabulary(language: str) -> None:
    """What was the placeholder is a token now; an old processor's prompts announce no image."""
    model = build(language)
    image_processor = MedBlipImageProcessor({"size": 16})
    given = prompts((4, 6))
    with torch.no_grad():
        before = model.prepare_prompt(**given)[0]
    model.resize_token_embeddings(SIZE + 4)
    assert model.config.image_token_id == SIZE + 4
    for call in (model, model.generate):
        with pytest.raises(ValueError, match="prefix positions"):
            call(**given)
    processor = MedBlipProcessor.for_model(model.config, image_processor, tokenizer())
    assert processor.prompts.prefix == [SIZE + 4] * QUERIES
    moved = given["input_ids"].masked_fill(given["input_ids"] == SIZE, SIZE + 4)
    with torch.no_grad():
        assert torch.equal(model.prepare_prompt(**given | {"input_ids": moved})[0], before)


def test_a_resized_language_model_is_saved_since_it_is_its_base_no_more(tmp_path: Path) -> None:
    model = based_model(tmp_path)
    torch.manual_seed(0)
    model.resize_token_embeddings(SIZE + 4)
    assert model.config.language_base is None
    assert model.config.vision_base is not None
    model.save_pretrained(tmp_path / "checkpoint")
    loaded = MedBlipForConditionalGeneration.from_pretrained(tmp_path / "checkpoint")
    assert loaded.config.image_token_id == SIZE + 4
    given = prompts()
    given["input_ids"] = given["input_ids"].masked_fill(given["input_ids"] == SIZE, SIZE + 4)
    with torch.no_grad():
        assert torch.equal(loaded(**given).logits, model(**given).logits)


def test_a_resized_language_model_loses_the_proof_of_its_base(tmp_path: Path) -> None:
    based_model(tmp_path).save_pretrained(tmp_path / "checkpoint")
    loaded = MedBlipForConditionalGeneration.from_pretrained(tmp_path / "checkpoint")
    assert loaded.base_identities.keys() == {"vision", "language"}
    loaded.resize_token_embeddings(SIZE + 4)
    assert loaded.base_identities.keys() == {"vision"}


def test_the_same_size_changes_nothing(tmp_path: Path) -> None:
    model = based_model(tmp_path)
    model.resize_token_embeddings(SIZE)
    assert model.config.language_base is not None
    assert model.config.image_token_id == SIZE
