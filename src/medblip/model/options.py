"""Keyword arguments for the language model: a misspelled one is an error, not a silence."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable

from transformers.utils.generic import TransformersKwargs

# Arguments every model of transformers takes, whether its signature names them or not.
COMMON = frozenset(TransformersKwargs.__annotations__)


def refuse_unknown(given: Iterable[str], known: Collection[str]) -> None:
    """Raise TypeError for a name in neither ``known`` nor transformers' common arguments.

    Many language models of transformers swallow any argument, so that one misspelled would
    silently do nothing.
    """
    for name in given:
        if name in known or name in COMMON:
            continue
        nearest = difflib.get_close_matches(name, known, n=1)
        hint = f"; did you mean `{nearest[0]}`?" if nearest else ""
        raise TypeError(f"forward() got an unexpected keyword argument {name!r}{hint}")
