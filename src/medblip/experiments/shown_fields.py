"""Which fields of a record the models of a table are shown, and so the controls that see the same.

The controls stand beside every row of a table, but see what the full model sees: a row that is
shown other fields is told in the table's notes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from medblip.experiments.matrix import Size
from medblip.experiments.paper_tables import PAPER_TABLES
from medblip.experiments.questions_study import asks_questions
from medblip.experiments.trials import Trial
from medblip.recipe import RecordSection
from medblip.study.record import FIELDS


def shown_record(trials: Sequence[Trial]) -> RecordSection:
    """What the full model is shown of a record; without it, what the first model of them is.

    Args:
        trials: of which one at least answers with the diagnosis.
    """
    answering = [trial for trial in trials if not asks_questions(trial)]
    full = [trial for trial in answering if trial.setting.controls]
    return (full or answering)[0].recipe.record


def noting_shown_fields(size: Size, trials: Sequence[Trial]) -> Size:
    """A size whose notes tell of each table which fields its models are shown."""
    notes = dict(size.notes)
    for table in sorted({t.table for t in trials if not asks_questions(t)} & set(PAPER_TABLES)):
        told = _note([t for t in trials if t.table == table], shown_record(trials), size)
        notes[table] = " ".join(filter(None, (notes.get(table, ""), told)))
    return replace(size, notes=notes)


def _note(trials: Sequence[Trial], main: RecordSection, size: Size) -> str:
    """In sentences: what the full model is shown, and which rows of a table are shown else."""
    others = {
        size.titles.get(t.row) or PAPER_TABLES[t.table].title_of(t.row): _listed(t.recipe.record)
        for t in trials
        if _listed(t.recipe.record) != _listed(main)
    }
    told = f"The fields that the model is shown, in the controls named so: {_listed(main)}."
    rows = "; ".join(f"{row}: {fields}" for row, fields in others.items())
    return f"{told} Rows that are shown others: {rows}." if others else told


def _listed(record: RecordSection) -> str:
    names = ", ".join(name for name in FIELDS if name in record.fields) or "none"
    without = " (of each session without those that its label was made from)"
    return names + (without if record.drop_label_defining_fields else "")
