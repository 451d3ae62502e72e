"""State dicts of ``torch.save``: tensors alone, whole, and no code from the file is run."""

from __future__ import annotations

import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from medblip.errors import InputError

_WRAPPERS = ("model", "state_dict")  # LAVIS's training checkpoints keep the weights under "model"


def read_state_dict(file: Path) -> dict[str, Tensor]:
    """Tensors by name, mapped from the file and not read into memory before they are used.

    Raises:
        InputError: no such file, cut or altered, of another type, with anything but tensors in it,
            or with code in it.
    """
    if not file.is_file():
        raise InputError(str(file), "no such file", "give a .pth file", code="missing-weights")
    content = _load(file)
    if isinstance(content, Mapping):
        for wrapper in _WRAPPERS:
            if isinstance(content.get(wrapper), Mapping):
                content = content[wrapper]
    if not isinstance(content, Mapping) or not content:
        raise InputError(
            file.name,
            f"holds a {type(content).__name__}; expected weights by name",
            "give the file of a state dict",
            code="not-weights",
        )
    others = sorted(str(name) for name, value in content.items() if not isinstance(value, Tensor))
    if others:
        raise InputError(
            file.name,
            f"not tensors: {others}",
            "give the file of a state dict alone",
            code="not-weights",
        )
    return {str(name): tensor.detach() for name, tensor in content.items()}


def _load(file: Path) -> Any:
    zipped = zipfile.is_zipfile(file)  # torch's older format is not, and cannot be mapped
    try:
        if zipped:
            _check_sums(file)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what is wrong is raised
            return torch.load(file, map_location="cpu", weights_only=True, mmap=zipped)
    except pickle.UnpicklingError as error:
        code = re.search(r"GLOBAL (\S+)", str(error))
        if code is None:
            raise _unreadable(file, "it is of another type") from error
        raise InputError(
            file.name,
            f"would run code when opened: it calls {code[1]}",
            "save its weights alone, on the machine they come from: "
            "torch.save(model.state_dict(), file)",
            code="pickled-code",
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise _unreadable(file, "it is cut, damaged or of another type") from error


def _check_sums(file: Path) -> None:
    """Mapped weights are not compared with the archive's checksums; do it once."""
    with zipfile.ZipFile(file) as archive:
        broken = archive.testzip()
    if broken is not None:
        raise InputError(
            file.name,
            f"its part {broken} does not have the checksum it was written with",
            "copy or download it again",
            code="damaged-weights",
        )


def _unreadable(file: Path, why: str) -> InputError:
    return InputError(
        file.name,
        f"cannot be read as torch.save's weights; {why}",
        "copy or download it again",
        code="damaged-weights",
    )
