"""Weights on disk: safetensors alone, whole, finite, and every one of them, or an error."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from medblip.errors import InputError
from medblip.storage import replacing

_FLOATS = (torch.float32, torch.float16, torch.bfloat16)


def safetensors_files(folder: Path) -> list[Path]:
    """The weight files of a folder; raise InputError if there is none."""
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise InputError(
            folder.name,
            "holds no .safetensors file",
            "save the model with `save_pretrained`; pickled weights are not read",
            code="no-safetensors",
        )
    return files


def load_whole(from_pretrained: Callable[..., Any], folder: Path, **kwargs: Any) -> Any:
    """A model of transformers with every weight from the folder's safetensors files, or an error.

    Raises:
        InputError: no such file, a damaged one, or weights that are missing, unexpected or of
            another shape, all of which transformers fills with random ones.
    """
    safetensors_files(folder)
    try:
        model, info = from_pretrained(
            folder,
            use_safetensors=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # listed below with the rest
            **kwargs,
        )
    except SafetensorError as error:
        raise _damaged(folder.name, error) from error
    problems = {k: sorted(map(str, v)) for k, v in info.items() if k.endswith("_keys") and v}
    if problems:
        raise InputError(
            folder.name,
            f"the weights do not fit the configuration: {problems}",
            "save the model again with `save_pretrained`, weights and config.json together",
            code="incomplete-weights",
        )
    return model


def read_tensors(file: Path) -> dict[str, Tensor]:
    """Read a safetensors file; raise InputError if it is absent, damaged or not finite."""
    if not file.exists():
        raise InputError(
            file.name,
            "this file is missing from the checkpoint folder",
            "train again, or copy the whole folder",
            code="missing-weights",
        )
    try:
        tensors: dict[str, Tensor] = load_file(file)
    except (SafetensorError, OSError, ValueError) as error:
        raise _damaged(file.name, error) from error
    for name, tensor in tensors.items():
        if tensor.dtype not in _FLOATS or not bool(torch.isfinite(tensor).all()):
            raise InputError(
                f"{file.name}, {name}",
                f"{tensor.dtype} values; expected finite float32, float16 or bfloat16 ones",
                "go back to an earlier checkpoint",
                code="bad-weights",
            )
    return tensors


def _damaged(name: str, error: Exception) -> InputError:
    return InputError(
        name,
        f"not a whole safetensors file ({error})",
        "copy it again from where it was made",
        code="damaged-weights",
    )


def copy_strictly(found: dict[str, Tensor], wanted: dict[str, Tensor], name: str) -> None:
    """Copy ``found`` into the tensors of ``wanted`` if names and shapes are the same."""
    check_fit(found, wanted, name)
    for key, tensor in found.items():
        wanted[key].copy_(tensor)


def check_fit(found: dict[str, Tensor], wanted: dict[str, Tensor], name: str) -> None:
    """Raise InputError naming every weight that is missing, unexpected or of another shape."""
    missing, unexpected = sorted(wanted.keys() - found), sorted(found.keys() - wanted.keys())
    wrong = [
        f"{key} {tuple(found[key].shape)} for {tuple(wanted[key].shape)}"
        for key in sorted(wanted.keys() & found.keys())
        if wanted[key].shape != found[key].shape
    ]
    if missing or unexpected or wrong:
        raise InputError(
            name,
            f"missing {missing}, unexpected {unexpected}, of another shape {wrong}",
            "load the checkpoint with the config.json saved beside it",
            code="incomplete-weights",
        )


def save_tensors(tensors: dict[str, Tensor], file: Path, **metadata: str) -> None:
    """Write a safetensors file atomically, with ``metadata`` in its header."""
    plain, seen = {}, set()
    for name, tensor in tensors.items():
        kept = tensor.detach().contiguous().cpu()
        # Tied weights share memory, which safetensors refuses.
        plain[name] = kept.clone() if kept.data_ptr() in seen else kept
        seen.add(kept.data_ptr())
    with replacing(file) as temporary:
        save_file(plain, temporary, metadata={"format": "pt", **metadata})
