"""Checkpoints that are cut, mixed up or from elsewhere, each made by a script from a whole one."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from medblip.model import MedBlipImageProcessor, MedBlipProcessor
from model.tiny import based_model, language_tower, tokenizer, vision_tower

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
ADAPTER = "adapter/adapter_model.safetensors"
FORMS = ("checkpoint", "full", "sharded", "full-sharded")
SHARD_BYTES = 30_000
NAN = torch.tensor(float("nan"))
Change = Callable[[Path], object]
Tensors = dict[str, Tensor]


# ------------------------------------------------------------------ whole ones
def write_whole(root: Path, language: str = "llama") -> None:
    """``bases/vision``, ``bases/language``, and the same model in each of `FORMS`; ``other`` is of
    another step, ``elsewhere`` was trained on another language model."""
    model = based_model(root / "bases", language)
    for form in FORMS:
        size = SHARD_BYTES if "sharded" in form else "5GB"
        model.save_pretrained(root / form, full="full" in form, max_shard_size=size)
        write_processor(model, root / form)
    with torch.no_grad():
        model.temperature.add_(0.01)
    model.save_pretrained(root / "other")
    language_tower(language, seed=9).save_pretrained(root / "other-language")
    elsewhere = based_model(root / "elsewhere-bases", language)
    elsewhere.config.language_base["sha256"] = "0" * 64
    elsewhere.save_pretrained(root / "elsewhere")


def write_processor(model: object, folder: Path) -> None:
    images = MedBlipImageProcessor({"size": 16})
    MedBlipProcessor.for_model(
        model.config,  # type: ignore[attr-defined]
        images,
        tokenizer(),
        max_length=128,
    ).save_pretrained(folder)


def copy_whole(whole: Path, root: Path) -> Path:
    """A copy to break: its checkpoints name the bases beside them."""
    shutil.copytree(whole, root, dirs_exist_ok=True)
    for form in ("checkpoint", "sharded"):
        config = json.loads((root / form / "config.json").read_text())
        for role in ("vision", "language"):
            config[f"{role}_base"]["source"] = str(root / "bases" / role)
        (root / form / "config.json").write_text(json.dumps(config))
    return root


# ------------------------------------------------------------------ changes
def rewrite(name: str, change: Callable[[Tensors], object]) -> Change:
    """Load the tensors of a file, change them, write them back under the same header."""

    def apply(root: Path) -> None:
        tensors = load_file(root / name)
        change(tensors)
        save_file(tensors, root / name, metadata={"format": "pt"})

    return apply


def edit_json(name: str, **changes: object) -> Change:
    def apply(root: Path) -> None:
        path = root / name
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return apply


def cut(name: str) -> Change:
    return lambda root: (root / name).write_bytes((root / name).read_bytes()[:-100])


def append(name: str) -> Change:
    return lambda root: (root / name).write_bytes((root / name).read_bytes() + b"more")


def huge_header(name: str) -> Change:
    return lambda root: (root / name).write_bytes((1 << 40).to_bytes(8, "little") + b"{}")


def only_pickle(folder: str) -> Change:
    def apply(root: Path) -> None:
        (root / folder / WEIGHTS).unlink()
        write_pickle(root / folder / "pytorch_model.bin", root / "was-read")

    return apply


def write_pickle(path: Path, trace: Path) -> None:
    """A pickle that leaves a trace if it is ever read."""

    class Trace:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path.touch, (trace,))

    path.write_bytes(pickle.dumps(Trace()))


def set_value(name: str, value: Tensor) -> Callable[[Tensors], object]:
    return lambda tensors: tensors.update({name: value})


def first_to(dtype: torch.dtype) -> Callable[[Tensors], object]:
    return lambda tensors: tensors.update({(n := min(tensors)): tensors[n].to(dtype)})


def first_times(factor: float) -> Callable[[Tensors], object]:
    return lambda tensors: tensors.update({(n := min(tensors)): tensors[n] * factor})


def remove(name: str) -> Change:
    return lambda root: (root / name).unlink()


def copy_file(source: str, target: str) -> Change:
    return lambda root: shutil.copy(root / source, root / target)


def write(name: str, text: str) -> Change:
    return lambda root: (root / name).write_text(text)


def other_tokenizer(form: str) -> Change:
    def apply(root: Path) -> None:
        tokenizer(start=["<s>"]).save_pretrained(root / form)

    return apply


def shards_named(change: Callable[[str], str]) -> Change:
    """Rename every shard in the index of ``sharded``, not on disk."""

    def apply(root: Path) -> None:
        index = json.loads((root / "sharded" / INDEX).read_text())
        index["weight_map"] = {t: change(s) for t, s in index["weight_map"].items()}
        (root / "sharded" / INDEX).write_text(json.dumps(index))

    return apply


def first_shard(form: str) -> Callable[[Callable[[str], Change]], Change]:
    """A change of the first shard, whose name tells how many there are."""

    def of(change: Callable[[str], Change]) -> Change:
        def apply(root: Path) -> None:
            shard = min(p.name for p in (root / form).glob("model-00001-of-*.safetensors"))
            change(f"{form}/{shard}")(root)

        return apply

    return of


def other_vision(root: Path) -> None:
    vision_tower(seed=8).save_pretrained(root / "bases" / "vision")


# ------------------------------------------------------------------ the list
@dataclass(frozen=True)
class Fault:
    """A fault: how it is made, which folder is then loaded, and what must be said about it.

    Attributes:
        says: pattern for the message; it holds the file, or the base, and what was found.
    """

    name: str
    make: Change
    load: str
    code: str
    says: str


SHARD = first_shard("sharded")
FULL_SHARD = first_shard("full-sharded")
VISION, LANGUAGE = f"bases/vision/{WEIGHTS}", f"bases/language/{WEIGHTS}"
LEARNED, FULL = f"checkpoint/{WEIGHTS}", f"full/{WEIGHTS}"
DAMAGED, BAD, UNFIT = "damaged-weights", "bad-weights", "incomplete-weights"
WHOLE = "not a whole safetensors file"


def _damage() -> list[Fault]:
    """Fault 43, in each kind of weight file."""
    files = {
        "learned": (lambda change: change(LEARNED), "checkpoint", f"{LEARNED}: {WHOLE}"),
        "adapter": (
            lambda change: change(f"checkpoint/{ADAPTER}"),
            "checkpoint",
            f"{ADAPTER}: {WHOLE}",
        ),
        "full": (lambda change: change(FULL), "full", f"{FULL}: {WHOLE}"),
        "shard": (SHARD, "sharded", f"sharded/model-00001-of-0000.*: {WHOLE}"),
        "shard of full": (FULL_SHARD, "full-sharded", f"full-sharded/model-00001-of.*: {WHOLE}"),
        "vision base": (lambda change: change(VISION), "checkpoint", f"vision/{WEIGHTS}: {WHOLE}"),
        "language base": (
            lambda change: change(LANGUAGE),
            "checkpoint",
            f"language/{WEIGHTS}: {WHOLE}",
        ),
    }
    kinds = {"cut": cut, "trailing bytes": append, "huge header": huge_header}
    return [
        Fault(f"{kind}, {file}", of(change), load, DAMAGED, says)
        for file, (of, load, says) in files.items()
        for kind, change in kinds.items()
    ]


def _learned() -> list[Fault]:
    """Faults 44 to 46 in what was learned."""

    def fault(name: str, change: Callable[[Tensors], object], code: str, says: str) -> Fault:
        return Fault(name, rewrite(LEARNED, change), "checkpoint", code, says)

    doubled = torch.tensor(1.0).double()
    return [
        Fault(
            "no weights", remove(LEARNED), "checkpoint", "no-safetensors", "checkpoint: holds no"
        ),
        Fault(
            "pickle alone",
            only_pickle("checkpoint"),
            "checkpoint",
            "no-safetensors",
            "checkpoint: holds no .*pickled weights are not read",
        ),
        fault("missing key", lambda t: t.pop("prefix_scale"), UNFIT, r"missing \['prefix_scale'\]"),
        fault(
            "unexpected key", set_value("spare", torch.ones(1)), UNFIT, r"unexpected \['spare'\]"
        ),
        fault(
            "another shape",
            set_value("query_tokens", torch.ones(1, 3, 31)),
            UNFIT,
            rf"{LEARNED}: .*query_tokens \(1, 3, 31\) for \(1, 3, 32\)",
        ),
        fault("NaN", set_value("temperature", NAN), BAD, f"{LEARNED}, temperature: NaN"),
        fault("infinity", set_value("temperature", 1 / torch.zeros(())), BAD, "expected finite"),
        fault(
            "int64",
            set_value("temperature", torch.tensor(1)),
            BAD,
            f"{LEARNED}, temperature: int64 values; expected finite float32",
        ),
        fault("int32", set_value("temperature", torch.tensor(1).int()), BAD, "int32 values"),
        fault("float64", set_value("temperature", doubled), BAD, "temperature: float64 values"),
    ]


def _full() -> list[Fault]:
    """Faults 44 to 46 in a checkpoint that holds every weight, frozen ones too."""
    frozen = "language_model.model.embed_tokens.weight"

    def fault(name: str, change: Callable[[Tensors], object], code: str, says: str) -> Fault:
        return Fault(f"full, {name}", rewrite(FULL, change), "full", code, says)

    return [
        Fault("full, no weights", remove(FULL), "full", "no-safetensors", "full: holds no"),
        Fault(
            "full, pickle alone", only_pickle("full"), "full", "no-safetensors", "pickled weights"
        ),
        fault("missing key", lambda t: t.pop(frozen), UNFIT, f"full: .*missing_keys.*{frozen}"),
        fault("unexpected key", set_value("spare", torch.ones(1)), UNFIT, "unexpected_keys.*spare"),
        fault(
            "another shape",
            set_value("query_tokens", torch.ones(1, 3, 31)),
            UNFIT,
            "mismatched_keys.*query_tokens",
        ),
        fault("NaN", lambda t: t[frozen][0].fill_(NAN), BAD, f"full, {frozen}: NaN"),
        fault(
            "float64", set_value("temperature", NAN.double()), BAD, f"{FULL}, temperature: float64"
        ),
        fault(
            "int32",
            lambda t: t.update({frozen: t[frozen].int()}),
            BAD,
            f"{FULL}, {frozen}: int32 values",
        ),
    ]


def _shards() -> list[Fault]:
    """An index that lies, or that leads out of the folder."""

    def fault(name: str, make: Change, says: str, code: str = "bad-index") -> Fault:
        return Fault(name, make, "sharded", code, says)

    two_up = shards_named(lambda shard: f"../checkpoint/{shard}")
    return [
        fault(
            "shard gone", SHARD(remove), "sharded/model-00001.*shard is missing", "missing-shard"
        ),
        Fault(
            "shard of full gone",
            FULL_SHARD(remove),
            "full-sharded",
            "missing-shard",
            "full-sharded/model-00001.*shard is missing",
        ),
        fault("index leads out", two_up, rf"sharded/{INDEX}: names '../checkpoint/model"),
        fault("index from the root", shards_named(lambda s: f"/tmp/{s}"), r"names '/tmp/"),
        fault("index with a drive", shards_named(lambda s: f"C:{s}"), r"names 'C:"),
        fault(
            "index to pickles", shards_named(lambda s: s.replace("safetensors", "bin")), "names '"
        ),
        fault("index is no JSON", write(f"sharded/{INDEX}", "{"), "is no index"),
        fault("index is a list", write(f"sharded/{INDEX}", "[]"), "is no index"),
        fault("index lists nothing", write(f"sharded/{INDEX}", '{"weight_map": {}}'), "no file"),
        fault(
            "index lists another tensor",
            SHARD(lambda name: rewrite(name, set_value("spare", torch.ones(1)))),
            "model-00001.*not those .*: spare",
        ),
    ]


def _adapter() -> list[Fault]:
    """Fault 47: the adapter of another step, base, depth or rank."""

    def fault(name: str, make: Change, code: str, says: str) -> Fault:
        return Fault(name, make, "checkpoint", code, says)

    def in_file(name: str, change: Callable[[Tensors], object], code: str, says: str) -> Fault:
        return fault(name, rewrite(f"checkpoint/{ADAPTER}", change), code, says)

    def without_layer(tensors: Tensors) -> None:
        for name in [n for n in tensors if ".layers.1." in n]:
            del tensors[name]

    return [
        fault("no adapter", remove(f"checkpoint/{ADAPTER}"), "missing-weights", f"{ADAPTER}: "),
        fault(
            "adapter of another step",
            copy_file(f"other/{ADAPTER}", f"checkpoint/{ADAPTER}"),
            "other-adapter",
            f"{ADAPTER}: was not saved together",
        ),
        fault(
            "adapter of another base",
            copy_file(f"elsewhere/{ADAPTER}", f"checkpoint/{ADAPTER}"),
            "other-adapter",
            f"{ADAPTER}: was trained on a language model with the hash 000000000000, config.json",
        ),
        in_file("adapter without a header", lambda t: None, "other-adapter", "not saved together"),
        in_file("fewer adapter layers", without_layer, UNFIT, rf"{ADAPTER}: missing \[.*layers.1"),
        in_file(
            "adapter of another rank",
            lambda t: t.update({n: v.repeat(2, 2) for n, v in t.items()}),
            UNFIT,
            f"{ADAPTER}: .*of another shape .*lora_A",
        ),
        in_file("NaN in the adapter", first_times(float("nan")), BAD, f"{ADAPTER}, .*lora_"),
        in_file("float64 adapter", first_to(torch.float64), BAD, f"{ADAPTER}, .*float64 values"),
    ]


def _bases() -> list[Fault]:
    """Fault 47 turned round: another base under the adapter and the learned weights."""

    def fault(name: str, make: Change, says: str) -> Fault:
        return Fault(name, make, "checkpoint", "other-base", says)

    embeddings = "model.embed_tokens.weight"
    first = "embeddings.cls_token"
    return [
        fault(
            "other vision base",
            other_vision,
            r"vision base vision: not the weights .*15 of 43 tensors differ: embeddings.cls_token "
            r"\(other values\), .* and 12 more; put .*bases/vision",
        ),
        fault(
            "other language base",
            copy_file(f"other-language/{WEIGHTS}", LANGUAGE),
            "language base language: not the weights .* of 21 tensors differ: .*other values",
        ),
        fault(
            "base with other settings",
            edit_json("bases/language/config.json", rms_norm_eps=0.1, hidden_act="relu"),
            "language base language, config.json: not the settings .*: hidden_act is 'relu', was "
            "'silu', rms_norm_eps is 0.1, was 1e-06",
        ),
        fault(
            "base in another precision",
            rewrite(LANGUAGE, set_value(embeddings, torch.ones(263, 32).bfloat16())),
            rf"language base .*; 1 of 21 tensors differ: {embeddings} "
            r"\(BF16 263x32, was F32 263x32\)",
        ),
        fault(
            "base without a tensor",
            rewrite(VISION, lambda t: t.pop(first)),
            f"vision base .*; 1 missing: {first}",
        ),
        fault(
            "base with a tensor more",
            rewrite(VISION, set_value("spare", torch.ones(1))),
            "vision base .*; 1 not expected: spare",
        ),
        fault(
            "other base, and nobody recorded its tensors",
            lambda root: (other_vision(root), (root / "checkpoint/bases.json").write_text("{")),
            "vision base vision: not the weights .*their hash differs",
        ),
        Fault(
            "pickled base",
            only_pickle("bases/language"),
            "checkpoint",
            "no-safetensors",
            "language: holds no .*pickled weights are not read",
        ),
        Fault(
            "no base",
            lambda root: shutil.rmtree(root / "bases/vision"),
            "checkpoint",
            "base-missing",
            "bases/vision: this base is not a folder",
        ),
    ]


def _configuration() -> list[Fault]:
    """Fault 48: a folder that is something else, or has a tokenizer from elsewhere."""
    config = "checkpoint/config.json"

    def fault(name: str, make: Change, code: str, says: str) -> Fault:
        return Fault(name, make, "checkpoint", code, says)

    def tokens(name: str, make: Change, says: str) -> Fault:
        return fault(name, make, "other-tokenizer", f"checkpoint, tokenizer: .*{says}")

    return [
        fault("no configuration", remove(config), "no-config", "checkpoint: holds no config.json"),
        fault(
            "another model",
            edit_json(config, model_type="blip-2"),
            "bad-config",
            f"{config}: .*model_type is 'blip-2', expected 'medblip'",
        ),
        fault(
            "misspelled key",
            edit_json(config, volume_sise=16),
            "bad-config",
            "unknown key `volume_sise`; did you mean `volume_size`",
        ),
        fault("wrong type", edit_json(config, volume_size="big"), "bad-config", "volume_size"),
        fault("no JSON", write(config, "{"), "bad-config", config),
        fault("not an object", write(config, "[]"), "bad-config", config),
        tokens("other tokenizer", other_tokenizer("checkpoint"), "tokenizer.json is not as it was"),
        tokens("no tokenizer", remove("checkpoint/tokenizer.json"), "tokenizer.json is missing"),
        tokens(
            "tokens added", write("checkpoint/added_tokens.json", "{}"), "does not belong there"
        ),
        tokens("no manifest", write("checkpoint/tokenizer_manifest.json", "{"), "not readable"),
        fault(
            "no processor",
            remove("checkpoint/processor_config.json"),
            "no-processor",
            "checkpoint/processor_config.json: this file is missing",
        ),
        fault(
            "processor is no JSON",
            write("checkpoint/processor_config.json", "{"),
            "bad-processor",
            "checkpoint/processor_config.json: is not readable as JSON",
        ),
    ]


FAULTS = [
    *_damage(),
    *_learned(),
    *_full(),
    *_shards(),
    *_adapter(),
    *_bases(),
    *_configuration(),
]
