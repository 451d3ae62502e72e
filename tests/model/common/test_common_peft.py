"""PEFT round the whole model: trained, merged, saved; adapters that belong to their base."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from common_inputs import KINDS, prompts
from peft import LoraConfig, PeftModel, TaskType, get_peft_model
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tiny import based_model, build, relative_difference, training_batch

from medblip.errors import InputError, UsageError
from medblip.model import MedBlipForConditionalGeneration

pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")

# A pattern: plain names would be found in the vision tower as well.
TARGETS = {
    "llama": r"language_model\..*\.(q|v)_proj",
    "gpt2": r"language_model\..*\.c_attn",
    "t5": r"language_model\..*\.(q|v)",
}
TASKS = {"llama": TaskType.CAUSAL_LM, "gpt2": TaskType.CAUSAL_LM, "t5": TaskType.SEQ_2_SEQ_LM}
MERGED = 1e-4  # float32: the product is added to the weights before instead of after
GREEDY = {"max_new_tokens": 4, "do_sample": False}


def wrapped(model: Any, language: str, task: TaskType | None = None) -> PeftModel:
    """The model in PEFT, its LoRA away from zero."""
    settings = LoraConfig(
        r=2,
        lora_alpha=4,
        target_modules=TARGETS[language],
        fan_in_fan_out=language == "gpt2",
        task_type=task,
    )
    torch.manual_seed(5)
    peft_model = get_peft_model(model, settings).eval()
    with torch.no_grad():
        for name, parameter in peft_model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.3)
    return peft_model


@pytest.mark.parametrize("typed", [True, False])
@pytest.mark.parametrize("language", KINDS)
def test_the_model_trains_and_generates_inside_peft(language: str, typed: bool) -> None:
    plain = build(language, lora=None)
    batch = training_batch(plain)
    with torch.no_grad():
        before = plain(**batch).logits
    model = wrapped(plain, language, TASKS[language] if typed else None)
    out = model(**batch)
    out.loss.backward()
    assert relative_difference(out.logits, before) > 0.01
    trained = {n for n, p in model.named_parameters() if p.grad is not None and p.grad.any()}
    assert trained == {n for n, _ in model.named_parameters() if "lora_" in n}
    assert all("language_model" in name for name in trained)
    assert len(model.generate(**prompts(), **GREEDY)) == 3
    with model.disable_adapter(), torch.no_grad():
        assert torch.equal(model(**batch).logits, before)


@pytest.mark.parametrize("language", KINDS)
def test_a_merged_model_is_the_same_and_can_be_saved_and_loaded(
    tmp_path: Path, language: str
) -> None:
    model = wrapped(based_model(tmp_path, language, lora=None), language)
    with torch.no_grad():
        expected = model(**training_batch(model)).logits
    answers = model.generate(**prompts(), **GREEDY)
    merged = model.merge_and_unload()
    assert isinstance(merged, MedBlipForConditionalGeneration)
    with torch.no_grad():
        found = merged(**training_batch(merged)).logits
    difference = relative_difference(found, expected)
    assert difference <= MERGED, f"largest difference {difference}"
    assert torch.equal(merged.generate(**prompts(), **GREEDY), answers)
    merged.save_pretrained(tmp_path / "full", full=True)
    loaded = MedBlipForConditionalGeneration.from_pretrained(tmp_path / "full")
    with torch.no_grad():
        assert torch.equal(loaded(**training_batch(loaded)).logits, found)


def test_a_merged_model_is_not_saved_as_if_its_bases_were_untouched(tmp_path: Path) -> None:
    model = based_model(tmp_path, lora=None)
    model.save_pretrained(tmp_path / "before")
    merged = wrapped(model, "llama").merge_and_unload()
    assert not hasattr(merged, "peft_config")
    with pytest.raises(UsageError, match="full=True") as caught:
        merged.save_pretrained(tmp_path / "after")
    assert caught.value.code == "bases-may-differ"
    assert not (tmp_path / "after").exists()


def test_an_adapter_of_peft_is_saved_and_put_on_again(tmp_path: Path) -> None:
    model = wrapped(build(lora=None), "llama")
    batch = training_batch(model)
    model.save_pretrained(tmp_path)
    again = PeftModel.from_pretrained(build(lora=None), str(tmp_path)).eval()
    with torch.no_grad():
        assert torch.equal(again(**batch).logits, model(**batch).logits)


# --------------------------------------------------------------------------- our own adapter
ADAPTER = "adapter/adapter_model.safetensors"


def test_an_adapter_carries_the_hash_of_its_base(tmp_path: Path) -> None:
    model = based_model(tmp_path)
    model.save_pretrained(tmp_path / "checkpoint")
    with safe_open(tmp_path / "checkpoint" / ADAPTER, "pt") as file:
        header = file.metadata()
    assert header["base_sha256"] == model.config.language_base["sha256"]


def test_an_adapter_of_another_base_is_refused(tmp_path: Path) -> None:
    based_model(tmp_path).save_pretrained(tmp_path / "checkpoint")
    file = tmp_path / "checkpoint" / ADAPTER
    with safe_open(file, "pt") as opened:
        header = opened.metadata()
    save_file(load_file(file), file, metadata=header | {"base_sha256": "0" * 64})
    with pytest.raises(InputError, match="adapter_model") as caught:
        MedBlipForConditionalGeneration.from_pretrained(tmp_path / "checkpoint")
    assert caught.value.code == "other-adapter"
