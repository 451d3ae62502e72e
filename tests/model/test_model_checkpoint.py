"""What is saved is what is loaded, to the bit, round verified bases or in one folder."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import save_torch_state_dict
from peft import PeftModel
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tiny import (
    LANGUAGES,
    based_model,
    head_scan,
    language_tower,
    padded,
    prompt_rows,
    relative_difference,
    settings,
    tokenizer,
    training_batch,
    vision_tower,
    volumes,
)
from transformers import AutoModelForImageTextToText, AutoProcessor

from medblip.errors import InputError, UsageError
from medblip.model import (
    MedBlipConfig,
    MedBlipForConditionalGeneration,
    MedBlipImageProcessor,
    MedBlipProcessor,
    base_identity,
)
from medblip.model.base_identity import describe_base, identify, weights_sha256
from medblip.model.bases import load_language, resolve_base
from medblip.model.merging import merge_lora

PARTS = ("logits", "query_states", "itc_record", "itc_answer", "language", "loss")


def assert_same_outputs(
    model: MedBlipForConditionalGeneration, loaded: MedBlipForConditionalGeneration
) -> None:
    assert not loaded.training
    batch = training_batch(model)
    with torch.no_grad():
        expected, found = model(**batch), loaded(**batch)
    for part in PARTS:
        assert torch.equal(expected[part], found[part]), part
    inputs = padded(prompt_rows([4, 6])) | {"pixel_values": volumes(2)}
    options: dict[str, Any] = {"max_new_tokens": 4, "do_sample": False}
    assert torch.equal(model.generate(**inputs, **options), loaded.generate(**inputs, **options))


@pytest.mark.parametrize("language", LANGUAGES)
def test_learned_weights_alone_come_back_to_the_bit(tmp_path: Path, language: str) -> None:
    model = based_model(tmp_path, language)
    model.save_pretrained(tmp_path / "checkpoint")
    assert_same_outputs(
        model, MedBlipForConditionalGeneration.from_pretrained(tmp_path / "checkpoint")
    )
    saved = load_file(tmp_path / "checkpoint" / "model.safetensors")
    learned = {n for n, p in model.named_parameters() if p.requires_grad and "lora_" not in n}
    assert saved.keys() == learned
    files = {str(p.relative_to(tmp_path / "checkpoint")) for p in tmp_path.rglob("checkpoint/**/*")}
    assert files >= {"config.json", "bases.json", "adapter/adapter_config.json"}
    assert not {name for name in files if name.endswith((".bin", ".pt", ".pkl"))}


@pytest.mark.parametrize("roles", [("vision",), ("language",), ()])
def test_towers_without_a_recorded_base_are_saved_along(
    tmp_path: Path, roles: tuple[str, ...]
) -> None:
    model = based_model(tmp_path, "gpt2", roles)  # whose embeddings are tied
    model.save_pretrained(tmp_path / "checkpoint")
    for role in {"vision", "language"} - set(roles):
        shutil.rmtree(tmp_path / role)
    assert_same_outputs(
        model, MedBlipForConditionalGeneration.from_pretrained(tmp_path / "checkpoint")
    )


@pytest.mark.parametrize("language", ["llama", "gpt2", "t5"])
def test_a_full_folder_needs_no_base_and_loads_by_auto_class(tmp_path: Path, language: str) -> None:
    model = based_model(tmp_path, language)
    processor = MedBlipProcessor.for_model(
        model.config, MedBlipImageProcessor({"size": 16}), tokenizer(), max_length=64
    )
    model.save_pretrained(tmp_path / "full", full=True)
    processor.save_pretrained(tmp_path / "full")
    shutil.rmtree(tmp_path / "vision")
    shutil.rmtree(tmp_path / "language")
    loaded = AutoModelForImageTextToText.from_pretrained(tmp_path / "full")
    assert isinstance(loaded, MedBlipForConditionalGeneration)
    assert loaded.config.vision_base is loaded.config.language_base is None
    assert model.config.vision_base is not None  # saving has not changed the model
    assert_same_outputs(model, loaded)

    again = AutoProcessor.from_pretrained(tmp_path / "full")
    assert isinstance(again, MedBlipProcessor)
    asked = {"volumes": [head_scan()], "records": ["aged 71"], "questions": ["Which?"]}
    expected, found = processor(**asked), again(**asked)
    assert expected.keys() == found.keys() == {"input_ids", "attention_mask", "pixel_values"}
    for name in expected:
        assert torch.equal(expected[name], found[name]), name
    with torch.no_grad():
        assert torch.equal(model.prepare_prompt(**expected)[0], loaded.prepare_prompt(**found)[0])


def test_a_checkpoint_on_bases_loads_by_auto_class_too(tmp_path: Path) -> None:
    model = based_model(tmp_path)
    model.save_pretrained(tmp_path / "checkpoint")
    assert_same_outputs(model, AutoModelForImageTextToText.from_pretrained(tmp_path / "checkpoint"))


def test_a_loaded_checkpoint_can_be_saved_again(tmp_path: Path) -> None:
    model = based_model(tmp_path)
    model.save_pretrained(tmp_path / "first")
    MedBlipForConditionalGeneration.from_pretrained(tmp_path / "first").save_pretrained(
        tmp_path / "second"
    )
    for name in ("model.safetensors", "config.json", "bases.json", "adapter/adapter_config.json"):
        first, second = ((tmp_path / n / name).read_bytes() for n in ("first", "second"))
        assert first == second, name
    first, second = (
        load_file(tmp_path / n / "adapter" / "adapter_model.safetensors")
        for n in ("first", "second")
    )
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_bases_may_move_but_not_change(tmp_path: Path) -> None:
    model = based_model(tmp_path / "old")
    model.save_pretrained(tmp_path / "checkpoint")
    (tmp_path / "old").rename(tmp_path / "new")
    bases = {role: str(tmp_path / "new" / role) for role in ("vision", "language")}
    assert_same_outputs(
        model,
        MedBlipForConditionalGeneration.from_pretrained(tmp_path / "checkpoint", bases=bases),
    )


def test_the_configuration_names_each_base(tmp_path: Path) -> None:
    based_model(tmp_path).save_pretrained(tmp_path / "checkpoint")
    written = json.loads((tmp_path / "checkpoint" / "config.json").read_text())
    for role in ("vision", "language"):
        base = written[f"{role}_base"]
        assert base == describe_base(str(tmp_path / role))
        assert base["source"] == str(tmp_path / role)
        assert len(base["sha256"]) == 64
        listed = json.loads((tmp_path / "checkpoint" / "bases.json").read_text())["tensors"][role]
        assert listed == identify(tmp_path / role).tensors
        assert listed.keys() == load_file(tmp_path / role / "model.safetensors").keys()
        assert resolve_base(base["source"]) == tmp_path / role
    adapter = json.loads((tmp_path / "checkpoint/adapter/adapter_config.json").read_text())
    assert adapter["base_model_name_or_path"] == str(tmp_path / "language")


def test_the_adapter_is_pefts_own(tmp_path: Path) -> None:
    model = based_model(tmp_path)
    model.save_pretrained(tmp_path / "checkpoint")
    plain = load_language(tmp_path / "language")
    ids = torch.tensor([[9, 30, 77]])
    with torch.no_grad():
        expected = model.language_model(ids).logits
        assert not torch.equal(plain(ids).logits, expected)
        alone = PeftModel.from_pretrained(plain, str(tmp_path / "checkpoint" / "adapter"))
        assert torch.equal(alone(ids).logits, expected)


def test_options_reach_the_towers(tmp_path: Path) -> None:
    based_model(tmp_path).save_pretrained(tmp_path / "checkpoint")
    for load in (
        MedBlipForConditionalGeneration.from_pretrained,
        AutoModelForImageTextToText.from_pretrained,
    ):
        loaded = load(tmp_path / "checkpoint", dtype=torch.bfloat16, attn_implementation="eager")
        for tower in (loaded.vision_model, loaded.language_model):
            assert tower.dtype == torch.bfloat16
            assert tower.config._attn_implementation == "eager"
        assert loaded.query_tokens.dtype == torch.float32
        assert torch.isfinite(loaded(**training_batch(loaded)).loss)


def test_weights_of_a_later_step_are_loaded_into_the_same_model(tmp_path: Path) -> None:
    model = based_model(tmp_path)
    batch = training_batch(model)
    model.save_pretrained(tmp_path / "step-1")
    with torch.no_grad():
        before = model(**batch)
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1)
        assert not torch.equal(model(**batch).logits, before.logits)
    model.load_learned(tmp_path / "step-1")
    with torch.no_grad():
        assert torch.equal(model(**batch).logits, before.logits)


@pytest.mark.parametrize("language", LANGUAGES)
def test_from_components_leaves_the_towers_weights_alone(language: str) -> None:
    towers = {"vision_model": vision_tower(), "language_model": language_tower(language)}
    before = {name: copy.deepcopy(tower.state_dict()) for name, tower in towers.items()}
    configs = [tower.config for tower in towers.values()]
    config = MedBlipConfig(vision_config=configs[0], text_config=configs[1], **settings(lora=None))
    model = MedBlipForConditionalGeneration.from_components(config, *towers.values())
    for name, weights in before.items():
        after = getattr(model, name).state_dict()
        assert after.keys() == weights.keys()
        assert all(torch.equal(after[key], weights[key]) for key in weights), name


# --------------------------------------------------------------------------- identity of a base
def reshard(folder: Path, size: str = "10KB") -> None:
    """The same weights in many files, as transformers writes them."""
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    save_torch_state_dict(tensors, folder, max_shard_size=size)
    assert len(list(folder.glob("*.safetensors"))) > 2


def test_weights_cut_into_other_files_are_the_same_base(tmp_path: Path) -> None:
    model = based_model(tmp_path)
    model.save_pretrained(tmp_path / "checkpoint")
    before = {role: identify(tmp_path / role) for role in ("vision", "language")}
    for role in before:
        reshard(tmp_path / role)
        assert identify(tmp_path / role) == before[role]
    assert_same_outputs(
        model, MedBlipForConditionalGeneration.from_pretrained(tmp_path / "checkpoint")
    )


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t["norm"].add_(1e-7),
        lambda t: t.update(norm=t["norm"].double()),
        lambda t: t.update(norm=t["norm"].view(2, 2)),
        lambda t: t.update(other=t.pop("norm")),
        lambda t: t.update(more=torch.zeros(())),
        lambda t: t.update(more=torch.zeros(0, 3)),
        lambda t: t.pop("norm"),
    ],
    ids=["value", "type", "shape", "name", "scalar more", "nothing more", "one less"],
)
def test_the_identity_sees_names_types_shapes_and_values(tmp_path: Path, change: Any) -> None:
    tensors = {"norm": torch.ones(4), "weight": torch.arange(6.0).view(2, 3).bfloat16()}
    save_file(tensors, tmp_path / "model.safetensors")
    before = identify(tmp_path)
    assert before == identify(tmp_path)
    assert before.tensors["weight"].startswith("BF16 2x3 ")
    change(tensors)
    save_file(tensors, tmp_path / "model.safetensors")
    assert identify(tmp_path).sha256 != before.sha256


def record_files(folder: Path, bases: Path) -> None:
    """Make a checkpoint one of before hashes were taken tensor by tensor."""
    config = json.loads((folder / "config.json").read_text())
    for role in ("vision", "language"):
        record = config[f"{role}_base"]
        record["sha256"] = weights_sha256(bases / role)
        del record["sha256_of"]
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "bases.json").unlink()
    adapter = folder / "adapter" / "adapter_model.safetensors"
    with safe_open(adapter, framework="pt") as opened:
        header = {k: v for k, v in opened.metadata().items() if k != "base_sha256"}
    save_file(load_file(adapter), adapter, metadata=header)


def test_a_checkpoint_that_records_whole_files_still_loads(tmp_path: Path) -> None:
    model = based_model(tmp_path)
    model.save_pretrained(tmp_path / "checkpoint")
    record_files(tmp_path / "checkpoint", tmp_path)
    loaded = MedBlipForConditionalGeneration.from_pretrained(tmp_path / "checkpoint")
    assert_same_outputs(model, loaded)
    loaded.save_pretrained(tmp_path / "again")
    again = MedBlipForConditionalGeneration.from_pretrained(tmp_path / "again")
    assert_same_outputs(model, again)
    vision_tower(seed=8).save_pretrained(tmp_path / "vision")
    with pytest.raises(InputError, match=r"vision base vision: .*hash of its files") as caught:
        MedBlipForConditionalGeneration.from_pretrained(tmp_path / "checkpoint")
    assert caught.value.code == "other-base"


def test_each_base_is_read_once_to_be_hashed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    based_model(tmp_path).save_pretrained(tmp_path / "checkpoint")
    read: list[Path] = []

    def counted(folder: Path) -> Any:
        read.append(folder)
        return identify(folder)

    monkeypatch.setattr(base_identity, "identify", counted)
    loaded = MedBlipForConditionalGeneration.from_pretrained(tmp_path / "checkpoint")
    loaded.save_pretrained(tmp_path / "again")
    assert read == [tmp_path / "vision", tmp_path / "language"]


# --------------------------------------------------------------------------- shards
@pytest.mark.parametrize("full", [False, True], ids=["learned", "full"])
@pytest.mark.parametrize("language", ["llama", "gpt2"])
def test_shards_hold_what_one_file_holds(tmp_path: Path, language: str, full: bool) -> None:
    model = based_model(tmp_path, language)
    model.save_pretrained(tmp_path / "one", full=full)
    model.save_pretrained(tmp_path / "many", full=full, max_shard_size="20KB")
    index = json.loads((tmp_path / "many" / "model.safetensors.index.json").read_text())
    shards = sorted(path.name for path in (tmp_path / "many").glob("model-*.safetensors"))
    assert len(shards) > 3
    assert sorted(set(index["weight_map"].values())) == shards
    one = load_file(tmp_path / "one" / "model.safetensors")
    many = {n: t for s in shards for n, t in load_file(tmp_path / "many" / s).items()}
    assert one.keys() == many.keys() == index["weight_map"].keys()
    assert all(torch.equal(one[name], many[name]) for name in one)
    assert_same_outputs(model, AutoModelForImageTextToText.from_pretrained(tmp_path / "many"))


def test_a_later_save_leaves_no_shard_of_an_earlier_one(tmp_path: Path) -> None:
    model = based_model(tmp_path)
    folder = tmp_path / "checkpoint"
    kept = {"config.json", "generation_config.json", "bases.json", "adapter"}
    for size in ("20KB", "50KB", "5GB", "20KB"):
        model.save_pretrained(folder, max_shard_size=size)
        (folder / "notes.txt").write_text("mine")
        names = {path.name for path in folder.iterdir()} - kept - {"notes.txt"}
        if size == "5GB":
            assert names == {"model.safetensors"}
        else:
            index = json.loads((folder / "model.safetensors.index.json").read_text())
            shards = set(index["weight_map"].values())
            assert names == {*shards, "model.safetensors.index.json"}
        assert_same_outputs(model, MedBlipForConditionalGeneration.from_pretrained(folder))


# --------------------------------------------------------------------------- LoRA merged
@pytest.mark.parametrize("language", LANGUAGES)
def test_merged_lora_answers_as_before(tmp_path: Path, language: str) -> None:
    model = based_model(tmp_path, language)
    batch = training_batch(model)
    with torch.no_grad():
        before = model(**batch).logits
        merge_lora(model)
        after = model(**batch).logits
    difference = relative_difference(after, before)
    print(f"{language}: merged against unmerged logits, largest relative {difference:.1e}")
    assert difference < 1e-4
    assert not [name for name in model.state_dict() if "lora" in name or "base_layer" in name]
    assert model.config.lora is None
    model.save_pretrained(tmp_path / "merged")
    shutil.rmtree(tmp_path / "language")
    loaded = MedBlipForConditionalGeneration.from_pretrained(tmp_path / "merged")
    assert_same_outputs(model, loaded)
    with pytest.raises(UsageError, match="holds no LoRA") as caught:
        merge_lora(loaded)
    assert caught.value.code == "no-lora"


@pytest.mark.parametrize("kind", ["float32", "bfloat16"])
def test_bases_are_loaded_in_the_recorded_type(kind: str, tmp_path: Path) -> None:
    model = based_model(tmp_path / "bases")
    model.config.base_dtype = kind
    model.save_pretrained(tmp_path / "saved")
    for dtype, expected in ((None, kind), ("auto", kind), (torch.float32, "float32")):
        loaded = MedBlipForConditionalGeneration.from_pretrained(tmp_path / "saved", dtype=dtype)
        assert loaded.vision_model.dtype == getattr(torch, expected)
        assert loaded.get_input_embeddings().weight.dtype == getattr(torch, expected)
        assert all(p.dtype == torch.float32 for p in loaded.parameters() if p.requires_grad)
