"""Checkpoints and bases that are cut, mixed up or from elsewhere: each refused by name."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import (
    based_model,
    language_tower,
    save_bases,
    settings,
    text_config,
    vision_config,
    vision_tower,
)
from torch import Tensor

from medblip.errors import InputError, UsageError
from medblip.model import MedBlipConfig, MedBlipForConditionalGeneration
from medblip.model.bases import load_language, load_vision, resolve_base, weights_sha256

WEIGHTS = "model.safetensors"
ADAPTER = "adapter/adapter_model.safetensors"
Change = Callable[[Path], None]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``checkpoint`` on bases, ``other`` from another step, ``full`` with everything."""
    folder = tmp_path_factory.mktemp("saved")
    model = based_model(folder / "bases")
    model.save_pretrained(folder / "checkpoint")
    model.save_pretrained(folder / "full", full=True)
    with torch.no_grad():
        model.temperature.add_(0.01)
    model.save_pretrained(folder / "other")
    return folder


@pytest.fixture
def copied(saved: Path, tmp_path: Path) -> Path:
    """A copy to break; the recorded bases stay where they are."""
    for name in ("checkpoint", "other", "full"):
        shutil.copytree(saved / name, tmp_path / name)
    return tmp_path


def load(folder: Path) -> MedBlipForConditionalGeneration:
    return MedBlipForConditionalGeneration.from_pretrained(folder)


def rewrite(name: str, change: Callable[[dict[str, Tensor]], None]) -> Change:
    def apply(folder: Path) -> None:
        tensors = load_file(folder / name)
        change(tensors)
        save_file(tensors, folder / name, metadata={"format": "pt"})

    return apply


def edit_config(**changes: object) -> Change:
    def apply(folder: Path) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return apply


def cut(folder: Path) -> None:
    path = folder / WEIGHTS
    path.write_bytes(path.read_bytes()[:-100])


def append(folder: Path) -> None:
    with (folder / WEIGHTS).open("ab") as file:
        file.write(b"more")


def huge_header(folder: Path) -> None:
    (folder / WEIGHTS).write_bytes((1 << 40).to_bytes(8, "little") + b"{}")


def swap_adapter(folder: Path) -> None:
    shutil.copy(folder.parent / "other" / ADAPTER, folder / ADAPTER)


def only_pickle(folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    write_pickle(folder / "pytorch_model.bin", folder / "was-read")


def write_pickle(path: Path, trace: Path) -> None:
    """A pickle that leaves a trace if it is ever read."""

    class Trace:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path.touch, (trace,))

    path.write_bytes(pickle.dumps(Trace()))


def set_value(name: str, value: Tensor) -> Callable[[dict[str, Tensor]], None]:
    return lambda tensors: tensors.update({name: value})


NAN = torch.tensor(float("nan"))
FAULTS: dict[str, tuple[Change, str, str]] = {
    "missing key": (
        rewrite(WEIGHTS, lambda t: t.pop("prefix_scale") and None),
        "incomplete-weights",
        r"missing \['prefix_scale'\]",
    ),
    "unexpected key": (
        rewrite(WEIGHTS, set_value("spare", torch.ones(1))),
        "incomplete-weights",
        r"unexpected \['spare'\]",
    ),
    "another shape": (
        rewrite(WEIGHTS, set_value("query_tokens", torch.ones(1, 3, 31))),
        "incomplete-weights",
        r"query_tokens \(1, 3, 31\) for \(1, 3, 32\)",
    ),
    "NaN": (rewrite(WEIGHTS, set_value("temperature", NAN)), "bad-weights", "temperature"),
    "infinity": (
        rewrite(WEIGHTS, set_value("temperature", torch.tensor(torch.inf))),
        "bad-weights",
        "expected finite",
    ),
    "integers": (
        rewrite(WEIGHTS, set_value("temperature", torch.tensor(1))),
        "bad-weights",
        "torch.int64 values; expected finite float32",
    ),
    "doubles": (
        rewrite(WEIGHTS, set_value("temperature", torch.tensor(1.0).double())),
        "bad-weights",
        "torch.float64 values",
    ),
    "cut file": (cut, "damaged-weights", "model.safetensors: not a whole safetensors file"),
    "trailing bytes": (append, "damaged-weights", "not a whole safetensors file"),
    "huge header": (huge_header, "damaged-weights", "not a whole safetensors file"),
    "no weights": (lambda f: (f / WEIGHTS).unlink(), "missing-weights", WEIGHTS),
    "pickle alone": (only_pickle, "missing-weights", WEIGHTS),
    "no configuration": (lambda f: (f / "config.json").unlink(), "no-config", "no config.json"),
    "another model": (
        edit_config(model_type="blip-2"),
        "bad-config",
        "model_type is 'blip-2', expected 'medblip'",
    ),
    "misspelled key": (
        edit_config(volume_sise=16),
        "bad-config",
        "unknown key `volume_sise`; did you mean `volume_size`",
    ),
    "wrong type": (edit_config(volume_size="big"), "bad-config", "volume_size"),
    "no JSON": (lambda f: (f / "config.json").write_text("{"), "bad-config", "config.json"),
    "not an object": (lambda f: (f / "config.json").write_text("[]"), "bad-config", "config.json"),
    "no adapter": (lambda f: (f / ADAPTER).unlink(), "missing-weights", "adapter_model"),
    "adapter of another step": (swap_adapter, "other-adapter", "not saved together"),
    "adapter without a header": (
        rewrite(ADAPTER, lambda t: None),
        "other-adapter",
        "not saved together",
    ),
    "fewer adapter layers": (
        rewrite(ADAPTER, lambda t: [t.pop(n) for n in list(t) if ".layers.1." in n] and None),
        "incomplete-weights",
        r"adapter/adapter_model.safetensors: missing \[.*layers.1",
    ),
    "adapter of another rank": (
        rewrite(ADAPTER, lambda t: t.update({n: v.repeat(2, 2) for n, v in t.items()})),
        "incomplete-weights",
        "of another shape .*lora_A.*",
    ),
    "NaN in the adapter": (
        rewrite(ADAPTER, lambda t: t.update({n: v * NAN for n, v in t.items()})),
        "bad-weights",
        "lora_",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_broken_checkpoint_is_refused_by_name(copied: Path, fault: str) -> None:
    change, code, message = FAULTS[fault]
    change(copied / "checkpoint")
    with pytest.raises(InputError, match=message) as caught:
        load(copied / "checkpoint")
    assert caught.value.code == code
    assert caught.value.fix
    assert not (copied / "checkpoint" / "was-read").exists()


FULL_FAULTS = {
    "missing key": (
        rewrite(WEIGHTS, lambda t: t.pop("qformer.layernorm.bias") is None),
        "incomplete-weights",
        "missing_keys.*qformer.layernorm.bias",
    ),
    "unexpected key": (
        rewrite(WEIGHTS, set_value("spare", torch.ones(1))),
        "incomplete-weights",
        "unexpected_keys.*spare",
    ),
    "another shape": (
        rewrite(WEIGHTS, set_value("query_tokens", torch.ones(1, 3, 31))),
        "incomplete-weights",
        "mismatched_keys.*query_tokens",
    ),
    "no weights": (lambda f: (f / WEIGHTS).unlink(), "no-safetensors", "no .safetensors file"),
    "pickle alone": (only_pickle, "no-safetensors", "pickled weights are not read"),
    **{name: FAULTS[name] for name in ("NaN", "integers", "cut file", "trailing bytes")},
    **{name: FAULTS[name] for name in ("no configuration", "another model", "misspelled key")},
}


@pytest.mark.parametrize("fault", FULL_FAULTS)
def test_a_broken_full_checkpoint_is_refused_by_name(copied: Path, fault: str) -> None:
    change, code, message = FULL_FAULTS[fault]
    change(copied / "full")
    with pytest.raises(InputError, match=message) as caught:
        load(copied / "full")
    assert caught.value.code == code
    assert not (copied / "full" / "was-read").exists()


def test_what_was_broken_loads_when_it_is_whole(saved: Path) -> None:
    for name in ("checkpoint", "other", "full"):
        assert torch.isfinite(load(saved / name).temperature)


def test_pickles_beside_safetensors_are_not_read(copied: Path) -> None:
    for folder in (copied / "checkpoint", copied / "full", copied / "checkpoint" / "adapter"):
        for name in ("pytorch_model.bin", "adapter_model.bin", "training_args.bin"):
            write_pickle(folder / name, copied / "was-read")
    load(copied / "checkpoint")
    load(copied / "full")
    assert not (copied / "was-read").exists()


@pytest.mark.parametrize("option", ["device_map", "quantization_config", "subfolder"])
def test_an_option_that_would_do_nothing_is_refused(saved: Path, option: str) -> None:
    with pytest.raises(UsageError, match=option) as caught:
        MedBlipForConditionalGeneration.from_pretrained(saved / "checkpoint", **{option: "auto"})
    assert caught.value.code == "unknown-option"


# --------------------------------------------------------------------------- bases
@pytest.mark.parametrize("role", ["vision", "language"])
def test_a_base_with_other_weights_is_refused(tmp_path: Path, role: str) -> None:
    based_model(tmp_path / "bases").save_pretrained(tmp_path / "checkpoint")
    other = vision_tower(seed=8) if role == "vision" else language_tower(seed=8)
    other.save_pretrained(tmp_path / "other")
    with pytest.raises(InputError, match=f"{role} base .*trained on") as caught:
        MedBlipForConditionalGeneration.from_pretrained(
            tmp_path / "checkpoint", bases={role: str(tmp_path / "other")}
        )
    assert caught.value.code == "other-base"
    other.save_pretrained(tmp_path / "bases" / role)  # changed where it lies
    with pytest.raises(InputError, match=f"{role} base") as caught:
        load(tmp_path / "checkpoint")
    assert caught.value.code == "other-base"


def test_a_base_that_is_gone_is_named(tmp_path: Path) -> None:
    based_model(tmp_path / "bases").save_pretrained(tmp_path / "checkpoint")
    shutil.rmtree(tmp_path / "bases" / "vision")
    with pytest.raises(InputError, match="bases/vision: this base is not a folder") as caught:
        load(tmp_path / "checkpoint")
    assert caught.value.code == "base-missing"


@pytest.mark.parametrize("source", ["embedded:nothing", "./nowhere", "a/b/c"])
def test_a_source_that_is_no_base_is_refused(source: str) -> None:
    with pytest.raises(InputError, match=r"not a folder here.*embedded:language") as caught:
        resolve_base(source)
    assert caught.value.code == "base-missing"


@pytest.mark.parametrize(
    ("role", "load_base"), [("vision", load_vision), ("language", load_language)]
)
@pytest.mark.parametrize(
    ("change", "code"),
    [
        (cut, "damaged-weights"),
        (only_pickle, "no-safetensors"),
        (rewrite(WEIGHTS, set_value("spare", torch.ones(1))), "incomplete-weights"),
        (rewrite(WEIGHTS, lambda t: t.pop(sorted(t)[0]) is None), "incomplete-weights"),
        (
            rewrite(WEIGHTS, lambda t: t.update({sorted(t)[0]: torch.ones(1, 2)})),
            "incomplete-weights",
        ),
        (lambda f: (f / "config.json").unlink(), "bad-config"),
        (edit_config(model_type="nothing"), "bad-config"),
    ],
    ids=["cut", "pickle", "unexpected", "missing", "shape", "no-config", "other-model"],
)
def test_a_broken_base_is_refused(
    tmp_path: Path, role: str, load_base: Callable[[Path], object], change: Change, code: str
) -> None:
    save_bases(tmp_path)
    change(tmp_path / role)
    with pytest.raises(InputError, match=role) as caught:
        load_base(tmp_path / role)
    assert caught.value.code == code
    assert not (tmp_path / role / "was-read").exists()


def test_the_hash_sees_each_weight_and_each_name(tmp_path: Path) -> None:
    save_bases(tmp_path)
    before = weights_sha256(tmp_path / "vision")
    assert before == weights_sha256(tmp_path / "vision")
    (tmp_path / "vision" / WEIGHTS).rename(tmp_path / "vision" / "other.safetensors")
    assert weights_sha256(tmp_path / "vision") != before


def test_a_recorded_base_without_a_hash_is_refused() -> None:
    with pytest.raises(Exception, match=r"vision_base lacks \['sha256'\]"):
        MedBlipConfig(
            vision_config=vision_config(),
            text_config=text_config(),
            **settings(vision_base={"source": "somewhere"}),
        )
