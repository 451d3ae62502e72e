"""Figure 4: dialogues: how right each turn is, and whether the second turn keeps the first."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

import numpy as np

from medblip.evaluation.vqa_shown import pair_of
from medblip.experiments.analyses.part import Part
from medblip.experiments.figure_cases import RULE, CaseMaker
from medblip.experiments.questions_lines import AskedRuns, Line, LineTable, present
from medblip.experiments.questions_part import question_part
from medblip.vqa.dialogues import KIND

TITLE = "Figure 4: dialogues"
NOTE = (
    "Every turn is asked with the true turns before it. The two cases of a pair have the same scan "
    "and the same second turn after different first turns, and different answers: a model that "
    "forgets the first turn has at most half of the cases right, and no pair."
)
CASES = 2  # right dialogues, and others; of the pairs one each


def figure_4(asked: AskedRuns, maker: CaseMaker) -> Part:
    """Scores of dialogues by turn and of two-turn cases, and examples of both."""
    tables = [
        LineTable("Dialogues, by turn", _by_turn(asked)),
        LineTable("Two turns", _two_turns(asked)),
    ]
    dialogues = maker.cases("Dialogue", _dialogues(asked).values(), CASES, unroll=True)
    pairs = maker.cases("Two-turn pair", _pairs(asked).values(), 1, unroll=False)
    rule = RULE.format(each=CASES) + " Of the two-turn pairs, one of each."
    return question_part("figure4", TITLE, NOTE, tables, (*dialogues, *pairs), rule)


def _by_turn(asked: AskedRuns) -> tuple[Line, ...]:
    turns: dict[int, list[int]] = defaultdict(list)
    for row, question in enumerate(asked.questions):
        if question.kind == KIND:
            turns[len(question.turns) + 1].append(row)
    return present(asked.line(f"Turn {n}", "right", turns[n]) for n in sorted(turns))


def _two_turns(asked: AskedRuns) -> tuple[Line, ...]:
    rows = asked.rows(pair_of(question) != question.id for question in asked.questions)
    kinds: dict[str, list[int]] = defaultdict(list)
    for row in rows:
        kinds[asked.questions[row].kind].append(row)
    lines = [asked.line("Cases right", "right", rows), _both(asked)]
    lines += [asked.line(f"Cases right: {kind}", "right", at) for kind, at in kinds.items()]
    return present(lines)


def _both(asked: AskedRuns) -> Line | None:
    """Pairs of which both cases are right."""
    pairs = list(_pairs(asked).values())
    if not pairs:
        return None
    one, other = (asked.values("right", [pair[side] for pair in pairs]) for side in (0, 1))
    both = {name: np.minimum(right, other[name]) for name, right in one.items()}
    return asked.line_of("Pairs, both right", both, asked.subjects([pair[0] for pair in pairs]))


def _pairs(asked: AskedRuns) -> Mapping[str, list[int]]:
    """Rows of the two cases of each whole pair."""
    halves: dict[str, list[int]] = defaultdict(list)
    for row, question in enumerate(asked.questions):
        if pair_of(question) != question.id:
            halves[pair_of(question)].append(row)
    return {pair: rows for pair, rows in halves.items() if len(rows) == 2}


def _dialogues(asked: AskedRuns) -> Mapping[str, list[int]]:
    """Rows of the turns of each dialogue that was asked from its first turn on, two or more."""
    turns: dict[str, list[int]] = defaultdict(list)
    for row, question in enumerate(asked.questions):
        if question.kind == KIND:
            turns[question.id.rpartition(":")[0]].append(row)
    return {
        name: rows for name, rows in turns.items() if len(rows) > 1 and _from_start(asked, rows)
    }


def _from_start(asked: AskedRuns, rows: list[int]) -> bool:
    return [len(asked.questions[row].turns) for row in rows] == list(range(len(rows)))
