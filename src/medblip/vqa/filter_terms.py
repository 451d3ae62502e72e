"""Our stated filter for the Alzheimer's part of M3D-VQA: a reviewed list of terms.

The paper's Table 3 is on "M3D-VQA-AD"; which questions those are was never published. This filter
is ours. Its list, ``ad_terms.tsv``, says why each term is in it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from importlib.resources import as_file, files
from pathlib import Path

from medblip.errors import InputError
from medblip.study.tables import read_table

COLUMNS = ("term", "group", "use", "reason")
WEAK_GROUP = "finding"  # signs of many diseases: they count only beside a term of another group


@dataclass
class TermCounts:
    """What a filter did, to be published beside the results.

    Attributes:
        seen, kept: texts.
        only_weak: texts left out since only terms of findings were in them.
        by_term: texts that hold each term, whatever became of them.
    """

    seen: int = 0
    kept: int = 0
    only_weak: int = 0
    by_term: Counter[str] = field(default_factory=Counter)


class TermFilter:
    """Keeps a text that holds a term; whole words, without regard to case.

    A term to exclude hides its words: "vascular dementia" alone does not keep a text, "vascular
    dementia and Alzheimer's disease" does.

    Attributes:
        include: group of each term.
        exclude: terms that hide what they hold.
        counts: of all texts asked about so far.
    """

    def __init__(self, include: dict[str, str], exclude: Sequence[str] = ()) -> None:
        self.include = {term.casefold(): group for term, group in include.items()}
        self.exclude = tuple(term.casefold() for term in exclude)
        self.counts = TermCounts()
        self._any = _any_of([*self.include, *self.exclude])

    def keeps(self, text: str) -> bool:
        """Whether the text belongs to the part."""
        plain = " ".join(text.replace("\u2019", "'").casefold().split())
        terms = set(self._any.findall(plain))
        found = {term for term in terms if term in self.include}
        kept = any(self.include[term] != WEAK_GROUP for term in found)
        self.counts.seen += 1
        self.counts.kept += kept
        self.counts.only_weak += bool(found) and not kept
        self.counts.by_term.update(terms)
        return kept


def ad_filter() -> TermFilter:
    """The filter of the package's own list."""
    with as_file(files("medblip.vqa") / "ad_terms.tsv") as path:
        return read_filter(path)


def read_filter(path: Path) -> TermFilter:
    """A filter of a table ``term, group, use, reason``.

    Raises:
        InputError: it is no such table, or ``use`` is neither ``include`` nor ``exclude``.
    """
    table = read_table(path, required=COLUMNS, key=("term",))
    for line, use in table["use"].items():
        if use not in ("include", "exclude"):
            problem = f"use is {use!r}, expected include or exclude"
            raise InputError(f"{path.name} line {line}", problem, code="unknown-value")
    included = table[table["use"] == "include"]
    return TermFilter(
        dict(zip(included["term"], included["group"], strict=True)),
        list(table.loc[table["use"] == "exclude", "term"]),
    )


def _any_of(terms: Iterable[str]) -> re.Pattern[str]:
    """Any of the terms as whole words; the longest first, so that it hides those inside it."""
    ordered = sorted(terms, key=len, reverse=True)
    return re.compile(r"(?<!\w)(?:" + "|".join(map(re.escape, ordered)) + r")(?!\w)")
