"""Weights on disk: safetensors alone, whole, finite, and every one of them, or an error.

A folder holds its weights as transformers writes them: ``model.safetensors``, or shards beside an
index ``model.safetensors.index.json`` that says which shard holds which tensor.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PureWindowsPath
from typing import Any

import torch
from huggingface_hub import split_torch_state_dict_into_shards
from huggingface_hub.constants import SAFETENSORS_INDEX_FILE, SAFETENSORS_SINGLE_FILE
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from medblip.errors import InputError
from medblip.storage import replacing, write_json

WEIGHTS = SAFETENSORS_SINGLE_FILE
INDEX = SAFETENSORS_INDEX_FILE
MAX_SHARD_SIZE = "50GB"  # transformers' own default
MAX_INDEX_BYTES = 10_000_000  # far beyond any model's; huggingface_hub stops there too
_OURS = re.compile(r"model(-\d{5}-of-\d{5})?\.safetensors|model\.safetensors\.index\.json")
# safetensors' names of types, and torch's.
_FLOATS = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}
_OTHERS = {"F64": "float64", "I64": "int64", "I32": "int32", "U8": "uint8", "BOOL": "bool"}
# Whole numbers that older checkpoints of transformers keep among their weights: no weights.
_TABLES = re.compile(r"(position_ids|\b(attn|attention|self)\.(masked_)?bias|num_batches_tracked)$")


# ------------------------------------------------------------------ which files
def safetensors_files(folder: Path) -> list[Path]:
    """``model.safetensors`` of a folder, or the shards that its index names.

    Raises:
        InputError: there is neither; the index is damaged or names a file elsewhere; a shard is
            missing, damaged, or holds other tensors than the index says.
    """
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    if (folder / INDEX).is_file():
        return _shards(folder)
    raise InputError(
        folder.name,
        f"holds no .safetensors file by the name {WEIGHTS}, and no {INDEX}",
        "save the model with `save_pretrained`; pickled weights are not read",
        code="no-safetensors",
    )


def _shards(folder: Path) -> list[Path]:
    listed: dict[str, set[str]] = {}
    for tensor, shard in _read_index(folder / INDEX).items():
        listed.setdefault(shard, set()).add(tensor)
    for shard, tensors in sorted(listed.items()):
        if not (folder / shard).is_file():
            raise InputError(
                _named(folder / shard),
                f"this shard is missing; {INDEX} says that it holds {len(tensors)} tensors",
                "copy the whole folder again from where it was made",
                code="missing-shard",
            )
        with opened(folder / shard) as weights:
            other = sorted(tensors ^ set(weights.keys()))
        if other:
            raise InputError(
                _named(folder / shard),
                f"its tensors are not those that {INDEX} lists for it: {some(other)}",
                "copy shards and index again from one place",
                code="bad-index",
            )
    return [folder / shard for shard in sorted(listed)]


def _read_index(file: Path) -> dict[str, str]:
    """Shard by tensor. Names that could leave the folder, on any system, are refused."""
    try:
        if file.stat().st_size > MAX_INDEX_BYTES:
            raise ValueError(f"it is larger than {MAX_INDEX_BYTES:,} bytes")
        shards: dict[str, str] = json.loads(file.read_text(encoding="utf-8"))["weight_map"]
        names = set(shards.values())
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise _bad_index(file, f"is no index of shards ({error})") from error
    for name in names:
        # Windows' rules know both kinds of slash, and drives.
        if PureWindowsPath(name).name != name or not name.endswith(".safetensors"):
            raise _bad_index(file, f"names {name!r}; expected .safetensors files beside it")
    if not names:
        raise _bad_index(file, "names no file")
    return shards


def _bad_index(file: Path, problem: str) -> InputError:
    fix = "copy shards and index again from where they were made"
    return InputError(_named(file), problem, fix, code="bad-index")


def _named(file: Path) -> str:
    """A file as a message names it: with its folder, without the way there."""
    return f"{file.parent.name}/{file.name}"


# ------------------------------------------------------------------ reading
@contextmanager
def opened(file: Path) -> Iterator[Any]:
    """A safetensors file, its header checked against its size; InputError if that fails."""
    try:
        handle = safe_open(file, framework="pt")
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(
            _named(file),
            f"not a whole safetensors file ({error})",
            "copy it again from where it was made",
            code="damaged-weights",
        ) from error
    with handle as weights:
        yield weights


def read_weights(folder: Path) -> dict[str, Tensor]:
    """Every tensor of a folder; raise InputError if a file is absent, damaged or not finite."""
    return {n: t for file in safetensors_files(folder) for n, t in read_tensors(file).items()}


def read_tensors(file: Path) -> dict[str, Tensor]:
    """Read a safetensors file; raise InputError if it is absent, damaged or not finite."""
    if not file.exists():
        raise InputError(
            _named(file),
            "this file is missing from the checkpoint folder",
            "train again, or copy the whole folder",
            code="missing-weights",
        )
    return dict(checked_tensors(file))


def checked_tensors(file: Path) -> Iterator[tuple[str, Tensor]]:
    """Each tensor of a safetensors file, one at a time; raise InputError if it is not finite."""
    check_types(file)
    with opened(file) as weights:
        for name in weights.keys():  # noqa: SIM118  # not a mapping
            tensor = weights.get_tensor(name)
            if not is_finite(tensor):
                raise _bad_weights(_named(file), name, "NaN or infinite values")
            yield name, tensor


def check_types(file: Path) -> None:
    """Raise InputError for weights of a type that loads silently but computes otherwise."""
    with opened(file) as weights:
        for name in weights.keys():  # noqa: SIM118  # not a mapping
            kind = weights.get_slice(name).get_dtype()
            is_table = _TABLES.search(name) and not kind.startswith(("F", "BF"))
            if kind not in _FLOATS and not is_table:
                raise _bad_weights(_named(file), name, f"{_OTHERS.get(kind, kind)} values")


def is_finite(tensor: Tensor) -> bool:
    """Whether no value is NaN or infinite, without a mask as large as the tensor."""
    if not tensor.is_floating_point() or tensor.numel() == 0:
        return True
    low, high = torch.aminmax(tensor.detach())
    return bool(torch.isfinite(low) & torch.isfinite(high))


def _bad_weights(file: str, name: str, found: str) -> InputError:
    return InputError(
        f"{file}, {name}",
        f"{found}; expected finite {', '.join(_FLOATS.values())} ones",
        "go back to an earlier checkpoint, or save the weights again as float32",
        code="bad-weights",
    )


# ------------------------------------------------------------------ models of transformers
def load_whole(
    from_pretrained: Callable[..., Any],
    folder: Path,
    *,
    ignored: Collection[str] = (),
    **kwargs: Any,
) -> Any:
    """A model of transformers with every weight from the folder's safetensors files, or an error.

    Args:
        ignored: weights in the files that are no part of this model.

    Raises:
        InputError: no such file, a damaged one, weights of another type or not finite, or weights
            that are missing, unexpected or of another shape, all of which transformers fills with
            random ones.
    """
    _refuse_detours(folder)
    for file in safetensors_files(folder):
        check_types(file)
    model, info = from_pretrained(
        folder,
        use_safetensors=True,
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # listed below with the rest
        **kwargs,
    )
    listed = {k: sorted(map(str, v)) for k, v in info.items() if k.endswith("_keys")}
    listed["unexpected_keys"] = sorted(set(listed["unexpected_keys"]) - set(ignored))
    problems = [f"{kind} {_few(names)}" for kind, names in listed.items() if names]
    if problems:
        raise InputError(
            folder.name,
            f"the weights do not fit the configuration: {', '.join(problems)}",
            "save the model again with `save_pretrained`, weights and config.json together",
            code="incomplete-weights",
        )
    for name, parameter in model.named_parameters():
        if not parameter.is_meta and not is_finite(parameter):
            raise _bad_weights(folder.name, name, "NaN or infinite values")
    return model


def _refuse_detours(folder: Path) -> None:
    """transformers loads other weights than those of the folder where one of these says so."""
    if (folder / "adapter_config.json").exists():
        raise InputError(
            _named(folder / "adapter_config.json"),
            "makes transformers load an adapter on another model; expected whole weights",
            "merge the adapter into its model and save that",
            code="not-whole",
        )
    config = folder / "config.json"
    try:
        named = json.loads(config.read_text(encoding="utf-8")).get("transformers_weights")
    except (OSError, ValueError, AttributeError):
        return  # whoever reads the configuration says what is wrong with it
    if named is not None:
        raise InputError(
            _named(config),
            f"transformers_weights names {named!r}; expected weights in {WEIGHTS}",
            "remove the key, or save the model again",
            code="not-whole",
        )


# ------------------------------------------------------------------ names and shapes
def copy_strictly(found: Mapping[str, Tensor], wanted: dict[str, Tensor], name: str) -> None:
    """Copy ``found`` into the tensors of ``wanted`` if names and shapes are the same."""
    check_fit(found, wanted, name)
    for key, tensor in found.items():
        wanted[key].copy_(tensor)


def check_fit(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor], name: str) -> None:
    """Raise InputError naming weights that are missing, unexpected or of another shape."""
    missing, unexpected = sorted(wanted.keys() - found), sorted(found.keys() - wanted.keys())
    wrong = [
        f"{key} {tuple(found[key].shape)} for {tuple(wanted[key].shape)}"
        for key in sorted(wanted.keys() & found.keys())
        if wanted[key].shape != found[key].shape
    ]
    if missing or unexpected or wrong:
        raise InputError(
            name,
            f"missing {_few(missing)}, unexpected {_few(unexpected)}, "
            f"of another shape {_few(wrong)}",
            "load the checkpoint with the config.json saved beside it",
            code="incomplete-weights",
        )


def some(names: Sequence[str], shown: int = 3) -> str:
    """The first few of many names, and how many more there are: ``a, b, c and 57 more``."""
    rest = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + rest


def _few(names: Sequence[str]) -> str:
    return f"[{some([repr(name) for name in names])}]"


# ------------------------------------------------------------------ writing
def save_weights(
    tensors: Mapping[str, Tensor], folder: Path, max_shard_size: int | str = MAX_SHARD_SIZE
) -> None:
    """Write a folder's weights, in shards with an index where they exceed ``max_shard_size``.

    Args:
        max_shard_size: bytes, or a text such as ``5GB``; a larger tensor has a shard of its own.

    Raises:
        ValueError: ``max_shard_size`` is no size.
    """
    split = split_torch_state_dict_into_shards(dict(tensors), max_shard_size=max_shard_size)
    written = dict(split.filename_to_tensors)
    for file, names in written.items():
        save_tensors({name: tensors[name] for name in names}, folder / file)
    if split.is_sharded:
        index = {"metadata": split.metadata, "weight_map": split.tensor_to_filename}
        write_json(folder / INDEX, index)
        written[INDEX] = []
    for path in folder.iterdir():  # of an earlier save; one of them could be read instead
        if _OURS.fullmatch(path.name) and path.name not in written:
            path.unlink()


def save_tensors(tensors: Mapping[str, Tensor], file: Path, **metadata: str) -> None:
    """Write a safetensors file atomically, with ``metadata`` in its header."""
    plain, seen = {}, set()
    for name, tensor in tensors.items():
        kept = tensor.detach().contiguous().cpu()
        # Tied weights share memory, which safetensors refuses.
        plain[name] = kept.clone() if kept.data_ptr() in seen else kept
        seen.add(kept.data_ptr())
    with replacing(file) as temporary:
        save_file(plain, temporary, metadata={"format": "pt", **metadata})
