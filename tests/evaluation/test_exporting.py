"""``medblip export``: every form answers as its source, and what does not is not kept."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from transformers import AutoModelForImageTextToText, AutoProcessor

from medblip import cli
from medblip.errors import InputError, UsageError
from medblip.evaluation import exporting
from medblip.evaluation.calibration import Temperature
from medblip.evaluation.exporting import Exported, export
from medblip.model import MedBlipForConditionalGeneration
from medblip.notice import RESEARCH_USE
from model.checkpoint_faults import write_processor
from model.tiny import based_model, head_scan, relative_difference, training_batch

OPTIONS: dict[str, dict[str, Any]] = {
    "as it is": {},
    "shards": {"max_shard_size": "20KB"},
    "bfloat16": {"dtype": "bfloat16"},
    "merged": {"merge_lora": True},
    "full": {"full": True},
    "full shards": {"full": True, "max_shard_size": "20KB"},
    "full merged": {"full": True, "merge_lora": True},
    "full bfloat16": {"full": True, "dtype": "bfloat16"},
    "full merged bfloat16 shards": {
        "full": True,
        "merge_lora": True,
        "dtype": "bfloat16",
        "max_shard_size": "20KB",
    },
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``checkpoint`` on ``bases``, with processor and calibration; ``run`` is a run of it."""
    root = tmp_path_factory.mktemp("export")
    model = based_model(root / "bases")
    model.save_pretrained(root / "checkpoint")
    write_processor(model, root / "checkpoint")
    Temperature(1.5, 30).save(root / "checkpoint")
    shutil.copytree(root / "checkpoint", root / "run" / "model")
    (root / "run" / "recipe.yaml").touch()
    (root / "run" / "done.json").write_text("{}")
    return root


def source_model(root: Path) -> MedBlipForConditionalGeneration:
    return MedBlipForConditionalGeneration.from_pretrained(root / "checkpoint")


def dtypes(folder: Path) -> set[str]:
    found = set()
    for file in folder.rglob("*.safetensors"):
        with safe_open(file, framework="pt") as weights:
            found |= {weights.get_slice(name).get_dtype() for name in weights.keys()}  # noqa: SIM118
    return found


# --------------------------------------------------------------------------- forms
@pytest.mark.parametrize("form", OPTIONS)
def test_each_form_answers_as_its_source(root: Path, tmp_path: Path, form: str) -> None:
    options = OPTIONS[form]
    done = export(root / "checkpoint", tmp_path / "out", **options)
    model = source_model(root)
    loaded = AutoModelForImageTextToText.from_pretrained(tmp_path / "out")
    with torch.no_grad():
        expected, found = model(**training_batch(model)), loaded(**training_batch(model))
    difference = relative_difference(found.logits, expected.logits)
    print(f"{form}: logits, relative difference {difference:.1e}; said {done.difference:.1e}")
    bfloat16 = options.get("dtype") == "bfloat16"
    assert difference <= (0.05 if bfloat16 else 1e-5 if options.get("merge_lora") else 0)
    assert done.difference <= (1.0 if bfloat16 else 1e-3 if options.get("merge_lora") else 0)
    assert dtypes(tmp_path / "out") == {"BF16" if bfloat16 else "F32"}
    assert done.full is bool(options.get("full"))
    assert (tmp_path / "out" / "model.safetensors.index.json").exists() is ("shard" in form)
    assert ("lora" in " ".join(loaded.state_dict())) is not bool(options.get("merge_lora"))


@pytest.mark.parametrize("form", ["full", "full merged bfloat16 shards"])
def test_a_full_folder_needs_no_base(root: Path, tmp_path: Path, form: str) -> None:
    shutil.copytree(root / "bases", tmp_path / "bases")
    shutil.copytree(root / "checkpoint", tmp_path / "checkpoint")
    config = json.loads((tmp_path / "checkpoint" / "config.json").read_text())
    for role in ("vision", "language"):
        config[f"{role}_base"]["source"] = str(tmp_path / "bases" / role)
    (tmp_path / "checkpoint" / "config.json").write_text(json.dumps(config))
    export(tmp_path / "checkpoint", tmp_path / "out", **OPTIONS[form])
    shutil.rmtree(tmp_path / "bases")
    loaded = AutoModelForImageTextToText.from_pretrained(tmp_path / "out")
    inputs = AutoProcessor.from_pretrained(tmp_path / "out")(volumes=[head_scan()])
    assert torch.isfinite(loaded(**inputs).logits).all()
    assert str(tmp_path) not in (tmp_path / "out" / "config.json").read_text()


@pytest.mark.parametrize("again", ["as it is", "full", "full merged"])
def test_an_export_can_be_exported(root: Path, tmp_path: Path, again: str) -> None:
    first = export(root / "checkpoint", tmp_path / "first", full=True, max_shard_size="50KB")
    second = export(tmp_path / "first", tmp_path / "second", **OPTIONS[again])
    assert second.full
    assert second.difference <= (1e-3 if "merged" in again else 0)
    assert (second.tensors == first.tensors) is ("merged" not in again)


def test_everything_that_belongs_to_it_comes_along(root: Path, tmp_path: Path) -> None:
    done = export(root / "run", tmp_path / "out", full=True)
    assert Temperature.load(tmp_path / "out") == Temperature(1.5, 30)
    card = (tmp_path / "out" / "README.md").read_text("utf-8")
    assert RESEARCH_USE in card
    assert "every weight; nothing else is needed" in card
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names >= {"config.json", "model.safetensors", "card.json", "tokenizer.json"}
    assert names >= {"processor_config.json", "tokenizer_manifest.json"}
    assert done.files == len(names)
    assert done.size == sum(path.stat().st_size for path in (tmp_path / "out").iterdir())
    assert {path.name for path in tmp_path.iterdir()} == {"out"}  # no temporary folder is left


def test_without_calibration_there_is_none_afterwards(root: Path, tmp_path: Path) -> None:
    shutil.copytree(root / "checkpoint", tmp_path / "checkpoint")
    (tmp_path / "checkpoint" / "calibration.json").unlink()
    export(tmp_path / "checkpoint", tmp_path / "out")
    assert not Temperature.load(tmp_path / "out").calibrated


def test_the_source_is_left_as_it_was(root: Path, tmp_path: Path) -> None:
    before = {p: p.read_bytes() for p in (root / "checkpoint").rglob("*") if p.is_file()}
    export(root / "checkpoint", tmp_path / "out", full=True, merge_lora=True, dtype="bfloat16")
    assert before == {p: p.read_bytes() for p in (root / "checkpoint").rglob("*") if p.is_file()}


# --------------------------------------------------------------------------- refusals
def test_a_folder_with_something_in_it_is_left_alone(root: Path, tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("mine")
    with pytest.raises(InputError, match="not empty") as caught:
        export(root / "checkpoint", tmp_path)
    assert caught.value.code == "folder-not-empty"
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


def test_an_empty_folder_is_filled(root: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    export(root / "checkpoint", tmp_path / "out")
    assert (tmp_path / "out" / "config.json").exists()


@pytest.mark.parametrize("fault", ["lost", "flipped", "answers"])
def test_what_does_not_come_back_as_it_was_is_not_kept(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    """The proof itself: the second loading finds other weights than were to be written."""
    load, loads = exporting._load, []

    def damaged(folder: Path) -> Any:
        model, processor = load(folder)
        loads.append(folder)
        if len(loads) == 2:
            with torch.no_grad():
                if fault == "lost":
                    model.prefix_scale.zero_()
                elif fault == "flipped":
                    model.text_positions.weight[0, 0] += 1e-6  # which no answer depends on
                else:
                    processor.prompt_order = "question_image_text"
        return model, processor

    monkeypatch.setattr(exporting, "_load", damaged)
    says = "log-probabilities" if fault == "answers" else "1 of 68 tensors differ, first"
    with pytest.raises(InputError, match=f"does not answer as its source does: .*{says}") as caught:
        export(root / "checkpoint", tmp_path / "out")
    assert caught.value.code == "export-differs"
    assert len(loads) == 2
    assert list(tmp_path.iterdir()) == []


def test_rounding_that_changes_the_answers_is_refused(tmp_path: Path) -> None:
    model = based_model(tmp_path / "bases", "t5")  # with weights so large that 8 bits are too few
    model.save_pretrained(tmp_path / "checkpoint")
    write_processor(model, tmp_path / "checkpoint")
    with pytest.raises(InputError, match=r"move by up to .*--dtype float32"):
        export(tmp_path / "checkpoint", tmp_path / "out", full=True, dtype="bfloat16")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"dtype": "float16"}, UsageError, "choose one of float32, bfloat16"),
        ({"max_shard_size": "5 bananas"}, UsageError, "'5 bananas' is no size"),
    ],
)
def test_options_that_cannot_be_followed(
    root: Path, tmp_path: Path, options: dict[str, Any], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        export(root / "checkpoint", tmp_path / "out", **options)
    assert list(tmp_path.iterdir()) == []


def test_merging_needs_something_to_merge(root: Path, tmp_path: Path) -> None:
    export(root / "checkpoint", tmp_path / "merged", merge_lora=True)
    with pytest.raises(UsageError, match="holds no LoRA"):
        export(tmp_path / "merged", tmp_path / "again", merge_lora=True)
    assert not (tmp_path / "again").exists()


def test_an_unfinished_run_is_not_exported(root: Path, tmp_path: Path) -> None:
    shutil.copytree(root / "run", tmp_path / "run")
    (tmp_path / "run" / "done.json").unlink()
    with pytest.raises(InputError, match="not finished") as caught:
        export(tmp_path / "run", tmp_path / "out")
    assert caught.value.code == "run-not-finished"


# --------------------------------------------------------------------------- command line
def run(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(sys, "argv", ["medblip", "export", *arguments])
    try:
        cli.main()
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


def test_the_command_says_what_it_proved(
    root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = [str(root / "run"), str(tmp_path / "out"), "--full", "--max-shard-size", "50KB"]
    assert run(words, monkeypatch) == 0
    said = capsys.readouterr().out
    assert "every weight" in said
    assert "132 tensors are the source's own" in said
    assert "differ by at most 0.0e+00" in said
    assert RESEARCH_USE in said


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["nowhere", "out"], 3, "nowhere: there is no such folder"),
        (["empty", "out"], 3, "empty: holds no config.json"),
        (["empty", "out", "--dtype", "float16"], 2, "float16"),
        (["empty", "used"], 3, "not empty"),
    ],
)
def test_the_command_refuses_in_one_line(
    arguments: list[str],
    code: int,
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "file").touch()
    assert run(arguments, monkeypatch) == code
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("error: ")
    assert says in said.err
    assert len(said.err.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_the_result_is_plain_data(root: Path, tmp_path: Path) -> None:
    done = export(root / "checkpoint", tmp_path / "out")
    assert done == Exported(tmp_path / "out", False, done.files, done.size, 68, 0.0)
