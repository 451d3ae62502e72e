"""Weights by the names of another project -> by ours: every one taken, left out by rule, or wrong.

What is taken is an explicit table, what is left out an explicit list of patterns with the reason
for each. A name that neither holds, or one of the table that is absent, stops the conversion.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from medblip.errors import InputError
from medblip.model.weight_files import is_finite

FLOATS = (torch.float32, torch.float16, torch.bfloat16)


def take(
    found: Mapping[str, Tensor],
    names: Mapping[str, str],
    left_out: Mapping[str, str],
    where: str,
    fix: str = "give the file that the command's help names",
) -> tuple[dict[str, Tensor], dict[str, list[str]]]:
    """Split the weights of a checkpoint into those taken and those left out.

    Args:
        found: weights by the source's names.
        names: source's name -> ours, of everything that is taken.
        left_out: regular expression of whole names -> reason.
        where: name of the source, for messages.
        fix: what to do when the names do not match.

    Returns:
        Weights by our names, and the names left out by reason.

    Raises:
        InputError: names are missing or unknown (all are listed), or values are not finite floats.
    """
    left: dict[str, list[str]] = {}
    unknown = []
    for name in found:
        if name in names:
            continue
        reason = _reason(name, left_out)
        if reason is None:
            unknown.append(name)
        else:
            left.setdefault(reason, []).append(name)
    missing = [name for name in names if name not in found]
    if missing or unknown:
        raise InputError(
            where,
            f"missing weights {sorted(missing)}, unknown weights {sorted(unknown)}",
            fix,
            code="incomplete-weights",
        )
    taken = {ours: found[theirs] for theirs, ours in names.items()}
    check_values(taken, where)
    return taken, left


def _reason(name: str, left_out: Mapping[str, str]) -> str | None:
    for pattern, reason in left_out.items():
        if re.fullmatch(pattern, name):
            return reason
    return None


def check_values(tensors: Mapping[str, Tensor], where: str) -> None:
    """Raise InputError naming every tensor that is not of finite float32, float16 or bfloat16."""
    bad = [
        f"{name} ({tensor.dtype})"
        for name, tensor in tensors.items()
        if tensor.dtype not in FLOATS or not is_finite(tensor)
    ]
    if bad:
        raise InputError(
            where,
            f"expected finite float32, float16 or bfloat16 values in {bad}",
            "copy or download it again",
            code="bad-weights",
        )


def check_shapes(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor], where: str) -> None:
    """Raise InputError naming every tensor of ``found`` whose shape is not that of ``wanted``."""
    wrong = [
        f"{name} {tuple(tensor.shape)} for {tuple(wanted[name].shape)}"
        for name, tensor in found.items()
        if tensor.shape != wanted[name].shape
    ]
    if wrong:
        raise InputError(
            where,
            f"weights of another shape {wrong}",
            "check that it is a checkpoint of the architecture that the command's help names",
            code="other-shape",
        )


def size(tensors: Mapping[str, Tensor], name: str, axis: int, where: str) -> int:
    """Length of one axis of a tensor; raise InputError if it has too few axes."""
    shape = tensors[name].shape
    if axis >= len(shape):
        raise InputError(
            where,
            f"{name} has shape {tuple(shape)}; expected {axis + 1} axes or more",
            "check that it is a checkpoint of the architecture that the command's help names",
            code="other-shape",
        )
    return int(shape[axis])


def count_blocks(names: Iterable[str], pattern: str, default: int) -> int:
    """1 + the largest block number that ``pattern`` finds in the names; ``default`` if none."""
    numbers = [int(found[1]) for name in names if (found := re.match(pattern, name))]
    return 1 + max(numbers, default=default - 1)


def without_prefix(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names start with ``prefix``, without it."""
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }
