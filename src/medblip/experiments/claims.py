"""What the paper claims, as steps "a is right more often than b" between rows of its tables.

`medblip.experiments.claim_verdicts` puts them to our runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from medblip.evaluation.over_seeds import Cell, difference, mean_difference
from medblip.evaluation.subgroups import FEWEST_SUBJECTS
from medblip.experiments.paper_tables import (
    CONDITIONS,
    FROZEN,
    FULL,
    IMAGE_TEXT_FIRST,
    ITC_BOTH,
    ITC_RECORD,
    LANGUAGE_MODELS,
    LORA,
    PAPER_TABLES,
    QFORMER,
    QUESTION_FIRST,
    TEXT_ONLY,
    UNSEEN_MARK,
    VIT,
    Column,
    PaperTable,
)
from medblip.experiments.records import TableAnswers
from medblip.study.labels import LABELS

CHAIN = "Text only < frozen < LoRA"
UNSEEN = "Cohorts that training saw are answered better than those it did not"
ENCODERS = "The full model is better than an image encoder with a linear head"
ORDERS = "The prompt with image and text before the question is the better one"
LOSSES = "Both ITC losses are better than that of image and record alone"
RECORD_IN_IT = (
    "The full model reads the record as well, the encoders see the image alone: the difference is "
    "the record's as much as the image's."
)


class Step(NamedTuple):
    """``better`` is right more often than ``worse``.

    Attributes:
        title: of the difference, for people.
        weights: of our accuracies; the mean over test sets.
        paper: the same difference in the paper, in points; None where it has no such numbers.
        by_column: weights of the difference on each test set alone.
    """

    title: str
    weights: Mapping[Cell, float]
    paper: float | None
    by_column: Mapping[str, Mapping[Cell, float]] = {}


class Claim(NamedTuple):
    """A claim.

    Attributes:
        table: of the paper.
        text: the claim in words.
        steps: what must be so, over test sets of enough subjects; empty where not all that it
            compares was run on one.
        left_out: test sets of too few subjects, where one person would weigh as much as many
            elsewhere -> how many subjects they have.
        caveat: what else stands in the difference, as a sentence.
    """

    table: int
    text: str
    steps: tuple[Step, ...]
    left_out: Mapping[str, int] = {}
    caveat: str = ""


def claims_of(
    tables: Mapping[int, TableAnswers],
    titles: Mapping[str, str] | None = None,
    stand_ins: Mapping[str, str] | None = None,
) -> list[Claim]:
    """Every claim of Tables 2, 4, 5 and 6; of Table 2 once for each language model that ran.

    Args:
        tables: see `medblip.experiments.records.answers_by_table`.
        titles: language model, or row of Tables 4 to 6 -> title, where it is not the paper's.
        stand_ins: our row key -> row key of the paper that it stands for.
    """
    return [
        *_table_2(tables.get(2), LANGUAGE_MODELS | dict(titles or {}), stand_ins or {}),
        _claim(4, tables.get(4), ENCODERS, ((QFORMER, FULL), (VIT, FULL)), titles)._replace(
            caveat=RECORD_IN_IT
        ),
        _claim(5, tables.get(5), ORDERS, ((QUESTION_FIRST, IMAGE_TEXT_FIRST),), titles),
        _claim(6, tables.get(6), LOSSES, ((ITC_RECORD, ITC_BOTH),), titles),
    ]


def _table_2(
    given: TableAnswers | None, titles: Mapping[str, str], stand_ins: Mapping[str, str]
) -> list[Claim]:
    rows = () if given is None else given.models
    models = dict.fromkeys(
        name for name, _, how in (row.rpartition(".") for row in rows) if how in CONDITIONS
    )
    if given is None or not models:
        return [Claim(2, CHAIN, ()), Claim(2, UNSEEN, ())]
    claims: list[Claim] = []
    small = too_small(given)
    for model in models:
        name = titles.get(model, model)
        pairs = pairwise(f"{model}.{how}" for how in (TEXT_ONLY, FROZEN, LORA))
        claims.append(_claim(2, given, f"{CHAIN}: {name}", tuple(pairs), None, stand_ins))
        unseen = _unseen_step(given, f"{model}.{LORA}", stand_ins)
        claims.append(Claim(2, f"{UNSEEN}: {name}, LoRA", (unseen,) if unseen else (), small))
    return claims


def _claim(
    table: int,
    given: TableAnswers | None,
    claim: str,
    pairs: Sequence[tuple[str, str]],
    titles: Mapping[str, str] | None = None,
    stand_ins: Mapping[str, str] | None = None,
) -> Claim:
    """A claim of pairs ``(worse, better)`` of rows."""
    if given is None:
        return Claim(table, claim, ())
    steps = [_step(table, given, *pair, titles or {}, stand_ins or {}) for pair in pairs]
    complete = [step for step in steps if step is not None]
    whole = tuple(complete) if len(complete) == len(steps) else ()
    return Claim(table, claim, whole, too_small(given))


def too_small(given: TableAnswers) -> dict[str, int]:
    """Columns of too few subjects, with how many they have."""
    subjects = {cell.column: len(set(a.subjects)) for cell, a in given.answers.items()}
    return {column: n for column, n in subjects.items() if n < FEWEST_SUBJECTS}


def _counted(given: TableAnswers, *rows: str) -> list[str]:
    """Columns of enough subjects that all of ``rows`` have answered."""
    small = too_small(given)
    return [column for column in given.columns_of(*rows) if column not in small]


def _step(
    table: int,
    given: TableAnswers,
    worse: str,
    better: str,
    titles: Mapping[str, str],
    stand_ins: Mapping[str, str],
) -> Step | None:
    """The mean difference over the columns that both answered and count; None without any."""
    columns = _counted(given, worse, better)
    if not columns:
        return None
    paper = PAPER_TABLES[table]
    weights = mean_difference(better, worse, columns)
    told = {c: paper.value(stand_ins.get(c.row, c.row), c.column) for c in weights}
    return Step(
        f"{_short(table, better, titles)} against {_short(table, worse, titles)}",
        weights,
        _in_paper(weights, told),
        {c: difference(Cell(better, c), Cell(worse, c)) for c in columns},
    )


def _unseen_step(given: TableAnswers, row: str, stand_ins: Mapping[str, str]) -> Step | None:
    """Seen minus unseen columns, compared only where they have as many labels to choose from."""
    paper = PAPER_TABLES[2]
    there = [_column(paper, name) for name in _counted(given, row)]
    kinds = [k for k in dict.fromkeys(c.labels for c in there) if _both_kinds(there, k)]
    if not kinds:
        return None
    weights: dict[Cell, float] = {}
    for kind in kinds:
        for zero_shot, sign in ((False, 1), (True, -1)):
            part = [c for c in there if c.labels == kind and c.zero_shot == zero_shot]
            weights |= {Cell(row, c.name): sign / len(part) / len(kinds) for c in part}
    told = {c: paper.value(stand_ins.get(row, row), c.column) for c in weights}
    return Step("Seen cohorts against unseen ones", weights, _in_paper(weights, told))


def _column(paper: PaperTable, name: str) -> Column:
    """The paper's, or one of a study's own, which asks for all labels."""
    ours = Column(name, len(LABELS), zero_shot=name.endswith(UNSEEN_MARK))
    return next((c for c in paper.columns if c.name == name), ours)


def _both_kinds(columns: Sequence[Column], labels: int) -> bool:
    return len({c.zero_shot for c in columns if c.labels == labels}) == 2


def _in_paper(weights: Mapping[Cell, float], told: Mapping[Cell, float | None]) -> float | None:
    known = {cell: value for cell, value in told.items() if value is not None}
    if len(known) < len(weights):
        return None
    return sum(weight * known[cell] for cell, weight in weights.items())


def _short(table: int, row: str, titles: Mapping[str, str]) -> str:
    """A setting inside a sentence."""
    condition = row.rpartition(".")[2]
    if table == 2:
        return CONDITIONS[condition]
    return titles.get(row) or PAPER_TABLES[table].title_of(row)
