"""Is the frozen language model inside a state dict the one that the answers will come from?"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from medblip.errors import InputError

# Masks that old releases saved, and a bias of the first T5 releases that no forward pass reads.
_UNREAD = (
    r"transformer\.h\.\d+\.attn\.(bias|masked_bias)",
    r"decoder\.block\.0\.layer\.1\.EncDecAttention\.relative_attention_bias\.weight",
)
_ROUNDING = 2.0**-8  # of bfloat16, relative
_TINY = 2.0**-24  # below it float16 has nothing but zero


def check_same_language(
    found: Mapping[str, Tensor], wanted: Mapping[str, Tensor], where: str, base: str
) -> None:
    """Compare every weight of a language model with the base's, within the rounding of bfloat16.

    Args:
        found: of the state dict, without prefix.
        wanted: of the base.
        where, base: names of both, for messages.

    Raises:
        InputError: names, shapes or values differ; lists which.
    """
    found = {n: t for n, t in found.items() if not any(re.fullmatch(p, n) for p in _UNREAD)}
    missing, unknown = sorted(wanted.keys() - found.keys()), sorted(found.keys() - wanted.keys())
    other = [
        name
        for name in sorted(found.keys() & wanted.keys())
        if not _same(found[name], wanted[name])
    ]
    if missing or unknown or other:
        raise InputError(
            where,
            f"its language model is not {base}: missing {missing}, unknown {unknown}, "
            f"of other values or shape {other}",
            "give the language model that the state dict was trained on",
            code="other-language",
        )


def _same(found: Tensor, wanted: Tensor) -> bool:
    if found.shape != wanted.shape:
        return False
    a, b = found.float(), wanted.float()
    allowed = torch.maximum(a.abs(), b.abs()) * _ROUNDING + _TINY
    return bool(((a - b).abs() <= allowed).all())  # also False where one is NaN
