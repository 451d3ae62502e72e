"""Checkpoints and bases that are cut, mixed up or from elsewhere: each refused by name.

The list is in `checkpoint_faults`; here each is met through the library and the command line.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import pytest
import torch

from medblip import cli
from medblip.errors import InputError, UsageError
from medblip.model import MedBlipConfig, MedBlipForConditionalGeneration, MedBlipProcessor
from medblip.model.bases import load_language, load_vision, resolve_base
from model import checkpoint_faults as made
from model.checkpoint_faults import FAULTS, FORMS, WEIGHTS, Change, Fault, copy_whole, write_whole
from model.tiny import head_scan, save_bases, settings, text_config, vision_config


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("whole")
    write_whole(root)
    return root


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    head = head_scan()
    path = tmp_path_factory.mktemp("scan") / "head.nii.gz"
    nib.save(nib.Nifti1Image(head.array, head.affine), path)
    return path


def load(folder: Path) -> MedBlipForConditionalGeneration:
    model = MedBlipForConditionalGeneration.from_pretrained(folder)
    MedBlipProcessor.from_pretrained(folder)
    return model


def ask(
    scan: Path, model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> tuple[int, list[str], list[str]]:
    """Exit code of ``medblip ask``, its lines, and its lines of error."""
    words = ["medblip", "ask", str(scan), "--model", str(model), "--picture", str(scan) + ".png"]
    monkeypatch.setattr(sys, "argv", words)
    monkeypatch.setenv("MEDBLIP_CACHE", str(model.parent / "cache"))  # no template, no weights
    capsys.readouterr()
    try:
        cli.main()
        code = 0
    except SystemExit as stop:
        code = int(stop.code or 0)
    said = capsys.readouterr()
    # transformers' progress bars end in a carriage return
    lines = [line for line in re.split(r"[\r\n]+", said.err) if line and "it/s" not in line]
    return code, said.out.splitlines(), lines


# --------------------------------------------------------------------------- checkpoints
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_is_refused_by_the_library_and_the_command_line(
    fault: Fault,
    whole: Path,
    scan: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    root = copy_whole(whole, tmp_path)
    fault.make(root)
    with pytest.raises(InputError, match=fault.says) as caught:
        load(root / fault.load)
    assert caught.value.code == fault.code
    assert caught.value.fix

    code, printed, lines = ask(scan, root / fault.load, monkeypatch, capsys)
    assert code == 3
    assert printed == []
    errors = [line for line in lines if line.startswith("error: ")]
    assert len(errors) == 1
    assert lines[-1] == errors[0]
    assert re.search(fault.says, errors[0])
    assert errors[0].endswith(" ".join(caught.value.fix.split()))
    assert "Traceback" not in "".join(lines)
    assert not (root / "was-read").exists()


@pytest.mark.parametrize("form", FORMS)
def test_what_was_broken_answers_when_it_is_whole(
    form: str,
    whole: Path,
    scan: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    root = copy_whole(whole, tmp_path)
    assert torch.isfinite(load(root / form).temperature)
    code, printed, lines = ask(scan, root / form, monkeypatch, capsys)
    assert code == 0, lines
    assert any(line.startswith("Answer: ") for line in printed)


def test_pickles_beside_safetensors_are_not_read(whole: Path, tmp_path: Path) -> None:
    root = copy_whole(whole, tmp_path)
    folders = ("checkpoint", "full", "checkpoint/adapter", "bases/vision", "bases/language")
    for folder in folders:
        for name in ("pytorch_model.bin", "adapter_model.bin", "training_args.bin"):
            made.write_pickle(root / folder / name, root / "was-read")
    load(root / "checkpoint")
    load(root / "full")
    assert not (root / "was-read").exists()


@pytest.mark.parametrize("option", ["device_mapp", "load_in_9bit"])
def test_an_option_that_does_not_exist_is_refused(whole: Path, option: str) -> None:
    with pytest.raises(UsageError, match=option) as caught:
        MedBlipForConditionalGeneration.from_pretrained(whole / "checkpoint", **{option: "auto"})
    assert caught.value.code == "unknown-option"


def test_this_format_is_not_uploaded_in_passing(whole: Path, tmp_path: Path) -> None:
    model = MedBlipForConditionalGeneration.from_pretrained(whole / "checkpoint")
    with pytest.raises(UsageError, match="push_to_hub"):
        model.save_pretrained(tmp_path / "out", push_to_hub=True)
    assert not (tmp_path / "out").exists()


# --------------------------------------------------------------------------- bases
BROKEN_BASES: dict[str, tuple[Callable[[str], Change], str, str]] = {
    "cut": (lambda f: made.cut(f"{f}/{WEIGHTS}"), "damaged-weights", WEIGHTS),
    "pickle": (made.only_pickle, "no-safetensors", "pickled weights are not read"),
    "unexpected": (
        lambda f: made.rewrite(f"{f}/{WEIGHTS}", made.set_value("spare", torch.ones(1))),
        "incomplete-weights",
        "spare",
    ),
    "missing": (
        lambda f: made.rewrite(f"{f}/{WEIGHTS}", lambda t: t.pop(min(t))),
        "incomplete-weights",
        "missing_keys",
    ),
    "shape": (
        lambda f: made.rewrite(f"{f}/{WEIGHTS}", lambda t: t.update({min(t): torch.ones(1, 2)})),
        "incomplete-weights",
        "mismatched_keys",
    ),
    "NaN": (
        lambda f: made.rewrite(f"{f}/{WEIGHTS}", made.first_times(float("nan"))),
        "bad-weights",
        "NaN or infinite values; expected finite",
    ),
    "infinity": (
        lambda f: made.rewrite(f"{f}/{WEIGHTS}", made.first_times(float("inf"))),
        "bad-weights",
        "NaN or infinite values; expected finite",
    ),
    "float64": (
        lambda f: made.rewrite(f"{f}/{WEIGHTS}", made.first_to(torch.float64)),
        "bad-weights",
        f"{WEIGHTS}, .*float64 values",
    ),
    "int32": (
        lambda f: made.rewrite(f"{f}/{WEIGHTS}", made.first_to(torch.int32)),
        "bad-weights",
        f"{WEIGHTS}, .*int32 values",
    ),
    "no-config": (lambda f: made.remove(f"{f}/config.json"), "bad-config", "config.json"),
    "other-model": (
        lambda f: made.edit_json(f"{f}/config.json", model_type="nothing"),
        "bad-config",
        "config.json",
    ),
    # Each of these two makes transformers load other weights than those in the folder.
    "weights elsewhere": (
        lambda f: made.edit_json(f"{f}/config.json", transformers_weights="other.safetensors"),
        "not-whole",
        "config.json: transformers_weights names 'other.safetensors'",
    ),
    "an adapter on top": (
        lambda f: made.write(f"{f}/adapter_config.json", "{}"),
        "not-whole",
        "adapter_config.json: makes transformers load an adapter",
    ),
}


@pytest.mark.parametrize(
    ("role", "load_base"), [("vision", load_vision), ("language", load_language)]
)
@pytest.mark.parametrize("broken", BROKEN_BASES)
def test_a_broken_base_is_refused(
    tmp_path: Path, role: str, load_base: Callable[[Path], object], broken: str
) -> None:
    make, code, says = BROKEN_BASES[broken]
    save_bases(tmp_path)
    load_base(tmp_path / role)
    make(role)(tmp_path)
    with pytest.raises(InputError, match=says) as caught:
        load_base(tmp_path / role)
    assert caught.value.code == code
    assert role in caught.value.where
    assert not (tmp_path / "was-read").exists()


@pytest.mark.parametrize("table", ["h.0.attn.bias", "embeddings.position_ids"])
def test_tables_of_older_checkpoints_are_no_weights(tmp_path: Path, table: str) -> None:
    save_bases(tmp_path, "gpt2")
    tables = {table: torch.ones(1, 1, 4, 4, dtype=torch.uint8)}
    made.rewrite(f"language/{WEIGHTS}", lambda t: t.update(tables))(tmp_path)
    try:
        load_language(tmp_path / "language")
    except InputError as error:  # transformers may know this one no more, but not for its type
        assert error.code == "incomplete-weights"
        assert table in error.problem


@pytest.mark.parametrize("source", ["embedded:nothing", "./nowhere", "a/b/c"])
def test_a_source_that_is_no_base_is_refused(source: str) -> None:
    with pytest.raises(InputError, match=r"not a folder here.*embedded:language") as caught:
        resolve_base(source)
    assert caught.value.code == "base-missing"


def test_a_recorded_base_without_a_hash_is_refused() -> None:
    with pytest.raises(Exception, match=r"vision_base lacks \['sha256'\]"):
        MedBlipConfig(
            vision_config=vision_config(),
            text_config=text_config(),
            **settings(vision_base={"source": "somewhere"}),
        )
