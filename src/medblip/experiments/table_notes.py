"""What a reader must know to read a table, whatever its numbers are."""

from __future__ import annotations

from dataclasses import replace

from medblip.experiments.aggregate import ResultTable
from medblip.experiments.claims import RECORD_IN_IT
from medblip.experiments.paper_tables import FULL, TEXT_ONLY
from medblip.experiments.table_text import cell_text

LAST_STEP = (
    "Text only keeps its last step, as the validation split is answered with its images, which it "
    "never learns to read; the other rows keep their best look at the validation split, which "
    "speaks for them."
)
IMAGE_ALONE = "control.image"


def table_notes(table: ResultTable) -> tuple[str, ...]:
    """Notes to Tables 2 and 4, where the rows that they are about were run."""
    run = {row.key for row in table.rows if any(cell.ours for cell in row.cells)}
    if table.paper.number == 2 and any(key.endswith(f".{TEXT_ONLY}") for key in run):
        return (LAST_STEP,)
    if table.paper.number == 4 and FULL in run:
        return (f"{RECORD_IN_IT}{_image_alone(table)}",)
    return ()


def _image_alone(table: ResultTable) -> str:
    """The full model without its record, which is what an encoder compares with."""
    told = [
        f"{column} {cell_text(replace(cell, paper=None))}"
        for row in table.rows
        for column, cell in zip(table.columns, row.cells, strict=True)
        if row.key == IMAGE_ALONE and cell.ours is not None
    ]
    if not told:
        return ""
    return f" The full model with the image alone, a control, in %: {'; '.join(told)}."
