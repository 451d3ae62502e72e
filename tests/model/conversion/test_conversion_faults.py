"""Sources that are cut, altered, unsafe or of another kind: refused, and nothing written."""

from __future__ import annotations

import json
import pickle
import resource
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from published import Eva, randomised
from safetensors.torch import load_file, save_file
from test_conversion_blip2 import blip2
from test_conversion_reference import Published
from torch import Tensor, nn
from transformers import Blip2ForConditionalGeneration

from medblip import cli
from medblip.errors import InputError, MedBlipError
from medblip.model.conversion import convert_blip2, convert_eva, convert_reference
from model.tiny import vision_tower

State = dict[str, Tensor]
Change = Callable[[State], object]
INDEX = "model.safetensors.index.json"


@dataclass
class Case:
    """One converter with a whole source, its weights to change, and how to run it."""

    state: State
    run: Callable[[Path], Any]
    source: Path
    arguments: list[str]


def eva_case(folder: Path) -> Case:
    state, source = randomised(Eva()).state_dict(), folder / "eva_vit_g.pth"
    arguments = ["eva", str(source), "--layers", "2"]
    return Case(state, lambda out: convert_eva(source, out, layers=2), source, arguments)


def reference_case(folder: Path) -> Case:
    published, source = Published(folder, "gpt2"), folder / "epoch10.pth"
    language = str(published.folder)
    arguments = ["reference", str(source), "--language", language]
    return Case(
        published.state,
        lambda out: convert_reference(source, out, language=language),
        source,
        arguments,
    )


CASES = {"eva": eva_case, "reference": reference_case}
NAMES = {
    "eva": {
        "matrix": "blocks.1.mlp.fc1.weight",
        "bias": "blocks.0.attn.q_bias",
        "positions": "pos_embed",
    },
    "reference": {
        "matrix": "visual_encoder.blocks.1.mlp.fc1.weight",
        "bias": "Qformer.bert.encoder.layer.0.attention.self.query.bias",
        "positions": "visual_encoder.pos_embed_3d",
    },
}


@pytest.fixture(params=CASES)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def case(kind: str, tmp_path: Path) -> Case:
    return CASES[kind](tmp_path)


@contextmanager
def refused(folder: Path, code: str, words: str | None = None) -> Iterator[None]:
    """The body raises this error and leaves the folder as it was."""
    before = sorted(path.name for path in folder.iterdir())
    with pytest.raises(MedBlipError, match=words) as caught:
        yield
    assert caught.value.code == code, str(caught.value)
    assert caught.value.fix
    assert sorted(path.name for path in folder.iterdir()) == before


# ---------------------------------------------------------------- the file


def cut(raw: bytes) -> bytes:
    return raw[: len(raw) // 2]


def flip_a_bit(raw: bytes) -> bytes:
    changed = bytearray(raw)
    changed[len(raw) // 2] ^= 1
    return bytes(changed)


FILES: dict[str, tuple[Callable[[bytes], bytes], str, str]] = {
    "cut": (cut, "damaged-weights", "cut, damaged or of another type"),
    "cut at the end": (lambda raw: raw[:-20], "damaged-weights", "cut"),
    "one bit": (flip_a_bit, "damaged-weights", "checksum"),
    "empty": (lambda raw: b"", "damaged-weights", "cut"),
    "web page": (lambda raw: b"<html>404</html>", "damaged-weights", "of another type"),
    "pointer": (lambda raw: b"version https://git-lfs", "damaged-weights", "of another type"),
}


@pytest.mark.parametrize("fault", FILES)
def test_damaged_files_are_refused(case: Case, tmp_path: Path, fault: str) -> None:
    change, code, words = FILES[fault]
    torch.save(case.state, case.source)
    case.source.write_bytes(change(case.source.read_bytes()))
    with refused(tmp_path, code, words):
        case.run(tmp_path / "out")


def test_safetensors_under_this_name_are_of_another_type(case: Case, tmp_path: Path) -> None:
    save_file({n: t.contiguous().clone() for n, t in case.state.items()}, case.source)
    with refused(tmp_path, "damaged-weights", "of another type"):
        case.run(tmp_path / "out")


def test_no_file_is_refused(case: Case, tmp_path: Path) -> None:
    with refused(tmp_path, "missing-weights", "no such file"):
        case.run(tmp_path / "out")


class Trace:
    """Leaves a trace if it is ever read."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self.trace,))


@pytest.mark.parametrize("how", ["beside the weights", "alone", "a whole module"])
def test_code_in_a_file_is_never_run(case: Case, tmp_path: Path, how: str) -> None:
    trace = tmp_path / "was-run"
    if how == "beside the weights":
        torch.save(case.state | {"callback": Trace(trace)}, case.source)
    elif how == "alone":
        case.source.write_bytes(pickle.dumps(Trace(trace), protocol=2))
    else:
        torch.save(nn.Linear(2, 2), case.source)
    with refused(tmp_path, "pickled-code", "would run code"):
        case.run(tmp_path / "out")
    assert not trace.exists()


@pytest.mark.parametrize(
    "content",
    [[1, 2], {}, {"model": {}}, {"epoch": 3}, {"cls_token": 1.0}, torch.ones(2)],
    ids=["list", "empty", "empty model", "number", "no tensor", "bare tensor"],
)
def test_what_is_no_state_dict_is_refused(case: Case, tmp_path: Path, content: object) -> None:
    torch.save(content, case.source)
    with refused(tmp_path, "not-weights"):
        case.run(tmp_path / "out")


@pytest.mark.parametrize("how", ["as torch saved before 2020", "below `model`"])
def test_the_other_forms_of_the_file_are_read(case: Case, tmp_path: Path, how: str) -> None:
    if how == "below `model`":
        torch.save({"model": case.state, "epoch": 1}, case.source)
    else:
        torch.save(case.state, case.source, _use_new_zipfile_serialization=False)
    assert case.run(tmp_path / "out").taken


# ---------------------------------------------------------------- the weights


def weight_faults(kind: str) -> dict[str, tuple[Change, str, str]]:
    matrix, bias, positions = NAMES[kind].values()

    def becomes(name: str, change: Callable[[Tensor], Tensor]) -> Change:
        return lambda state: state.update({name: change(state[name])})

    def with_nan(tensor: Tensor) -> Tensor:
        tensor = tensor.clone()
        tensor.view(-1)[3] = float("nan")
        return tensor

    def without_both(state: State) -> None:
        del state[bias], state[positions]

    return {
        "two missing": (without_both, "incomplete-weights", rf"missing .*{bias}.*{positions}"),
        "two unknown": (
            lambda state: state.update({"zebra": torch.ones(1), "apple": torch.ones(1)}),
            "incomplete-weights",
            r"unknown weights \['apple', 'zebra'\]",
        ),
        "renamed": (
            lambda state: state.update({f"{matrix}s": state.pop(matrix)}),
            "incomplete-weights",
            rf"missing weights \['{matrix}'\], unknown weights \['{matrix}s'\]",
        ),
        "another shape": (becomes(matrix, lambda t: t[:-1]), "other-shape", r"\(47, 176\) for"),
        "transposed": (becomes(matrix, lambda t: t.T), "other-shape", r"\(176, 48\) for"),
        "a bias too long": (becomes(bias, lambda t: torch.cat([t, t])), "other-shape", "for"),
        "a bias of two axes": (becomes(bias, lambda t: t[:, None]), "other-shape", "for"),
        "too few axes": (becomes(positions, lambda t: t[0, 0]), "other-shape", "shape"),
        "positions off a grid": (becomes(positions, lambda t: t[:, :-2]), "other-shape", "shape"),
        "no axis": (becomes(matrix, lambda t: t.sum()), "other-shape", "shape"),
        "nan": (becomes(matrix, with_nan), "bad-weights", "fc1.weight"),
        "infinity": (becomes(bias, lambda t: t / 0), "bad-weights", "bias"),
        "float64": (becomes(matrix, Tensor.double), "bad-weights", "float64"),
        "integers": (becomes(positions, Tensor.int), "bad-weights", "int32"),
    }


@pytest.mark.parametrize("fault", weight_faults("eva"))
def test_wrong_weights_are_refused_by_name(
    case: Case, kind: str, tmp_path: Path, fault: str
) -> None:
    change, code, words = weight_faults(kind)[fault]
    change(case.state)
    torch.save(case.state, case.source)
    with refused(tmp_path, code, words):
        case.run(tmp_path / "out")


def test_of_a_tower_of_another_width_the_heads_are_not_known(tmp_path: Path) -> None:
    torch.save(randomised(Eva(width=88 + 1)).state_dict(), tmp_path / "eva.pth")
    with refused(tmp_path, "other-shape", "89 is not a multiple of 88"):
        convert_eva(tmp_path / "eva.pth", tmp_path / "out", layers=2)


def test_a_state_dict_without_a_projection_is_no_reference(tmp_path: Path) -> None:
    case = reference_case(tmp_path)
    del case.state["proj.weight"]
    torch.save(case.state, case.source)
    with refused(tmp_path, "incomplete-weights", r"t5_proj\.weight.*proj\.weight"):
        case.run(tmp_path / "out")


def test_a_wrong_orientation_is_wrong_use(tmp_path: Path) -> None:
    case = reference_case(tmp_path)
    torch.save(case.state, case.source)
    language = case.arguments[-1]
    with refused(tmp_path, "bad-orientation", "'RAR'"):
        convert_reference(case.source, tmp_path / "out", language=language, stored_as="RAR")


@pytest.mark.parametrize("what", ["another model's", "absent", "no json"])
def test_a_vision_configuration_of_another_kind_is_refused(tmp_path: Path, what: str) -> None:
    case = reference_case(tmp_path)
    torch.save(case.state, case.source)
    given = tmp_path / "tower"
    if what != "absent":
        vision_tower("dinov2").save_pretrained(given)
    if what == "no json":
        (given / "config.json").write_text("{")
    with refused(tmp_path, "bad-config", "blip_2_vision_model"):
        convert_reference(
            case.source, tmp_path / "out", language=case.arguments[-1], vision_config=given
        )


# ---------------------------------------------------------------- BLIP-2 folders


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A sharded checkpoint to break."""
    blip2(Blip2ForConditionalGeneration).save_pretrained(tmp_path / "blip2", max_shard_size="40kB")
    return tmp_path / "blip2"


def shard_of(folder: Path, name: str) -> Path:
    index = json.loads((folder / INDEX).read_text())
    return folder / index["weight_map"][name]


def edit(name: str, change: Callable[[State], object]) -> Callable[[Path], None]:
    """Change the tensors of the shard that holds ``name``; the index follows."""

    def apply(folder: Path) -> None:
        file = shard_of(folder, name)
        tensors = load_file(file)
        change(tensors)
        save_file(tensors, file, metadata={"format": "pt"})
        index = json.loads((folder / INDEX).read_text())
        places = {n: f for n, f in index["weight_map"].items() if f != file.name}
        index["weight_map"] = places | dict.fromkeys(tensors, file.name)
        (folder / INDEX).write_text(json.dumps(index))

    return apply


def edit_config(**changes: object) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | changes))

    return apply


def only_pickle(folder: Path) -> None:
    for file in folder.glob("*.safetensors*"):
        file.unlink()
    Trace(folder / "was-run")
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Trace(folder.parent / "was-run")))


def cut_shard(folder: Path) -> None:
    file = shard_of(folder, "query_tokens")
    file.write_bytes(file.read_bytes()[:-8])


QUERIES, KEY = "query_tokens", "qformer.encoder.layer.0.crossattention.attention.key.weight"
FOLDERS: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "missing": (edit(KEY, lambda t: t.pop(KEY)), "incomplete-weights", rf"missing .*'{KEY}'"),
    "unknown": (
        edit(QUERIES, lambda t: t.update({"zebra": torch.ones(1)})),
        "incomplete-weights",
        r"unknown weights \['zebra'\]",
    ),
    "another shape": (
        edit(QUERIES, lambda t: t.update({QUERIES: t[QUERIES][:, :2].clone()})),
        "other-shape",
        r"query_tokens \(1, 2, 32\) for \(1, 3, 32\)",
    ),
    "nan": (
        edit(QUERIES, lambda t: t.update({QUERIES: t[QUERIES] * float("nan")})),
        "bad-weights",
        "query_tokens",
    ),
    "a shard cut": (cut_shard, "damaged-weights", "not a whole safetensors file"),
    "a shard gone": (lambda f: shard_of(f, QUERIES).unlink(), "missing-shard", "missing"),
    "index of another": (
        lambda f: (f / INDEX).write_text('{"weight_map": {"a": "../../secret.safetensors"}}'),
        "bad-index",
        "secret",
    ),
    "only a pickle": (only_pickle, "no-safetensors", "safetensors"),
    "another model": (edit_config(model_type="blip"), "bad-config", "'blip', expected 'blip-2'"),
    "config gone": (lambda f: (f / "config.json").unlink(), "bad-config", "config.json"),
    "config cut": (lambda f: (f / "config.json").write_text("{"), "bad-config", "config.json"),
    "more queries": (edit_config(num_query_tokens=4), "other-shape", "query_tokens"),
}


@pytest.mark.parametrize("fault", FOLDERS)
def test_broken_checkpoint_folders_are_refused(folder: Path, fault: str) -> None:
    change, code, words = FOLDERS[fault]
    change(folder)
    with refused(folder.parent, code, words):
        convert_blip2(str(folder), folder.parent / "out")
    assert not (folder.parent / "was-run").exists()


def test_a_name_that_is_neither_a_folder_nor_an_id_is_refused(tmp_path: Path) -> None:
    with refused(tmp_path, "base-missing"):
        convert_blip2(str(tmp_path / "nowhere"), tmp_path / "out")


# ---------------------------------------------------------------- the result


@pytest.mark.parametrize("what", ["a file", "a folder with a file"])
def test_what_is_there_is_not_touched(case: Case, tmp_path: Path, what: str) -> None:
    torch.save(case.state, case.source)
    out = tmp_path / "out"
    kept = out if what == "a file" else out / "kept.txt"
    kept.parent.mkdir(exist_ok=True)
    kept.write_text("mine")
    with refused(tmp_path, "folder-not-empty", "not empty"):
        case.run(out)
    assert kept.read_text() == "mine"


def test_an_empty_folder_is_filled(case: Case, tmp_path: Path) -> None:
    torch.save(case.state, case.source)
    (tmp_path / "out").mkdir()
    case.run(tmp_path / "out")
    assert (tmp_path / "out" / "config.json").is_file()
    assert not list(tmp_path.glob(".*"))
    modes = {path.stat().st_mode & 0o777 for path in (tmp_path / "out").iterdir()}
    assert modes == {tmp_path.joinpath("out").stat().st_mode & 0o666}  # as readable as the folder


def test_a_full_disk_leaves_nothing_behind(case: Case, tmp_path: Path) -> None:
    torch.save(case.state, case.source)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with refused(tmp_path, "cannot-write", "cannot be written"):
            case.run(tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


# ---------------------------------------------------------------- the command


def run(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(sys, "argv", ["medblip", "convert", *arguments])
    try:
        cli.main()
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


def test_the_command_says_what_was_taken_and_what_not(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(case.state, case.source)
    command, source, *options = case.arguments
    assert run([command, source, str(tmp_path / "out"), *options], monkeypatch) == 0
    said = capsys.readouterr().out
    assert f"weights taken from {case.source.name}" in said
    assert "not in the source" in said
    assert "note: " in said
    assert run([command, source, str(tmp_path / "out"), *options], monkeypatch) == 3
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert "not empty" in " ".join(error.split())
    assert "Traceback" not in error


def test_the_command_for_blip2(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["blip2", str(folder), str(folder.parent / "out")], monkeypatch) == 0
    said = capsys.readouterr().out
    assert "left out, that checkpoint's language model: language_model." in said
    assert run(["blip2"], monkeypatch) == 2
    assert InputError.exit_code == 3
    assert run(["blip2", str(folder / "x"), str(folder.parent / "other")], monkeypatch) == 3
