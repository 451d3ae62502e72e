"""One run's answers on one test set: what every number of a table is made from."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from medblip.errors import InputError
from medblip.evaluation.over_seeds import Cell, SeededAnswers
from medblip.experiments.paper_tables import LOW_DATA, PAPER_TABLES, table_name

Role = Literal["model", "control"]


@dataclass(frozen=True)
class RunRecord:
    """Which rows of a test set one run answered right.

    Attributes:
        table: of the paper, or `LOW_DATA`.
        row: key of the model or control; in Table 2 ``<language model>.<condition>``.
        column: name of the test set.
        seed: of the run.
        role: ``control`` for what is set beside the models.
        subjects: who each row belongs to.
        correct: whether each row was answered right.

    Raises:
        InputError: on construction, where a value is none of these.
    """

    table: int
    row: str
    column: str
    seed: int
    role: Role
    subjects: tuple[str, ...]
    correct: tuple[bool, ...]

    def __post_init__(self) -> None:
        if not 0 < len(self.subjects) == len(self.correct):
            raise _bad(
                self.place,
                f"found {len(self.subjects)} subjects and {len(self.correct)} answers; "
                "expected one number > 0",
            )
        if self.table not in (*PAPER_TABLES, LOW_DATA):
            numbers = ", ".join(map(str, PAPER_TABLES))
            raise _bad(self.place, f"found table {self.table}; expected one of {numbers}")
        if self.role not in get_args(Role):
            raise _bad(self.place, f"found role {self.role!r}; expected model or control")

    @property
    def place(self) -> str:
        return f"{table_name(self.table)}, {self.row}, {self.column}, seed {self.seed}"

    def as_dict(self) -> dict[str, Any]:
        """JSON-able; `from_dict` reads it again."""
        return {
            "table": self.table,
            "row": self.row,
            "column": self.column,
            "seed": self.seed,
            "role": self.role,
            "subjects": list(self.subjects),
            "correct": "".join("1" if right else "0" for right in self.correct),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], where: str) -> RunRecord:
        """A record as `as_dict` wrote it.

        Args:
            where: file and line, for messages.

        Raises:
            InputError: a value is missing or of another kind.
        """
        try:
            correct = str(values["correct"])
            if set(correct) - {"0", "1"}:
                raise ValueError("correct is not made of 0 and 1")
            return cls(
                int(values["table"]),
                str(values["row"]),
                str(values["column"]),
                int(values["seed"]),
                values["role"],
                tuple(str(name) for name in values["subjects"]),
                tuple(right == "1" for right in correct),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise _bad(where, f"not a record of a run ({error})") from error


@dataclass(frozen=True)
class TableAnswers:
    """All answers to one table.

    Attributes:
        answers: of models and controls, by cell, runs in the order of their seeds.
        models, controls: their row keys, in the order in which they were met.
    """

    answers: Mapping[Cell, SeededAnswers]
    models: tuple[str, ...]
    controls: tuple[str, ...]

    def columns_of(self, *rows: str) -> list[str]:
        """Columns that all of ``rows`` have answered, in the order in which they were met."""
        columns = dict.fromkeys(cell.column for cell in self.answers)
        return [c for c in columns if all(Cell(row, c) in self.answers for row in rows)]


def answers_by_table(records: Iterable[RunRecord]) -> dict[int, TableAnswers]:
    """Records gathered by table and cell.

    Raises:
        InputError: a run is there twice, a row is model and control, or runs of one column
            answered other subjects or the same in another order.
    """
    tables: dict[int, dict[Cell, dict[int, RunRecord]]] = defaultdict(lambda: defaultdict(dict))
    roles: dict[tuple[int, str], Role] = {}
    subjects: dict[tuple[int, str], tuple[str, ...]] = {}
    for record in records:
        runs = tables[record.table][Cell(record.row, record.column)]
        if record.seed in runs:
            raise _bad(record.place, "found twice; expected one record a run")
        if roles.setdefault((record.table, record.row), record.role) != record.role:
            raise _bad(record.place, "found as model and as control; expected one of them")
        asked = subjects.setdefault((record.table, record.column), record.subjects)
        if asked != record.subjects:
            raise _bad(
                record.place,
                "other subjects than in another record of this column, or in "
                "another order; expected the same rows in all",
            )
        runs[record.seed] = record
    return {number: _table(number, cells, roles) for number, cells in sorted(tables.items())}


def _table(
    number: int,
    cells: Mapping[Cell, Mapping[int, RunRecord]],
    roles: Mapping[tuple[int, str], Role],
) -> TableAnswers:
    rows = tuple(dict.fromkeys(cell.row for cell in cells))
    return TableAnswers(
        answers={cell: _answers(runs) for cell, runs in cells.items()},
        models=tuple(row for row in rows if roles[number, row] == "model"),
        controls=tuple(row for row in rows if roles[number, row] == "control"),
    )


def _answers(runs: Mapping[int, RunRecord]) -> SeededAnswers:
    seeds = tuple(sorted(runs))
    correct = np.array([runs[seed].correct for seed in seeds], dtype=bool)
    return SeededAnswers(correct, runs[seeds[0]].subjects, seeds)


def _bad(where: str, problem: str) -> InputError:
    return InputError(
        where, problem, "run this part of the experiment again", code="bad-run-record"
    )
